package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// duration writes nanoseconds.
func duration(ns float64) string {
	if ns == 0 {
		return "–"
	}
	value, prefix := humanize.ComputeSI(ns * 1e-9)
	return significant(value) + " " + prefix + "s"
}

// significant writes a number with three digits, and those in front of the point.
func significant(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 1:
		return fmt.Sprintf("%.3g", x)
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	case x < 100:
		return fmt.Sprintf("%.1f", x)
	}
	return humanize.Comma(int64(x + 0.5))
}

// times writes a ratio.
func times(x float64) string {
	switch {
	case x == 0:
		return "–"
	case x < 1:
		return fmt.Sprintf("%.2f", x)
	}
	return significant(x)
}

// newTable returns a table whose first column is names.
func newTable(first string, titles ...string) table.Writer {
	t := table.NewWriter()
	header := table.Row{first}
	for _, title := range titles {
		header = append(header, title)
	}
	t.AppendHeader(header)
	var right []table.ColumnConfig
	for i := range titles {
		right = append(right, table.ColumnConfig{Number: i + 2, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(right)
	return t
}

func titles() (all []string) {
	for _, c := range columns {
		all = append(all, c.title)
	}
	return all
}

// ratios is the table of times over shm's: of the medians of pairs, and of the minima.
func (l *league) ratios() table.Writer {
	t := newTable("rival", append(titles(), "kill -9 with the lock held")...)
	for i, e := range l.Rivals {
		row := table.Row{e.Name}
		for _, c := range columns {
			s := e.Columns[c.key]
			switch {
			case i == 0:
				row = append(row, duration(s.Median))
			case s.Ratio == 0:
				row = append(row, "–")
			default:
				row = append(row, fmt.Sprintf("%s (%s)", times(s.Ratio), times(s.RatioMins)))
			}
		}
		t.AppendRow(append(row, l.kill(i)))
	}
	return t
}

// kill writes what became of a process that waited for the lock of a killed one.
func (l *league) kill(i int) string {
	e, ours := l.Rivals[i], l.Rivals[0]
	switch {
	case e.KillNS.Median == 0:
		word, _, _ := strings.Cut(e.Kill, ":")
		if word == "" || strings.Contains(word, "no lock") {
			return "–"
		}
		return word
	case i == 0:
		return duration(e.KillNS.Median)
	}
	return fmt.Sprintf("%s (%s)", times(e.KillNS.Median/ours.KillNS.Median), times(e.KillNS.Min/ours.KillNS.Min))
}

// figures is the table of absolute times: median, and minimum.
func (l *league) figures() table.Writer {
	t := newTable("rival", append(titles(), "kill -9 with the lock held")...)
	for _, e := range l.Rivals {
		row := table.Row{e.Name}
		for _, c := range columns {
			s := e.Columns[c.key]
			row = append(row, both(s.Median, s.Min))
		}
		t.AppendRow(append(row, both(e.KillNS.Median, e.KillNS.Min)))
	}
	return t
}

func both(median, least float64) string {
	if median == 0 {
		return "–"
	}
	return duration(median) + " (" + duration(least) + ")"
}

// order lists the rivals that shm is slower than (or faster), column by column.
func (l *league) order(slower bool) string {
	var b strings.Builder
	line := func(title string, ratio func(i int) float64) {
		type one struct {
			name string
			x    float64
		}
		var all []one
		for i, e := range l.Rivals[1:] {
			if x := ratio(i + 1); x > 0 && (x < 1) == slower {
				all = append(all, one{e.Name, x})
			}
		}
		slices.SortFunc(all, func(a, b one) int {
			if a.x < b.x {
				return -1
			}
			return 1
		})
		var words []string
		for _, o := range all {
			words = append(words, fmt.Sprintf("%s %s", o.name, times(o.x)))
		}
		if len(words) > 0 {
			fmt.Fprintf(&b, "- **%s**: %s.\n", title, strings.Join(words, ", "))
		}
	}
	for _, c := range columns {
		line(c.title, func(i int) float64 { return l.Rivals[i].Columns[c.key].Ratio })
	}
	if ours := l.Rivals[0].KillNS.Median; ours > 0 {
		line("kill -9 with the lock held", func(i int) float64 { return l.Rivals[i].KillNS.Median / ours })
	}
	if b.Len() == 0 {
		return "Nothing in this run.\n"
	}
	return b.String()
}

// words lists what was found in words: kills, types, and what each rival is.
func (l *league) words() (kills, types, notes string) {
	var k, t, n strings.Builder
	for _, e := range l.Rivals {
		if e.Kill != "" {
			what := e.Kill
			if e.KillNS.Median > 0 {
				what = fmt.Sprintf("goes on after %s (at best %s)", duration(e.KillNS.Median), duration(e.KillNS.Min))
			}
			fmt.Fprintf(&k, "- **%s**: %s.\n", e.Name, what)
		}
		if e.Mismatch != "" {
			fmt.Fprintf(&t, "- **%s**: %s.\n", e.Name, strings.TrimSuffix(e.Mismatch, "."))
		}
		fmt.Fprintf(&n, "- **%s**: %s.\n", e.Name, e.Note)
	}
	for _, m := range l.Missing {
		fmt.Fprintf(&n, "- Left out, since the machine does not have it: %s.\n", m)
	}
	for _, m := range l.Failed {
		fmt.Fprintf(&n, "- Left out, since it failed: %s.\n", m)
	}
	return k.String(), t.String(), n.String()
}

// checked says in a sentence whether the rivals did what they were asked for.
func (l *league) checked() string {
	var increments, reads int64
	for _, e := range l.Rivals {
		increments += e.Increments
		reads += e.Reads
	}
	s := fmt.Sprintf("In this run there were %s increments and %s reads.", humanize.Comma(increments), humanize.Comma(reads))
	if wrong := l.wrong(); len(wrong) > 0 {
		return s + " Wrong: " + strings.Join(wrong, "; ") + "."
	}
	return s + " No counter differs from the number of increments, and no read was torn."
}

// blocks is what the run has for the page.
func (l *league) blocks() map[string]string {
	kills, types, notes := l.words()
	return map[string]string{
		"run":     fmt.Sprintf("`%s`, %s: %s. %d rounds; load average before the run %s.\n\n%s", l.Command, l.Taken, l.Machine, l.Rounds, l.Load, l.checked()),
		"ratios":  l.ratios().RenderMarkdown(),
		"figures": l.figures().RenderMarkdown(),
		"slower":  l.order(true),
		"faster":  l.order(false),
		"kills":   kills,
		"types":   types,
		"rivals":  notes,
	}
}

// terminal writes a table for a terminal.
func terminal(t table.Writer) string {
	s := table.StyleLight
	s.Options = table.Options{SeparateHeader: true}
	s.Format.Header = text.FormatDefault
	t.SetStyle(s)
	return t.Render()
}

// table has a row for each step.
func (cu *curve) table() table.Writer {
	var titles []string
	for _, s := range cu.Series {
		titles = append(titles, s.Name)
	}
	t := newTable(cu.Grows, titles...)
	for i, p := range cu.Series[0].Points {
		row := table.Row{cu.at(float64(p.N))}
		for _, s := range cu.Series {
			row = append(row, s.Unit.write(s.Points[i].Y))
		}
		t.AppendRow(row)
	}
	return t
}

// at writes a number of what grows.
func (cu *curve) at(x float64) string {
	if cu.bytes {
		return humanize.IBytes(uint64(x))
	}
	return number(x)
}

// print writes the table, and all that is not in it, for a terminal.
func (l *league) print(w io.Writer) {
	kills, types, _ := l.words()
	fmt.Fprintf(w, "%s\n\nKill -9 with the lock held:\n%s\nAnother type:\n%s\n%s\n", terminal(l.ratios()), kills, types, l.checked())
	for _, m := range append(l.Missing, l.Failed...) {
		fmt.Fprintln(w, "left out:", m)
	}
}

// write writes the page, the JSON and the charts into a directory of documents.
func (l *league) write(docs string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "league.json"), append(b, '\n'), 0o666); err != nil {
		return err
	}
	if err := l.charts(filepath.Join(docs, "pictures")); err != nil {
		return err
	}
	return rewrite(filepath.Join(docs, "LEAGUE.md"), l.blocks())
}

// rewrite replaces blocks of a page: what is between <!-- NAME --> and <!-- /NAME -->. A
// block that the page does not have is an error, since what was measured would be lost.
func rewrite(path string, blocks map[string]string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page := string(b)
	for name, text := range blocks {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, found := strings.Cut(page, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			return fmt.Errorf("%s has no block %s … %s", path, strings.TrimSpace(begin), end)
		}
		page = before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after
	}
	return os.WriteFile(path, []byte(page), 0o666)
}
