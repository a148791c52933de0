package main

import (
	"context"
	"errors"
	"io/fs"

	"example.org/shm"
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

Examples:
   shm check board
   shm check /var/lib/plant/board`,
		Flags: []cli.Flag{formFlag(form.Table)},
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, -1)
			if err != nil {
				return err
			}
			r := &form.Report{Kind: "checks", Columns: form.Columns("segment", "value", "finding")}
			var worst error
			for _, name := range args {
				rows, err := checkRows(name)
				if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
					return err
				}
				r.Rows = append(r.Rows, rows...)
				if worst == nil {
					worst = err
				}
			}
			if err := printerFor(c).Report(r); err != nil {
				return err
			}
			if worst != nil {
				return statusError{error: worst, status: statusOf(context.Background(), worst), silent: true}
			}
			return nil
		},
	}
}

// checkData is a finding in JSON.
type checkData struct {
	Segment string `json:"segment"`
	Value   string `json:"value,omitempty"`
	Finding string `json:"finding"`
	Damaged bool   `json:"damaged"`
}

// checkRows returns what is to be said of a segment. The error is that of the first
// damage.
func checkRows(name string) (rows []form.Row, damage error) {
	add := func(value, finding string, err error) {
		d := checkData{name, value, finding, err != nil}
		mark := form.Warn
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
		rows = append(rows, form.Row{Cells: []string{form.Name(name), cell, form.Line(finding)}, Data: d, Mark: mark})
	}
	s, err := segments.Look(name)
	if err != nil {
		add("", err.Error(), err)
		return rows, damage
	}
	defer s.Close()
	n := 0
	for e := range s.Entries() {
		n++
		if err, failed := e.Any().(error); failed && !errors.Is(err, shm.ErrTooLong) {
			add(e.Name, err.Error(), err)
		}
		for lock, l := range locksOf(e) {
			if l.Held && !l.Alive || l.Abandoned {
				add(lock, "the lock is "+l.String(), nil)
			}
		}
	}
	if err := s.Check(); err != nil {
		add("", err.Error(), err)
	}
	if damage == nil {
		rows = append(rows, form.Row{
			Cells: []string{form.Name(name), "", "sound: " + form.Count(n, "value")},
			Data:  checkData{Segment: name, Finding: "sound: " + form.Count(n, "value")},
		})
	}
	return rows, damage
}
