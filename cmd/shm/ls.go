package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
	"example.org/shm/internal/glob"
	"github.com/urfave/cli/v3"
)

// lsCommand returns the command that lists the values of a segment.
func lsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list the values of a segment",
		ArgsUsage: "SEG [GLOB…]",
		Description: `Ls lists each value with its name, Go type, contents, unit and help text. A GLOB, such as
'worker.*', selects by name; * matches / too. In a table a long value is cut, and a note says so; get shows
it whole.

Examples:
   shm ls board
   shm ls -l board 'req*'
   shm ls -o json board`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "l", Usage: "also list access, offset, bytes and maker"},
			formFlag(form.Table),
		},
		Action: func(_ context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, -1)
			if err != nil {
				return err
			}
			globs := args[1:]
			if err := glob.Check(globs...); err != nil {
				return usageError{err}
			}
			s, err := segments.Look(args[0])
			if err != nil {
				return err
			}
			defer s.Close()
			report, err := valuesReport(s, globs, c.Bool("l"), c.String("o"))
			if err != nil {
				return err
			}
			if err := printerFor(c).Report(report); err != nil {
				return err
			}
			if err := s.Check(); err != nil {
				return err // what comes after the damage is not listed
			}
			return nil
		},
	}
}

// maker is the process that made a value.
type maker struct {
	Pid     int    `json:"pid"`
	Program string `json:"program"`
}

// valueRow is what there is to say of a value.
type valueRow struct {
	Name   string          `json:"name"`
	Type   string          `json:"type"`
	Access string          `json:"access"`
	Len    int             `json:"len,omitempty"` // elements, or bytes of a text
	Layout string          `json:"layout,omitempty"`
	Value  json.RawMessage `json:"value"` // null for a mutex, and for what cannot be shown
	Unit   string          `json:"unit,omitempty"`
	Hint   string          `json:"hint,omitempty"`
	Help   string          `json:"help,omitempty"`
	Offset int64           `json:"offset"`
	Bytes  int64           `json:"bytes"`
	Maker  maker           `json:"maker"`
	Lock   *lockState      `json:"lock,omitempty"`
	Error  string          `json:"error,omitempty"` // why the value cannot be shown
}

// lockState is the state of a lock.
type lockState struct {
	Held      bool   `json:"held"`
	ID        uint32 `json:"id,omitempty"`
	Pid       int    `json:"pid,omitempty"` // in the holder's own pid namespace
	Program   string `json:"program,omitempty"`
	Alive     bool   `json:"alive,omitempty"`
	Waiting   bool   `json:"waiting,omitempty"`
	Abandoned bool   `json:"abandoned,omitempty"`
	Takeovers uint32 `json:"takeovers,omitempty"`
}

func lockStateOf(e shm.Entry) *lockState {
	l, ok := e.Lock()
	if !ok {
		return nil
	}
	return &lockState{l.Held, l.ID, l.Pid, l.Program, l.Alive, l.Waiting, l.Abandoned, l.Takeovers}
}

// human returns the text of a value as people read it, or why it cannot be shown. That of a
// struct needs no map of its fields.
func human(e shm.Entry) (text, problem string) {
	if len(e.Layout.Fields) > 0 {
		if text := e.Text(); !strings.HasPrefix(text, "<") {
			return form.WithUnit(text, e.Unit), ""
		}
	}
	v, problem := contents(e)
	if v == nil {
		return e.Text(), problem
	}
	return value.Human(v, e.Layout, e.Hint, e.Unit), ""
}

// contents returns what a value is, or nil and why it cannot be shown.
func contents(e shm.Entry) (v any, problem string) {
	v = e.Any()
	if err, failed := v.(error); failed {
		return nil, err.Error()
	}
	return v, ""
}

// valueRowOf says in JSON what there is to say of a value.
func valueRowOf(e shm.Entry) valueRow {
	v, problem := contents(e)
	return valueRow{
		Name: e.Name, Type: e.Type(), Access: e.Access.String(), Len: e.Len, Layout: e.Layout.Format, Unit: e.Unit, Hint: e.Hint, Help: e.Help,
		Offset: e.Offset, Bytes: e.Size, Maker: maker{e.Pid, e.Program}, Lock: lockStateOf(e), Error: problem,
		Value: value.JSON(v, e.Layout, e.Hint),
	}
}

// selected reports whether a name matches one of the patterns, or there are none.
func selected(name string, globs []string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(g string) bool { return glob.Match(g, name) })
}

// widest is how many characters of a value a table shows.
const widest = 60

// cut returns the first characters of a text, if it is long.
func cut(text string) (short string, was bool) {
	if utf8.RuneCountInString(text) <= widest {
		return text, false
	}
	return string([]rune(text)[:widest-1]) + "…", true
}

// twoStates returns a row whose last two cells are a value in two states. A table has them cut.
func twoStates(data any, cells ...string) form.Row {
	r := form.Row{Text: new(strings.Join(cells, "\t")), Cells: cells, Data: data}
	for i := len(cells) - 2; i < len(cells); i++ {
		cells[i], _ = cut(cells[i])
	}
	return r
}

// cutBefore is cut of what precedes a unit, so that a table has the unit of a long array. A
// unit that is itself long is cut with it.
func cutBefore(text, unit string) (short string, was bool) {
	before, has := strings.CutSuffix(text, unit)
	if !has || utf8.RuneCountInString(unit) > widest/2 {
		return cut(text)
	}
	short, was = cut(before)
	return short + unit, was
}

// valuesReport lists the values of a segment in one form. A row has what that form
// prints, since a segment may have many values. In a table long values are cut.
func valuesReport(s *shm.Segment, globs []string, long bool, as string) (*form.Report, error) {
	r := &form.Report{Kind: "values", Columns: form.Columns("name", "type", "value", "help")}
	if long {
		r.Columns = append(r.Columns, form.Columns("access", ">offset", ">bytes", "made by")...)
	}
	cuts, total := 0, 0
	for e := range s.Entries() {
		total++
		if !selected(e.Name, globs) {
			continue
		}
		if as == form.JSON || as == form.JSONL {
			r.Add(form.Row{Data: valueRowOf(e)})
			continue
		}
		var row form.Row
		text, problem := human(e)
		if as == form.Table {
			var was bool
			if text, was = cutBefore(text, form.WithUnit("", e.Unit)); was {
				cuts++
			}
		}
		row.Cells = []string{form.Name(e.Name), form.Text(e.Type()), text, form.Text(e.Help)}
		if long {
			by := ""
			if e.Pid != 0 {
				by = fmt.Sprintf("%s (%d)", form.Name(e.Program), e.Pid)
			}
			row.Cells = append(row.Cells, e.Access.String(), strconv.FormatInt(e.Offset, 10), strconv.FormatInt(e.Size, 10), by)
		}
		if problem != "" || heldByDead(e) {
			row.Mark = form.Bad
		}
		r.Add(row)
	}
	switch {
	case total == 0:
		r.Notes = append(r.Notes, "the segment has no values")
	case r.Empty():
		return nil, statusError{error: fmt.Errorf("none of the %s of %s matches %q", form.Count(total, "value"), form.Name(s.Name()), globs), status: statusAbsent}
	}
	if cuts > 0 {
		r.Notes = append(r.Notes, form.Count(cuts, "long value")+" cut: shm get shows all of it")
	}
	return r, nil
}

// heldByDead reports whether a dead process holds a lock of the value.
func heldByDead(e shm.Entry) bool {
	for _, l := range e.Locks() {
		if l.Held && !l.Alive {
			return true
		}
	}
	return false
}
