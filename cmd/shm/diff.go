package main

import (
	"context"
	"errors"
	"fmt"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"github.com/urfave/cli/v3"
)

// diffCommand returns the command that compares segments and dumps.
func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare two segments, or dumps of them",
		ArgsUsage: "SEG|FILE SEG|FILE",
		Description: `Diff lists the values, fields and elements that differ. Each argument is a segment, or a
file that dump has written. The exit status is 0 if nothing differs, 1 if values differ or are
too large to be compared, and 4 if a value has another type, or only one side has it.

Examples:
   shm diff board other
   shm diff before.json board         # shm dump board > before.json`,
		Flags: []cli.Flag{formFlag(form.Table)},
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 2, 2)
			if err != nil {
				return err
			}
			a, err := segments.Read(args[0])
			if err != nil {
				return err
			}
			b, err := segments.Read(args[1])
			if err != nil {
				return err
			}
			r, status, err := diffReport(a, b)
			if err != nil {
				return err
			}
			if err := printerFor(c).Report(r); err != nil {
				return err
			}
			if status != statusFine {
				return statusError{error: errors.New("they differ"), status: status, silent: true}
			}
			return nil
		},
	}
}

// diffData is a difference in JSON.
type diffData struct {
	Name string `json:"name"`
	What string `json:"what"` // value, type, unit, hint, help, presence, or not compared
	A    string `json:"a"`
	B    string `json:"b"`
}

// diffReport compares two dumps.
func diffReport(a, b *segments.Dump) (r *form.Report, status int, err error) {
	r = &form.Report{Kind: "differences", Columns: form.Columns("name", "what", "first", "second")}
	add := func(worst int, name, what, x, y string) {
		status = max(status, worst)
		r.Add(twoStates(diffData{name, what, x, y}, name, what, form.Text(x), form.Text(y)))
	}
	second := map[string]segments.DumpValue{}
	for _, v := range b.Values {
		second[v.Name] = v
	}
	for _, v := range a.Values {
		name := form.Name(v.Name)
		w, ok := second[v.Name]
		delete(second, v.Name)
		if !ok {
			add(statusLayout, name, "presence", v.Type, "")
			continue
		}
		if x, y := describe(v), describe(w); x != y {
			add(statusLayout, name, "type", x, y)
			continue
		}
		for _, d := range [][3]string{{"unit", v.Unit, w.Unit}, {"hint", v.Hint, w.Hint}, {"help", v.Help, w.Help}} {
			if d[1] != d[2] {
				add(statusFailed, name, d[0], d[1], d[2])
			}
		}
		if v.Error != "" || w.Error != "" {
			add(statusFailed, name, "not compared", v.Error, w.Error)
			continue
		}
		differ, err := value.Differences(v.Value, w.Value)
		if err != nil {
			return nil, 0, fmt.Errorf("value %s: %w", name, err)
		}
		for _, d := range differ {
			add(statusFailed, name+d.Path, "value", d.A, d.B)
		}
	}
	for _, w := range b.Values {
		if _, left := second[w.Name]; left {
			add(statusLayout, form.Name(w.Name), "presence", "", w.Type)
		}
	}
	if r.Empty() {
		r.Notes = []string{"nothing differs"}
	}
	return r, status, nil
}

func describe(v segments.DumpValue) string {
	text := v.Type
	if v.Layout != "" {
		text += " " + v.Layout
	}
	if v.Len > 0 {
		text += fmt.Sprintf(" of %d", v.Len)
	}
	return text
}
