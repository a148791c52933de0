package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
)

var english = message.NewPrinter(language.English)

// significant formats a measured number with some digits. Further digits would have no
// meaning.
func significant(x float64, digits int) string {
	return english.Sprint(number.Decimal(x, number.Precision(digits)))
}

// WriteTable writes the report as a table for people, at most 100 columns wide.
func (r *Report) WriteTable(w io.Writer) error {
	t := table.NewWriter()
	t.SetStyle(tableStyle())
	t.SuppressTrailingSpaces()
	header := table.Row{"way", "alone\nns"}
	columns := []table.ColumnConfig{{Number: 1, AlignHeader: text.AlignLeft}}
	for _, n := range r.Settings.Procs {
		header = append(header, fmt.Sprintf("%d processes\nmillion/s", n))
	}
	header = append(header, "lost", "a process is killed\nin the middle")
	for i := 2; i < len(header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(columns)
	for _, result := range r.Ways {
		row := table.Row{mark(result.About), significant(result.Alone.NSPerOp, 3)}
		for _, c := range result.Contended {
			row = append(row, significant(c.MOps, 3))
		}
		t.AppendRow(append(row, lost(result), result.Kill))
	}
	_, err := fmt.Fprintf(w, "%s\n\n%s\n\n%s\n", t.Render(), strings.Join(r.notes(), "\n"), r.Advice)
	return err
}

// tableStyle returns a style with a line under the header and no other lines.
func tableStyle() table.Style {
	s := table.StyleLight
	s.Options = table.Options{SeparateHeader: true}
	s.Format.Header = text.FormatDefault
	s.Box.PaddingLeft = ""
	s.Box.PaddingRight = "  "
	return s
}

// mark returns the label of a way. A way whose actors are goroutines gets the mark of
// the note about them.
func mark(a About) string {
	if a.Actors == goroutines {
		return a.Label + " *"
	}
	return a.Label
}

func lost(r Result) string {
	if r.Lost == 0 {
		return "0"
	}
	return english.Sprintf("%d (%s %%)", r.Lost, significant(r.LostPercent, 2))
}

// notes returns what a reader has to know about the numbers.
func (r *Report) notes() []string {
	notes := []string{"* goroutines of one process, not processes"}
	for _, m := range r.Missing {
		notes = append(notes, fmt.Sprintf("%s is missing: %s", m.Label, m.Reason))
	}
	m := r.Machine
	where := []string{m.Go, fmt.Sprintf("%s/%s", m.OS, m.Arch), fmt.Sprintf("%d cores", m.Cores)}
	for _, s := range []string{m.Kernel, m.Python} {
		if s != "" {
			where = append(where, s)
		}
	}
	if most := slices.Max(r.Settings.Procs); most > m.Cores {
		notes = append(notes, fmt.Sprintf("%d processes share %d cores: they wait less for each other, and more for a core", most, m.Cores))
	}
	return append(notes, strings.Join(where, ", "))
}
