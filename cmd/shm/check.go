package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/bindings"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"github.com/urfave/cli/v3"
)

// checkCommand returns the command that checks whether a segment is sound.
func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check whether a segment is sound",
		ArgsUsage: "SEG…",
		Description: `Check reads the header, the description of each value, and each value. If something is
damaged, it says what and where, and the exit status is 6. A lock of a dead holder and a lock
that is marked as abandoned are no damage: check mentions them.

Then it compares what the Go, Python and C implementations say of each value, and of its
contents up to 1 MiB. Python needs python3 on the PATH, and C a compiler; without them check
says that it has not compared. It brings the Python package and shm.h along, so that it
compares those of its own version. Where they differ the exit status is 6. -quick leaves this
out.

Examples:
   shm check board
   shm check -quick /var/lib/plant/board`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "quick", Usage: "do not compare with Python and C"},
			formFlag(form.Table),
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, -1)
			if err != nil {
				return err
			}
			r := &form.Report{Kind: "checks", Columns: form.Columns("segment", "value", "finding")}
			var worst, unread error
			for _, name := range args {
				rows, err := checkRows(ctx, name, !c.Bool("quick"))
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if unreadable(err) {
					if len(args) == 1 {
						return err
					}
					unread = cmp.Or(unread, err)
				} else {
					worst = cmp.Or(worst, err)
				}
				r.Add(rows...)
			}
			if err := printerFor(c).Report(r); err != nil {
				return err
			}
			if worst = cmp.Or(worst, unread); worst != nil {
				return statusError{error: worst, status: statusOf(context.Background(), worst), silent: true}
			}
			return nil
		},
	}
}

// unreadable reports whether an error says that there is no such segment, or that this user
// may not read it, so that nobody knows whether it is damaged.
func unreadable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// checkData is a finding in JSON.
type checkData struct {
	Segment string `json:"segment"`
	Value   string `json:"value,omitempty"`
	Finding string `json:"finding"`
	Damaged bool   `json:"damaged"`
}

// checkRows returns what is to be said of a segment. The error is that of the first
// damage. If it finds none, and compare is true, it asks the other languages.
func checkRows(ctx context.Context, name string, compare bool) (rows []form.Row, damage error) {
	add := func(value, finding string, mark form.Mark, err error) {
		if err != nil {
			mark = form.Bad
			if damage == nil {
				damage = err
			}
		}
		cell := ""
		if value != "" {
			cell = form.Name(value)
		}
		rows = append(rows, form.Row{Cells: []string{form.Name(name), cell, form.Line(finding)}, Data: checkData{name, value, finding, err != nil && !unreadable(err)}, Mark: mark})
	}
	s, err := segments.Look(name)
	if err != nil {
		add("", err.Error(), form.Bad, err)
		return rows, damage
	}
	defer s.Close()
	n := 0
	for e := range s.Entries() {
		n++
		if err, failed := e.Any().(error); failed && !errors.Is(err, shm.ErrTooLong) {
			add(e.Name, err.Error(), form.Bad, err)
		}
		for lock, l := range locksOf(e) {
			if l.Held && !l.Alive || l.Abandoned {
				add(lock, "the lock is "+l.String(), form.Warn, nil)
			}
		}
	}
	if err := s.Check(); err != nil {
		add("", err.Error(), form.Bad, err)
	}
	if damage != nil {
		return rows, damage
	}
	add("", "sound: "+form.Count(n, "value"), form.None, nil)
	if !compare {
		return rows, nil
	}
	path, err := filepath.Abs(shm.Path(name))
	if err != nil {
		return rows, err
	}
	for _, r := range bindings.Compare(ctx, s, path) {
		if r.Skipped != "" {
			add("", "not compared with "+r.Language+": "+r.Skipped, form.Warn, nil)
			continue
		}
		for _, d := range r.Different {
			add(d.Value, d.Text, form.Bad, fmt.Errorf("%w: %s", shm.ErrFormat, d.Text))
		}
		text := fmt.Sprintf("Go and %s agree on %s, and on the contents of %d", r.Language, form.Count(r.Values, "value"), r.Contents)
		if r.Changing > 0 {
			text += fmt.Sprintf("; %d changed meanwhile", r.Changing)
		}
		if len(r.Different) == 0 {
			add("", text, form.None, nil)
		}
	}
	return rows, damage
}
