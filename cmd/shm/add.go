package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strconv"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"github.com/urfave/cli/v3"
)

// addCommand returns the command that adds to a number.
func addCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "add to a number",
		ArgsUsage: "SEG NAME[.FIELD][[INDEX]] DELTA",
		Description: `Add adds DELTA, which may be negative, to a number, under the number's own lock or by
one atomic operation. A sum that does not fit is an error, and nothing is changed. So is the sum
of a finite number that would be infinite or NaN. To a Counter it adds as a program does: what it
adds stays. A Gauge has parts of living processes alone, so it cannot be added to. Flags come
before the arguments. Otherwise it is as set.

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

// finite reports whether a number is neither NaN nor infinite.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

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
		s := n.Float() + d
		if n.Type().Bits() == 32 {
			s = float64(float32(s))
		}
		if !finite(s) && finite(n.Float()) {
			return "", outside
		}
		return strconv.FormatFloat(s, 'g', -1, n.Type().Bits()), nil
	}
	return "", fmt.Errorf("%w: add is for integers and floating-point numbers, and this is a %T", fs.ErrInvalid, old)
}
