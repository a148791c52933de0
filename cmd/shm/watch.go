package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"example.org/shm/cmd/shm/internal/watch"
	"example.org/shm/internal/glob"
	"github.com/urfave/cli/v3"
)

// watchCommand returns the command that watches values.
func watchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "watch values change",
		ArgsUsage: "SEG [GLOB…]",
		Description: `On a terminal, watch fills the screen: each value with its rate, minimum and maximum since the
watch began, its history, when it was last seen to change, and whether its lock is held, or was
by a process that is DEAD. Keys: q quits, / filters as you type, s sorts by the last change,
space pauses, z hides zeros, ? explains the selected value, arrows move.

Elsewhere, and with -n, -exec or -o, it prints a line for each value at first and then for each
value that has changed since the last look. It attaches without write permission, and looks
every -i: changes in between that cancel each other are not seen.

With -exec a shell runs the command at each change, with the environment variables SHM_SEGMENT,
SHM_NAME and SHM_VALUE, one after the other.

Examples:
   shm watch board
   shm watch -i 100ms board 'req*'
   shm watch -n 10 -i 1s -o jsonl board
   shm watch -exec 'logger "$SHM_NAME is $SHM_VALUE"' board config`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "i", Value: time.Second, Usage: "look every `DURATION`", Validator: between(10*time.Millisecond, 24*time.Hour)},
			&cli.IntFlag{Name: "n", Usage: "look `COUNT` times; 0 is until Ctrl-C", Validator: between(0, 1<<31-1)},
			&cli.StringFlag{Name: "exec", Usage: "run the shell command `CMD` at each change"},
			formFlag(form.Plain),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, -1)
			if err != nil {
				return err
			}
			if f := c.String("o"); f == form.JSON || f == form.Table {
				return usageError{fmt.Errorf("a watch does not end, so there is no whole %s: use -o jsonl or text", f)}
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
			lines := c.IsSet("n") || c.IsSet("exec") || c.IsSet("o")
			if !lines && form.IsTerminal(os.Stdout) && form.IsTerminal(os.Stdin) {
				return watch.Screen(ctx, sampler, form.Name(args[0]), c.Duration("i"), os.Stdin, os.Stdout)
			}
			var changed func(v *watch.Series) error
			if command := c.String("exec"); command != "" {
				changed = func(v *watch.Series) error { return runAtChange(ctx, command, args[0], v) }
			}
			return watchLines(ctx, sampler, c.Duration("i"), c.Int("n"), printerFor(c), changed)
		},
	}
}

// disturbLess makes a program that looks again and again use one processor. A look is
// short, and with more the Go runtime wakes threads on each of them, whatever runs there.
func disturbLess() { runtime.GOMAXPROCS(1) }

// watchLines prints a line for each value at first, and then for each that has changed,
// after it has called changed, which may be nil.
func watchLines(ctx context.Context, s *watch.Sampler, every time.Duration, count int, p *form.Printer, changed func(v *watch.Series) error) error {
	out := bufio.NewWriter(p.W)
	p.W = out
	for i := 1; ; i++ {
		now := time.Now()
		all, trouble := s.Look(now)
		for _, v := range all {
			if !v.Fresh {
				continue
			}
			if i > 1 && changed != nil {
				if err := errors.Join(out.Flush(), changed(v)); err != nil {
					return err
				}
			}
			if err := p.Row(watchRow(now, v, p.Form)); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if trouble != nil {
			return trouble
		}
		if i == count {
			return nil
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// watchData is a look at a value in JSON.
type watchData struct {
	At    time.Time       `json:"at"`
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
	Rate  *float64        `json:"rate,omitempty"` // change a second
	Unit  string          `json:"unit,omitempty"`
	Hint  string          `json:"hint,omitempty"`
	Dead  bool            `json:"dead,omitempty"` // a dead process holds the lock
}

// lockedByTheDead is at the end of a line of a value whose lock a dead process holds.
const lockedByTheDead = ", locked by a dead process"

// watchRow returns the line of a value in one form.
func watchRow(now time.Time, v *watch.Series, as string) form.Row {
	e := &v.Entry
	d := watchData{At: now.UTC(), Name: e.Name, Unit: e.Unit, Hint: e.Hint, Dead: v.Dead}
	if as == form.JSONL {
		d.Value = value.JSON(v.Value, e.Layout, e.Hint)
	}
	text := fmt.Sprintf("%s %s: %s", d.At.Format("15:04:05.000"), v.Name, v.Text)
	if v.Number && v.Rate != 0 {
		d.Rate = &v.Rate
		text += fmt.Sprintf(" (%+.4g/s)", v.Rate)
	}
	mark := form.None
	if v.Dead {
		mark = form.Bad
		text += lockedByTheDead
	}
	return form.Row{Text: new(text), Data: d, Mark: mark}
}

// runAtChange runs a command of the user's.
func runAtChange(ctx context.Context, command, segment string, v *watch.Series) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	bare := v.Text
	if v.Value != nil {
		bare = value.Bare(v.Value, v.Entry.Layout, v.Entry.Hint)
	}
	// A NUL cannot be in an environment; the library ends texts there.
	cmd.Env = append(os.Environ(), "SHM_SEGMENT="+segment, "SHM_NAME="+v.Entry.Name, "SHM_VALUE="+strings.ReplaceAll(bare, "\x00", ""))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the command at a change of %s: %w", form.Name(v.Entry.Name), err)
	}
	return nil
}
