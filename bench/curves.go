package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// curve is a figure of this library as something grows.
type curve struct {
	Key    string  `json:"key"`
	Title  string  `json:"title"`
	Grows  string  `json:"grows"` // what grows
	Series []serie `json:"series"`
	steps  []int
	bytes  bool // what grows is bytes

	// measure returns a figure for each series.
	measure func(k *course, n int) ([]float64, error)
}

// serie is one line of a curve.
type serie struct {
	Name   string  `json:"name"`
	Unit   unit    `json:"unit"`
	Points []point `json:"points"`
}

type point struct {
	N int     `json:"n"`
	Y float64 `json:"y"`
}

// unit is how a figure is written.
type unit string

const (
	nanoseconds unit = "ns"
	perSecond   unit = "1/s"
	share       unit = "of the mean"
	cpu         unit = "ms of CPU a second"
)

func (u unit) write(y float64) string {
	switch u {
	case nanoseconds:
		return duration(y)
	case perSecond:
		return significant(y/1e6) + " M/s"
	case share:
		return fmt.Sprintf("%.2f", y)
	}
	return significant(y) + " ms/s"
}

func curves() []*curve {
	return []*curve{
		{
			Key: "processes", Title: "Processes that add to one Value", Grows: "processes",
			Series: []serie{{Name: "additions a second, all together", Unit: perSecond}, {Name: "least share", Unit: share}},
			steps:  []int{1, 2, 4, 8, 16, 32, 64}, measure: (*course).processes,
		}, {
			Key: "awaiting", Title: "Goroutines that await one value, until they run after a change", Grows: "goroutines",
			Series: []serie{{Name: "the first runs", Unit: nanoseconds}, {Name: "all have run", Unit: nanoseconds}},
			steps:  []int{1, 10, 100, 1000, 5000, 10_000, 20_000}, measure: (*course).awaiting,
		}, {
			Key: "idle", Title: "Goroutines that await a value each, while nothing changes", Grows: "goroutines",
			Series: []serie{{Name: "CPU", Unit: cpu}},
			steps:  []int{1, 10, 100, 1000, 2000, 5000, 10_000, 20_000}, measure: (*course).idle,
		}, {
			Key: "values", Title: "Values in a segment, seen by a process that attaches", Grows: "values",
			Series: []serie{{Name: "Open", Unit: nanoseconds}, {Name: "the first value found", Unit: nanoseconds}, {Name: "100 others, each", Unit: nanoseconds}, {Name: "the same again, each", Unit: nanoseconds}},
			steps:  []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}, measure: (*course).values,
		}, {
			Key: "structs", Title: "Struct of this size", Grows: "bytes", bytes: true,
			Series: []serie{{Name: "LoadTo", Unit: nanoseconds}, {Name: "StoreFrom", Unit: nanoseconds}, {Name: "a plain copy", Unit: nanoseconds}},
			steps:  []int{8, 64, 512, 4 << 10, 32 << 10, 256 << 10, 1 << 20}, measure: (*course).structs,
		}, {
			Key: "attached", Title: "Processes that have the segment attached", Grows: "other processes",
			Series: []serie{{Name: "Alive, which asks whether one lives", Unit: nanoseconds}, {Name: "Processes, which lists them", Unit: nanoseconds}},
			steps:  []int{1, 10, 100, 500, 1000, 5000}, measure: (*course).attached,
		},
	}
}

// upTo returns the steps of a curve up to a limit, which does not concern bytes.
func (cu *curve) upTo(most int) []int {
	n := len(cu.steps)
	for n > 0 && cu.steps[n-1] > most && !cu.bytes {
		n--
	}
	return cu.steps[:n]
}

// each measures all steps of a curve up to a limit.
func (k *course) each(cu *curve, most int) error {
	for _, n := range cu.upTo(most) {
		fmt.Fprintf(os.Stderr, "\r%-60s", fmt.Sprintf("%s: %d", cu.Title, n))
		ys, err := cu.measure(k, n)
		if err != nil {
			return fmt.Errorf("%s, %d %s: %w", cu.Title, n, cu.Grows, err)
		}
		for i, y := range ys {
			cu.Series[i].Points = append(cu.Series[i].Points, point{n, y})
		}
	}
	return nil
}

// runCurves is the command curves.
func runCurves(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("league curves", flag.ContinueOnError)
	span := flags.Duration("span", time.Second, "what the measurement of one point takes")
	most := flags.Int("most", 1<<20, "leave out points above `N` processes, goroutines or values; sizes in bytes are all measured")
	only := flags.String("only", "", "comma-separated `KEYS`: processes, awaiting, idle, values, structs, attached")
	write := flags.String("write", "", "write SCALING.md's generated parts, scaling.json and pictures/scaling-*.svg in `DIR`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *span <= 0 || *most < 1 || flags.NArg() > 0 {
		return fmt.Errorf("-span and -most are above zero, and there are no arguments: %q", flags.Args())
	}
	if *write != "" && *only != "" {
		return errors.New("-write needs all curves: leave out -only")
	}
	own, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(memoryDir(), "curves-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	k := &course{ctx: ctx, dir: dir, span: *span, own: own}
	sc := scaling{Command: strings.Join(append([]string{"go run . curves"}, args...), " "), Taken: today(), Machine: machine(), Load: load()}
	for _, cu := range curves() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), cu.Key) {
			continue
		}
		if err := k.each(cu, *most); err != nil {
			return err
		}
		sc.Curves = append(sc.Curves, cu)
		fmt.Fprintf(os.Stderr, "\r%60s\r", "")
		fmt.Printf("%s\n%s\n\n", cu.Title, terminal(cu.table()))
	}
	if *only != "" && len(sc.Curves) == 0 {
		return fmt.Errorf("no curve is called %q", *only)
	}
	if *write == "" {
		return nil
	}
	return sc.write(*write)
}

// scaling is the JSON of the curves.
type scaling struct {
	Command string   `json:"command"`
	Taken   string   `json:"taken"`
	Machine string   `json:"machine"`
	Load    string   `json:"load_average_before"`
	Curves  []*curve `json:"curves"`
}

// write writes the page, the JSON and the charts into a directory of documents.
func (sc *scaling) write(docs string) error {
	b, err := json.MarshalIndent(sc, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "scaling.json"), append(b, '\n'), 0o666); err != nil {
		return err
	}
	blocks := map[string]string{"run": fmt.Sprintf("`%s`, %s: %s. Load average before the run %s.", sc.Command, sc.Taken, sc.Machine, sc.Load)}
	for _, cu := range sc.Curves {
		blocks[cu.Key] = cu.table().RenderMarkdown()
		for _, th := range themes {
			if err := cu.chart(&th, filepath.Join(docs, "pictures", "scaling-"+cu.Key+"-"+th.name+".svg")); err != nil {
				return err
			}
		}
	}
	return rewrite(filepath.Join(docs, "SCALING.md"), blocks)
}
