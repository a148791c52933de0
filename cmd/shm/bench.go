package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"example.org/shm/cmd/shm/internal/bench"
	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

// benchCommand returns the command that compares ways to share a number.
func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "compare ways to share a number between processes",
		Description: `Bench starts processes that increment one number in each of several ways. It prints
what an increment costs alone, how many increments 2 and more processes make in a
second, how many of them are lost, and what happens to the other processes when one
is killed (kill -9) in the middle of an increment. It takes about 20 seconds, and
leaves no processes or files, however it ends.

Examples:
   shm bench
   shm bench -procs 8 -time 1s
   shm bench -json > bench.json`,
		Flags: []cli.Flag{
			&cli.IntFlag{
				Name:      "procs",
				Value:     min(max(4, runtime.NumCPU()), 8),
				Usage:     fmt.Sprintf("measure with 2 and with `N` processes, 2 to %d, each on a core of its own if there are enough", bench.MaxProcs),
				Validator: between(2, bench.MaxProcs),
			},
			&cli.DurationFlag{
				Name:      "time",
				Value:     450 * time.Millisecond,
				Usage:     "make each measurement for `DURATION`, such as 200ms; each way has two or three",
				Validator: between(time.Millisecond, time.Hour),
			},
			&cli.BoolFlag{Name: "json", Usage: "print everything measured as JSON"},
			&cli.StringFlag{Name: "svg", Usage: "draw a chart into `FILE` as well", TakesFile: true},
			&cli.StringFlag{Name: "svg-dark", Usage: "draw the chart in colours for a dark page into `FILE` as well", TakesFile: true},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("unexpected argument %q", c.Args().First())}
			}
			charts, err := chartsOf(c)
			if err != nil {
				return err
			}
			return runBench(ctx, c, charts)
		},
	}
}

// between returns a function that validates the value of a flag.
func between[T int | time.Duration](low, high T) func(T) error {
	return func(x T) error {
		if x < low || x > high {
			return fmt.Errorf("%v is not between %v and %v", x, low, high)
		}
		return nil
	}
}

// chart is a file to draw a chart into, and the colours of that chart.
type chart struct {
	path  string
	theme bench.Theme
}

// chartsOf returns the charts that the flags ask for.
func chartsOf(c *cli.Command) (charts []chart, err error) {
	for _, flag := range []struct {
		name  string
		theme bench.Theme
	}{{"svg", bench.Light}, {"svg-dark", bench.Dark}} {
		switch path := c.String(flag.name); {
		case path != "":
			charts = append(charts, chart{path, flag.theme})
		case c.IsSet(flag.name):
			return nil, usageError{fmt.Errorf("-%s needs the name of a file", flag.name)}
		}
	}
	return charts, nil
}

// runBench measures all ways and writes the results.
func runBench(ctx context.Context, c *cli.Command, charts []chart) (err error) {
	for _, chart := range charts {
		undo, err := reserve(chart.path)
		if err != nil {
			return statusError{error: err, status: statusFailed} // no segment is absent
		}
		defer undo()
	}
	progress, end := progressLine(os.Stderr)
	report, err := bench.Run(ctx, bench.Options{Procs: c.Int("procs"), Time: c.Duration("time"), Progress: progress})
	end()
	if err != nil {
		return err
	}
	for _, chart := range charts {
		var b bytes.Buffer
		if err := report.WriteSVG(&b, chart.theme); err != nil {
			return err
		}
		if err := os.WriteFile(chart.path, b.Bytes(), 0o666); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	return report.WriteTable(os.Stdout)
}

// reserve checks that a file can be written, before the measurements take twenty
// seconds. The function that it returns removes the file if nothing was written to
// it.
func reserve(path string) (undo func(), err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return func() {}, f.Close()
	}
	if err != nil {
		return nil, err
	}
	return func() {
		if st, err := os.Stat(path); err == nil && st.Size() == 0 {
			_ = os.Remove(path)
		}
	}, f.Close()
}

// progressLine returns functions that show the progress of a run. They do nothing
// unless w is a terminal.
func progressLine(w *os.File) (step func(done, total int, what string), end func()) {
	if !term.IsTerminal(int(w.Fd())) {
		return func(int, int, string) {}, func() {}
	}
	bar := progressbar.NewOptions(1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(24),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)
	// An error of the terminal does not end the measurements.
	return func(done, total int, what string) {
		bar.ChangeMax(total)
		bar.Describe(fmt.Sprintf("%-30s", what))
		_ = bar.Set(done)
	}, func() { _ = bar.Finish() }
}
