package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"github.com/urfave/cli/v3"
)

// timeoutFlag returns the flag that limits a wait.
func timeoutFlag(standard time.Duration, usage string) cli.Flag {
	return &cli.DurationFlag{
		Name: "timeout", Value: standard, Usage: usage + " for at most `DURATION`, such as 500ms; 0 is for ever",
		Validator: between(0, time.Duration(math.MaxInt64)),
	}
}

// limited returns a context that ends after a time; 0 is never.
func limited(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// lockWait is how long set and add wait for a lock.
const lockWait = 5 * time.Second

// setCommand returns the command that sets values.
func setCommand() *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "set values, or parts of them",
		ArgsUsage: "SEG NAME[.FIELD][[INDEX]]=VALUE…",
		Description: `Set changes each value under its own lock, in the order of the arguments, and prints what
it was and is. VALUE is what get prints, or JSON. A text that begins with a quote is a string
literal, and a list of bytes that are no UTF-8 is those bytes. A duration may be 1.5s. A struct
or an array keeps what VALUE leaves out: {Limit: 10}, [3: 7].

With -if OLD the value is set only if it is OLD; otherwise the exit status is 1. It is compared
under the lock: of a Table, that of the row. For an integer without a lock (Atomic) this is one
compare-and-swap. Raw values have neither a lock nor an atomic operation: a program that writes
one at the same time may win or lose.

If the lock of a value is held for longer than -timeout, that value and those behind it are not
changed, the exit status is 5 and the message says who holds the lock. Set attaches as a
program does: the segment has to be this user's, and set takes a lease while it runs.

Examples:
   shm set board config.Limit=10 config.Debug=true
   shm set -if 8 board config.Limit=10
   shm set board 'version=2.1 (hotfix)' samples[0]=7`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "if", Usage: "set only if the value is `OLD`"},
			timeoutFlag(lockWait, "wait for the lock"),
			formFlag(form.Plain),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			if c.IsSet("if") && len(args) > 2 {
				return usageError{errors.New("-if compares one value: give one NAME=VALUE")}
			}
			s, err := segments.Change(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			// All names are looked up before the first value changes.
			type assignment struct {
				part value.Part
				text string
			}
			var all []assignment
			for _, arg := range args[1:] {
				p, text, err := assigned(s, arg)
				if err != nil {
					return err
				}
				all = append(all, assignment{p, text})
			}
			report := changesReport()
			for _, a := range all {
				row, err := change(ctx, s, c.Duration("timeout"), a.part, func(old any, l shm.Layout) (string, error) {
					if c.IsSet("if") && !value.Is(old, l, a.part.Entry.Hint, c.String("if")) {
						return "", fmt.Errorf("%w: %s is %s, not %s", value.ErrDiffers, a.part.Name(), value.Bare(old, l, a.part.Entry.Hint), form.Text(c.String("if")))
					}
					return a.text, nil
				})
				if err != nil {
					if !report.Empty() { // what is set by now stays set, so it is told
						err = errors.Join(err, printerFor(c).Report(report))
					}
					return err
				}
				report.Add(row)
			}
			return printerFor(c).Report(report)
		},
	}
}

// assigned splits NAME=VALUE, where the name may itself have equals signs.
func assigned(s *shm.Segment, arg string) (p value.Part, text string, err error) {
	first := ""
	for i := range len(arg) {
		if arg[i] != '=' {
			continue
		}
		if p, err = value.Find(s, arg[:i]); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return p, arg[i+1:], err
		}
		if first == "" {
			first = arg[:i]
		}
	}
	if first == "" {
		return p, "", usageError{fmt.Errorf("%q is not NAME=VALUE", arg)}
	}
	_, err = value.Find(s, first)
	return p, "", err
}

// changeData is a change in JSON.
type changeData struct {
	Name string          `json:"name"`
	Old  json.RawMessage `json:"old"`
	New  json.RawMessage `json:"new"`
}

func changesReport() *form.Report {
	return &form.Report{Kind: "changes", Columns: form.Columns("name", "was", "is")}
}

// change sets a part of a value to the text that to returns, and returns what it was and
// what it has become.
func change(ctx context.Context, s *shm.Segment, timeout time.Duration, p value.Part, to func(old any, l shm.Layout) (string, error)) (form.Row, error) {
	limit, cancel := limited(ctx, timeout)
	defer cancel()
	var old, is any
	var l shm.Layout
	err := p.Entry.UpdateContext(limit, func(whole any) (text string, err error) {
		if old, l, err = p.Path.Of(whole, p.Entry.Layout); err != nil {
			return "", fmt.Errorf("value %s: %w", form.Name(p.Entry.Name), err)
		}
		if text, err = to(old, l); err != nil {
			return "", err
		}
		return p.Assignment(old, text)
	})
	if err != nil {
		return form.Row{}, withHolder(s, p, err)
	}
	if is, l, err = p.Load(); err != nil {
		return form.Row{}, err
	}
	return changed(p, old, is, l), nil
}

// changed returns the row of a change.
func changed(p value.Part, old, is any, l shm.Layout) form.Row {
	hint := p.Entry.Hint
	was, now := value.Human(old, l, hint, ""), value.Human(is, l, hint, "")
	return form.Row{
		Cells: []string{p.Name(), was, now}, Text: new(fmt.Sprintf("%s: %s -> %s", p.Name(), was, now)),
		Data: changeData{p.Name(), value.JSON(old, l, hint), value.JSON(is, l, hint)},
	}
}
