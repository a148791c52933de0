package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"example.org/shm/cmd/shm/internal/watch"
	"example.org/shm/internal/glob"
	"github.com/urfave/cli/v3"
)

// recordCommand returns the command that records a history.
func recordCommand() *cli.Command {
	return &cli.Command{
		Name:      "record",
		Usage:     "record how values change",
		ArgsUsage: "SEG [GLOB…]",
		Description: `Record prints each value at first, and then each value that has changed since the last look,
as JSON lines with the time, until Ctrl-C or -n looks. It is watch -o jsonl. Replay shows the
history again.

Examples:
   shm record -i 100ms board > history.jsonl
   shm replay -speed 10 history.jsonl`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "i", Value: time.Second, Usage: "look every `DURATION`", Validator: between(10*time.Millisecond, 24*time.Hour)},
			&cli.IntFlag{Name: "n", Usage: "look `COUNT` times; 0 is until Ctrl-C", Validator: between(0, 1<<31-1)},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, -1)
			if err != nil {
				return err
			}
			if err := glob.Check(args[1:]...); err != nil {
				return usageError{err}
			}
			s, err := segments.Look(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			disturbLess()
			sampler := watch.NewSampler(s, args[0], func(name string) bool { return selected(name, args[1:]) })
			p := &form.Printer{W: os.Stdout, Err: os.Stderr, Form: form.JSONL}
			return watchLines(ctx, sampler, c.Duration("i"), c.Int("n"), p, nil)
		},
	}
}

// replayCommand returns the command that shows a recorded history.
func replayCommand() *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "show a recorded history again",
		ArgsUsage: "[FILE]",
		Description: `Replay reads what record has written, from FILE or standard input, and prints the changes at
the pace at which they were recorded, or -speed times as fast; 0 is without a pause. It changes
no segment.

Examples:
   shm replay history.jsonl
   shm replay -speed 0 history.jsonl`,
		Flags: []cli.Flag{
			&cli.FloatFlag{Name: "speed", Value: 1, Usage: "replay `N` times as fast", Validator: func(x float64) error {
				if !(x >= 0 && x <= 1e6) { // NaN is neither
					return fmt.Errorf("%v is not between 0 and 1000000", x)
				}
				return nil
			}},
			formFlag(form.Plain),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 0, 1)
			if err != nil {
				return err
			}
			if f := c.String("o"); f == form.JSON || f == form.Table {
				return usageError{errors.New("a replay is lines: use -o jsonl or text")}
			}
			in := io.Reader(os.Stdin)
			if len(args) > 0 {
				// That of a named pipe waits for who writes it.
				f, err := interruptible(ctx, func() (*os.File, error) { return os.Open(args[0]) })
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return replay(ctx, in, c.Float("speed"), printerFor(c))
		},
	}
}

// historyLine is a line of a history.
type historyLine struct {
	Schema int `json:"schema"`
	watchData
}

// replay prints a history.
func replay(ctx context.Context, in io.Reader, speed float64, p *form.Printer) error {
	var last time.Time
	for d := json.NewDecoder(in); ; {
		line, err := interruptible(ctx, func() (line historyLine, err error) { return line, d.Decode(&line) })
		switch {
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w: not what record writes: %w", fs.ErrInvalid, err)
		}
		if line.Schema != form.Schema {
			return fmt.Errorf("%w: a history of schema %d; this program reads schema %d", shm.ErrVersion, line.Schema, form.Schema)
		}
		if line.Name == "" || line.At.IsZero() {
			return fmt.Errorf("%w: not what record writes: a line without a name or a time", fs.ErrInvalid)
		}
		if !last.IsZero() && speed > 0 && line.At.After(last) {
			const longest = 1 << 62 // nanoseconds: more do not fit
			if err := pause(ctx, time.Duration(min(float64(line.At.Sub(last))/speed, longest))); err != nil {
				return err
			}
		}
		last = line.At
		text := fmt.Sprintf("%s %s: %s", line.At.Format("15:04:05.000"), form.Name(line.Name), form.Number(form.Line(string(value.Compact(line.Value))), line.Hint, line.Unit))
		if line.Rate != nil {
			text += fmt.Sprintf(" (%+.4g/s)", *line.Rate)
		}
		mark := form.None
		if line.Dead {
			mark = form.Bad
			text += lockedByTheDead
		}
		if err := p.Row(form.Row{Text: new(text), Data: line.watchData, Mark: mark}); err != nil {
			return err
		}
	}
}
