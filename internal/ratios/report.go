//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
)

// report is all that a run measured.
type report struct {
	Machine machine  `json:"machine"`
	Command string   `json:"command"`
	Results []result `json:"results"`
	Missing []string `json:"missing,omitempty"` // what this machine lacks, and why
	Table   string   `json:"table,omitempty"`   // of shm bench
	Logs    []logged `json:"logs,omitempty"`    // of tests
}

var english = message.NewPrinter(language.English)

func digits(n int) string { return strconv.Itoa(n) }

// significant writes a measured number with a few digits.
func significant(x float64) string {
	return english.Sprint(number.Decimal(x, number.Precision(3)))
}

// ratio writes a ratio with two digits behind the point, or a large one with fewer.
func ratio(x float64) string {
	if x < 10 {
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return significant(x)
}

// tableOf returns the results as a table, for Markdown or for a terminal.
func tableOf(results []result, markdown bool) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"operation", "rival", "unit", "ours", "rival's", "ratio", "p10–p90", "min–max", "allocs", "target", "met"})
	for _, r := range results {
		met := ""
		switch {
		case r.Target != 0 && r.met():
			met = "yes"
		case r.Target != 0 && markdown:
			met = "**no**"
		case r.Target != 0:
			met = "NO"
		}
		ours, rival := r.Ours, r.Rival
		if markdown {
			ours, rival = code(ours), code(rival)
		}
		t.AppendRow(table.Row{
			ours, rival, r.Unit,
			significant(r.Each[0].Median), significant(r.Each[1].Median),
			ratio(r.Ratio.Median), ratio(r.Ratio.P10) + "–" + ratio(r.Ratio.P90), ratio(r.Ratio.Min) + "–" + ratio(r.Ratio.Max),
			allocations(r.Allocs), r.wanted(), met,
		})
	}
	var columns []table.ColumnConfig
	for i := 4; i <= 10; i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

// wanted writes the target.
func (r *result) wanted() string {
	switch {
	case r.Target == 0:
		return ""
	case r.More:
		return "≥ " + ratio(r.Target)
	}
	return "≤ " + ratio(r.Target)
}

// identifier is what a Go programmer would write as code: a qualified name, or a
// call.
var identifier = regexp.MustCompile(`\b[\w.]+\([^()]*\)|\b(RawValue|Value|Atomic|RawArray|Array|Mutex|Struct|String|CharArray|sync|atomic|bytes|multiprocessing|ctypes)\.\w+(\.\w+)?`)

// code marks names as code in Markdown, and hides what would be Markdown.
func code(s string) string {
	s = strings.ReplaceAll(s, "*", `\*`)
	return identifier.ReplaceAllString(s, "`$0`")
}

// logTable writes what tests logged, in Markdown.
func logTable(all []logged) string {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"test", "what it logged"})
	for _, l := range all {
		t.AppendRow(table.Row{"`" + l.Test + "`", strings.Join(l.Lines, "; ")})
	}
	return t.RenderMarkdown()
}

// allocations writes how many objects an operation of ours and of the rival
// allocates, or nothing if neither does.
func allocations(a *[2]float64) string {
	if a == nil || *a == [2]float64{} {
		return ""
	}
	return fmt.Sprintf("%.3g / %.3g", a[0], a[1])
}

// render writes the results for a terminal.
func render(results []result) string {
	t := tableOf(results, false)
	s := table.StyleLight
	s.Options = table.Options{SeparateHeader: true}
	s.Format.Header = text.FormatDefault
	s.Box.PaddingLeft = ""
	s.Box.PaddingRight = "  "
	t.SetStyle(s)
	t.SuppressTrailingSpaces()
	return t.Render()
}
