package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/proc"
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
it was and is. VALUE is what get prints, or JSON. A duration may be 1.5s. A struct or an
array keeps what VALUE leaves out: {Limit: 10}, [3: 7].

With -if OLD the value is set only if it is OLD; otherwise the exit status is 1. For an
integer without a lock (Atomic) this is one compare-and-swap. Raw values have neither a
lock nor an atomic operation: a program that writes one at the same time may win or lose.

If the lock is held for longer than -timeout, nothing is changed, the exit status is 5 and
the message says who holds it. Set attaches as a program does: the segment has to be this
user's, and set takes a lease while it runs.

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
		return form.Row{}, withHolder(s, p.Entry, err)
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
		Cells: []string{p.Name(), was, now}, Text: fmt.Sprintf("%s: %s -> %s", p.Name(), was, now),
		Data: changeData{p.Name(), value.JSON(old, l, hint), value.JSON(is, l, hint)},
	}
}

// withHolder says who holds the lock for which a change has waited in vain.
func withHolder(s *shm.Segment, e shm.Entry, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	name, l, ok := heldLock(e)
	if !ok {
		return err
	}
	held := l.String()
	if file, err := segments.Stat(s.Name()); err == nil && l.Alive {
		if maps, err := proc.Scan(); err == nil {
			if p, ok := seen(s.Processes(), maps.Of(proc.KeyOf(file.Dev, file.Inode)))[l.ID]; ok {
				held = fmt.Sprintf("held by %s (pid %d), which is %s", form.Name(p.Program), p.Pid, p.State)
			}
		}
	}
	what := "it"
	if isTable(e) { // of which the rows before may be changed
		what = "this row"
	}
	return statusError{error: fmt.Errorf("gave up on the lock of %s, which is %s: %s was not changed", name, held, what), status: statusLocked}
}

// heldLock returns the name and the state of the lock that a process waits for in vain: of a
// Table it is the lock of a row.
func heldLock(e shm.Entry) (name string, l shm.LockInfo, ok bool) {
	for i, lock := range e.Locks() {
		if !lock.Held || ok && !lock.Waiting {
			continue
		}
		name, l, ok = form.Name(e.Name), lock, true
		if isTable(e) {
			name = fmt.Sprintf("%s[%d]", name, i)
		}
		if lock.Waiting { // as this process has
			break
		}
	}
	return name, l, ok
}

func isTable(e shm.Entry) bool { return strings.HasPrefix(e.Type(), "Table[") }

// addCommand returns the command that adds to a number.
func addCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "add to a number",
		ArgsUsage: "SEG NAME[.FIELD][[INDEX]] DELTA",
		Description: `Add adds DELTA, which may be negative, to a number, under the number's own lock or by
one atomic operation. A sum that does not fit is an error, and nothing is changed. To a Counter
it adds as a program does: what it adds stays. A Gauge has parts of living processes alone, so
it cannot be added to. Flags come before the arguments. Otherwise it is as set.

Examples:
   shm add board requests 1
   shm add -timeout 1s board config.Limit -5
   shm add board uptime 90s`,
		StopOnNthArg: new(2),
		Flags:        []cli.Flag{timeoutFlag(lockWait, "wait for the lock"), formFlag(form.Plain)},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 3, 3)
			if err != nil {
				return err
			}
			s, err := segments.Change(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			p, err := value.Find(s, args[1])
			if err != nil {
				return err
			}
			report := changesReport()
			add := func() (form.Row, error) {
				return change(ctx, s, c.Duration("timeout"), p, func(old any, _ shm.Layout) (string, error) {
					return sum(old, args[2], p.Entry.Hint)
				})
			}
			switch p.Entry.Type() {
			case "Counter[int64]":
				add = func() (form.Row, error) { return count(s, p, args[2], shm.NewCounter[int64]) }
			case "Counter[uint64]":
				add = func() (form.Row, error) { return count(s, p, args[2], shm.NewCounter[uint64]) }
			case "Counter[float64]":
				add = func() (form.Row, error) { return count(s, p, args[2], shm.NewCounter[float64]) }
			case "Gauge[int64]", "Gauge[uint64]", "Gauge[float64]":
				return fmt.Errorf("%w: %s is a Gauge, the sum of what living processes have set, and this process ends at once", fs.ErrInvalid, form.Name(p.Entry.Name))
			}
			row, err := add()
			if err != nil {
				return err
			}
			report.Add(row)
			return printerFor(c).Report(report)
		},
	}
}

// count adds to a counter. What it was and is are two looks, between which others may add
// as well.
func count[T shm.CounterNumber](s *shm.Segment, p value.Part, delta string, attach func(*shm.Segment, string) (shm.Counter[T], error)) (form.Row, error) {
	if len(p.Path) > 0 {
		return form.Row{}, fmt.Errorf("%w: value %s is a number, which has no parts", fs.ErrNotExist, form.Name(p.Entry.Name))
	}
	c, err := attach(s, p.Entry.Name)
	if err != nil {
		return form.Row{}, err
	}
	text, err := value.Unhinted(delta, p.Entry.Hint)
	if err != nil {
		return form.Row{}, err
	}
	var d T
	if _, unsigned := any(d).(uint64); unsigned && strings.HasPrefix(text, "-") {
		return form.Row{}, fmt.Errorf("%w: %s is a Counter[uint64], which only grows", strconv.ErrRange, form.Name(p.Entry.Name))
	}
	old := c.Load()
	if _, err := sum(old, delta, p.Entry.Hint); err != nil {
		return form.Row{}, err
	}
	if _, err := fmt.Sscan(text, &d); err != nil {
		return form.Row{}, fmt.Errorf("%w: %s: %w", fs.ErrInvalid, form.Text(delta), err)
	}
	c.Add(d)
	return changed(p, old, c.Load(), p.Entry.Layout), nil
}

// sum returns the text of a number plus a delta.
func sum(old any, delta, hint string) (string, error) {
	text, err := value.Unhinted(delta, hint)
	if err != nil {
		return "", err
	}
	n := reflect.ValueOf(old)
	outside := fmt.Errorf("%w: %v plus %s does not fit in the %v", strconv.ErrRange, old, form.Text(delta), n.Type())
	invalid := func(err error) error {
		if errors.Is(err, strconv.ErrRange) {
			return outside
		}
		return fmt.Errorf("%w: %s is not a number that can be added to the %v", fs.ErrInvalid, form.Text(delta), n.Type())
	}
	switch {
	case n.CanInt():
		d, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return "", invalid(err)
		}
		s := n.Int() + d
		if (s > n.Int()) != (d > 0) && d != 0 || n.OverflowInt(s) {
			return "", outside
		}
		return strconv.FormatInt(s, 10), nil
	case n.CanUint():
		magnitude, negative := strings.CutPrefix(text, "-")
		d, err := strconv.ParseUint(strings.TrimPrefix(magnitude, "+"), 0, 64)
		if err != nil {
			return "", invalid(err)
		}
		s := n.Uint() + d
		if negative {
			s = n.Uint() - d
		}
		if negative && d > n.Uint() || !negative && s < d || n.OverflowUint(s) {
			return "", outside
		}
		return strconv.FormatUint(s, 10), nil
	case n.CanFloat():
		d, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return "", invalid(err)
		}
		return strconv.FormatFloat(n.Float()+d, 'g', -1, n.Type().Bits()), nil
	}
	return "", fmt.Errorf("%w: add is for integers and floating-point numbers, and this is a %T", fs.ErrInvalid, old)
}
