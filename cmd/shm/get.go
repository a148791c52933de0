package main

import (
	"context"
	"encoding/json"

	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"github.com/urfave/cli/v3"
)

// getCommand returns the command that prints values for scripts.
func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print values, or parts of them",
		ArgsUsage: "SEG NAME[.FIELD][[INDEX]]…",
		Description: `Get prints each value in a line of its own: a number as it is, a text without quotes, an
array as [1, 2], a struct as {x: 1, y: 2}. A number that has the hint duration prints as
1.5s, one with the hint time as a time, also in an array. A text that is not printable is a string literal, and
so is one that set would take for another text.

Examples:
   shm get board requests
   shm get board config.Limit samples[3]
   shm get -o json board config`,
		Flags: []cli.Flag{formFlag(form.Plain)},
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			s, err := segments.Look(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			r := &form.Report{Kind: "values", Columns: form.Columns("name", "value")}
			for _, arg := range args[1:] {
				p, err := value.Find(s, arg)
				if err != nil {
					return err
				}
				row, err := partRow(p)
				if err != nil {
					return err
				}
				r.Add(row)
			}
			return printerFor(c).Report(r)
		},
	}
}

// partData is a part of a value in JSON.
type partData struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
	Unit  string          `json:"unit,omitempty"`
	Hint  string          `json:"hint,omitempty"`
	Lock  *lockState      `json:"lock,omitempty"` // of a mutex, which has no value
}

// partRow reads a part of a value.
func partRow(p value.Part) (form.Row, error) {
	v, l, err := p.Load()
	if err != nil {
		return form.Row{}, err
	}
	e := p.Entry
	data := partData{Name: p.Name(), Value: value.JSON(v, l, e.Hint), Unit: e.Unit, Hint: e.Hint}
	bare, human := value.Bare(v, l, e.Hint), value.Human(v, l, e.Hint, e.Unit)
	if v == nil {
		data.Lock = lockStateOf(e)
		bare, human = e.Text(), e.Text()
	}
	return form.Row{Cells: []string{p.Name(), human}, Text: new(bare), Data: data}, nil
}
