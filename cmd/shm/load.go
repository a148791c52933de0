package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"github.com/urfave/cli/v3"
)

// loadCommand returns the command that sets the values of a segment from a dump.
func loadCommand() *cli.Command {
	return &cli.Command{
		Name:      "load",
		Usage:     "set the values of a segment from a dump",
		ArgsUsage: "SEG [FILE]",
		Description: `Load sets each value of a segment to what the dump in FILE, or on standard input, says, and
prints those that change. It sets each value under its own lock. The segment must have all
values of the dump, with the same types: load makes none, because the programs that use a
segment make its values. It checks all of this, and that each value can be what the dump says,
before it changes the first one. Locks are left alone, and values that have no value in the
dump, which it mentions; so are Ring, Counter, Gauge and Histogram, of which load says that
they differ. If it gives up on a lock, it prints what it has changed before, and the exit status
is 5.

Examples:
   shm load -n board board.json     # what would change
   shm load board < board.json`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "n", Usage: "change nothing: print what would change"},
			timeoutFlag(lockWait, "wait for each lock"),
			formFlag(form.Table),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, 2)
			if err != nil {
				return err
			}
			d, err := interruptible(ctx, func() (*segments.Dump, error) { return readDump(args[1:]) })
			if err != nil {
				return err
			}
			attach := segments.Change
			if c.Bool("n") {
				attach = segments.Look
			}
			s, err := attach(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			changes, notes, err := loadable(s, d)
			if err != nil {
				return err
			}
			r := changesReport()
			if r.Notes = notes; len(changes)+len(notes) == 0 {
				r.Notes = []string{"nothing differs"}
			}
			for _, l := range changes {
				row := l.row()
				if !c.Bool("n") {
					if row, err = l.apply(ctx, s, c.Duration("timeout")); err != nil {
						if part, ok := l.part(); ok {
							r.Add(part)
						}
						if !r.Empty() { // what is loaded by now stays, so it is told
							err = errors.Join(err, printerFor(c).Report(r))
						}
						return err
					}
				}
				r.Add(row)
			}
			return printerFor(c).Report(r)
		},
	}
}

// loading is a value that is to change.
type loading struct {
	entry shm.Entry
	old   any
	to    segments.DumpValue
	text  string // that the value is set to
}

// settable reports whether values of a type can be set from a text: those can that are not
// made of what several processes have added.
func settable(name string) bool {
	for _, t := range []string{"Ring[", "Counter[", "Gauge[", "Histogram"} {
		if strings.HasPrefix(name, t) {
			return false
		}
	}
	return true
}

// loadable returns the values that differ from a dump, and what there is to say of those
// that are left alone. It fails if the segment does not have all of the dump's, or if one
// of them cannot be what the dump says.
func loadable(s *shm.Segment, d *segments.Dump) (all []loading, notes []string, err error) {
	var t trial
	defer t.close()
	for _, v := range d.Values {
		e, ok := s.Lookup(v.Name)
		if !ok {
			return nil, nil, fmt.Errorf("no value %s in %s, which the dump has: %w", form.Name(v.Name), form.Name(s.Name()), fs.ErrNotExist)
		}
		if e.Type() != v.Type || e.Layout.Format != v.Layout || e.Len != v.Len {
			return nil, nil, statusError{error: fmt.Errorf("value %s is %s %s of length %d, and in the dump %s %s of length %d: nothing was changed",
				form.Name(v.Name), e.Type(), form.Text(e.Layout.Format), e.Len, form.Text(v.Type), form.Text(v.Layout), v.Len), status: statusLayout}
		}
		if string(v.Value) == "null" || v.Value == nil {
			if v.Error != "" {
				notes = append(notes, fmt.Sprintf("%s has no value in the dump and is left alone: %s", form.Name(v.Name), form.Line(v.Error)))
			}
			continue
		}
		old := e.Any()
		if err, failed := old.(error); failed {
			return nil, nil, err
		}
		differ, err := value.Differences(value.Exact(old, e.Layout, e.Hint), v.Value)
		if err != nil {
			return nil, nil, fmt.Errorf("value %s of the dump: %w", form.Name(v.Name), err)
		}
		if len(differ) == 0 {
			continue
		}
		if !settable(v.Type) {
			notes = append(notes, fmt.Sprintf("%s differs and is left alone: a %s cannot be set", form.Name(v.Name), form.Text(v.Type)))
			continue
		}
		text, err := value.FromJSON(v.Value, old, e.Hint)
		if err == nil {
			err = t.parse(e, text)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("value %s of the dump: %w", form.Name(v.Name), err)
		}
		all = append(all, loading{e, old, v, text})
	}
	return all, notes, nil
}

// trial is a segment without a name, in which values are set before those of others are.
type trial struct{ seg *shm.Segment }

// parse reports why a value cannot be set from a text, or nil.
func (t *trial) parse(e shm.Entry, text string) error {
	const enough = 64 << 20 // bytes of one that is used again
	if t.seg != nil && t.seg.Size() > enough {
		t.close()
	}
	if t.seg == nil {
		s, err := shm.Anonymous(nil)
		if err != nil {
			return err
		}
		t.seg = s
	}
	d, err := e.Description()
	if err != nil {
		return err
	}
	like, err := t.seg.Make(d)
	if err != nil {
		return err
	}
	return like.Parse(text)
}

func (t *trial) close() {
	if t.seg != nil {
		_ = t.seg.Close()
		t.seg = nil
	}
}

// row says what would change.
func (l loading) row() form.Row {
	e := l.entry
	was := value.Exact(l.old, e.Layout, e.Hint)
	show := func(raw json.RawMessage) string { return form.Number(form.Line(string(raw)), e.Hint, "") }
	name := form.Name(e.Name)
	return twoStates(changeData{name, was, l.to.Value}, name, show(was), show(value.Compact(l.to.Value)))
}

// part returns what a Table was and is of which some rows were set before an error. Each
// row has a lock of its own.
func (l loading) part() (row form.Row, ok bool) {
	if !isTable(l.entry) {
		return row, false
	}
	now := l.entry.Any()
	if _, failed := now.(error); failed {
		return row, false
	}
	was, is := value.Exact(l.old, l.entry.Layout, l.entry.Hint), value.Exact(now, l.entry.Layout, l.entry.Hint)
	if bytes.Equal(was, is) {
		return row, false
	}
	l.to.Value = is
	return l.row(), true
}

// apply sets the value.
func (l *loading) apply(ctx context.Context, s *shm.Segment, timeout time.Duration) (form.Row, error) {
	limit, cancel := limited(ctx, timeout)
	defer cancel()
	err := l.entry.UpdateContext(limit, func(old any) (string, error) {
		l.old = old
		return l.text, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return form.Row{}, withHolder(s, value.Part{Entry: l.entry}, err)
	}
	return l.row(), err
}
