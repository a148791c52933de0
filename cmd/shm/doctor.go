package main

import (
	"context"
	"errors"

	"example.org/shm/cmd/shm/internal/doctor"
	"example.org/shm/cmd/shm/internal/form"
	"github.com/urfave/cli/v3"
)

// doctorCommand returns the command that examines the machine.
func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "examine what this machine offers to segments",
		Description: `Doctor looks at ` + doctor.Looks + `, and says
what each finding means. It makes a segment without a name to see whether that works. If
something is bad the exit status is 1.

Examples:
   shm doctor
   shm doctor -o jsonl | grep -v fine`,
		Flags: []cli.Flag{formFlag(form.Table)},
		Action: func(_ context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			r := &form.Report{Kind: "findings", Columns: form.Columns("check", "verdict", "found")}
			bad := false
			marks := map[doctor.Verdict]form.Mark{doctor.Note: form.Warn, doctor.Bad: form.Bad}
			for _, f := range doctor.Examine() {
				bad = bad || f.Verdict == doctor.Bad
				r.Add(form.Row{Cells: []string{f.Check, string(f.Verdict), f.Found}, Data: f, Mark: marks[f.Verdict]})
				if f.Means != "" && c.String("o") == form.Table {
					r.Notes = append(r.Notes, f.Check+": "+f.Means)
				}
			}
			if err := printerFor(c).Report(r); err != nil {
				return err
			}
			if bad {
				return statusError{error: errors.New("something is bad"), status: statusFailed, silent: true}
			}
			return nil
		},
	}
}
