package form

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// Schema is the version of the JSON that commands print. It changes when a field is
// removed or gets another meaning, and not when one is added.
const Schema = 1

// The forms in which a command can print.
const (
	Table = "table"
	JSON  = "json"
	JSONL = "jsonl"
	Plain = "text"
)

// Forms lists them.
var Forms = []string{Table, JSON, JSONL, Plain}

// Column is a column of a table.
type Column struct {
	Title string
	Right bool // for numbers
}

// Columns returns columns of these titles. A title after > is that of numbers.
func Columns(titles ...string) (all []Column) {
	for _, t := range titles {
		title, right := strings.CutPrefix(t, ">")
		all = append(all, Column{title, right})
	}
	return all
}

// Mark says how a row is to be noticed on a terminal.
type Mark int

// The marks.
const (
	None Mark = iota
	Warn
	Bad
)

// Row is one thing that a command has found.
type Row struct {
	Cells []string // of the table
	Text  *string  // the bare line, which may be empty; nil means the cells with tabs between them
	Data  any      // what becomes JSON: a struct
	Mark  Mark
}

// Report is what a command prints.
type Report struct {
	Kind    string // what the rows are, such as values: the name of the list in JSON
	Columns []Column
	rows    [][]Row  // in blocks, since append would copy the rows of a long list several times
	Notes   []string // what a reader has to know besides: below the table, and in JSON
}

// rowsAtOnce is how many rows a block has.
const rowsAtOnce = 1000

// gap is what separates the columns of a table.
const gap = "  "

// Add appends rows.
func (r *Report) Add(rows ...Row) {
	for _, row := range rows {
		last := len(r.rows) - 1
		if last < 0 || len(r.rows[last]) == rowsAtOnce {
			r.rows = append(r.rows, make([]Row, 0, min(rowsAtOnce, 16+rowsAtOnce*len(r.rows))))
			last++
		}
		r.rows[last] = append(r.rows[last], row)
	}
}

// Empty reports whether there are no rows.
func (r *Report) Empty() bool { return len(r.rows) == 0 }

// all yields the rows.
func (r *Report) all(yield func(Row) bool) {
	for _, rows := range r.rows {
		for _, row := range rows {
			if !yield(row) {
				return
			}
		}
	}
}

// Printer writes reports in one form.
type Printer struct {
	W      io.Writer
	Err    io.Writer // for the notes of forms that have no place for them
	Form   string
	Colour bool
	ASCII  bool // draw lines with ASCII

	lines *encoder // of Row
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Coloured reports whether to colour what is written to f: it is a terminal that can
// show colours, and NO_COLOR is not set (https://no-color.org).
func Coloured(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(f)
}

// ASCIIOnly reports whether what is written to f is to be drawn with ASCII: it is a
// terminal, and the locale says that the terminal does not show UTF-8. An empty locale says
// nothing.
func ASCIIOnly(f *os.File) bool {
	for _, variable := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(os.Getenv(variable)); v != "" {
			return !strings.Contains(v, "UTF-8") && !strings.Contains(v, "UTF8") && IsTerminal(f)
		}
	}
	return false
}

// Report writes a whole report.
func (p *Printer) Report(r *Report) error {
	out := bufio.NewWriterSize(p.W, 64<<10)
	buffered := &Printer{W: out, Err: p.Err, Form: p.Form, Colour: p.Colour, ASCII: p.ASCII}
	if err := buffered.report(r); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if p.Form == JSON || p.Form == Table {
		return nil
	}
	return p.notes(r.Notes)
}

func (p *Printer) report(r *Report) error {
	switch p.Form {
	case JSON:
		return p.document(r)
	case Table:
		return p.table(r)
	}
	for row := range r.all {
		if err := p.Row(row); err != nil {
			return err
		}
	}
	return nil
}

// notes writes the notes to standard error, where no script takes them for rows.
func (p *Printer) notes(notes []string) error {
	for _, n := range notes {
		if _, err := fmt.Fprintln(p.Err, "shm:", n); err != nil {
			return err
		}
	}
	return nil
}

// Row writes one row as a line, for reports that do not end and for forms without a
// frame. As JSON it is one object in a line.
func (p *Printer) Row(r Row) error {
	if p.Form == JSONL || p.Form == JSON {
		if p.lines == nil {
			p.lines = newEncoder("", "")
		}
		b, err := p.lines.encode(r.Data)
		if err != nil {
			return err
		}
		// The version is the first field of each line.
		fields, _ := bytes.CutPrefix(b, []byte("{"))
		comma := ","
		if bytes.HasPrefix(fields, []byte("}")) {
			comma = ""
		}
		_, err = fmt.Fprintf(p.W, `{"schema":%d%s%s`, Schema, comma, fields)
		return err
	}
	line := strings.Join(r.Cells, "\t")
	if r.Text != nil {
		line = *r.Text
	}
	_, err := fmt.Fprintln(p.W, p.paint(r.Mark, line))
	return err
}

// document writes a report as one JSON document, row by row.
func (p *Printer) document(r *Report) error {
	if _, err := fmt.Fprintf(p.W, "{\n  \"schema\": %d", Schema); err != nil {
		return err
	}
	rows := func(yield func(any) bool) {
		r.all(func(row Row) bool { return yield(row.Data) })
	}
	if err := p.list(r.Kind, rows); err != nil {
		return err
	}
	if len(r.Notes) > 0 {
		notes := func(yield func(any) bool) {
			for _, n := range r.Notes {
				if !yield(n) {
					return
				}
			}
		}
		if err := p.list("notes", notes); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(p.W, "\n}")
	return err
}

// list writes a field of a document that is a list.
func (p *Printer) list(name string, all iter.Seq[any]) error {
	if _, err := fmt.Fprintf(p.W, ",\n  %q: [", name); err != nil {
		return err
	}
	separator, end := "\n    ", "]"
	e := newEncoder("    ", "  ")
	for v := range all {
		b, err := e.encode(v)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(p.W, "%s%s", separator, bytes.TrimSuffix(b, []byte("\n"))); err != nil {
			return err
		}
		separator, end = ",\n    ", "\n  ]"
	}
	_, err := fmt.Fprint(p.W, end)
	return err
}

// Document writes any value as one JSON document, which has its own schema field.
func (p *Printer) Document(v any) error {
	b, err := newEncoder("", "  ").encode(v)
	if err == nil {
		_, err = p.W.Write(b)
	}
	return err
}

// encoder writes values as JSON that no terminal interprets.
type encoder struct {
	b bytes.Buffer
	e *json.Encoder
}

func newEncoder(prefix, indent string) *encoder {
	e := &encoder{}
	e.e = json.NewEncoder(&e.b)
	e.e.SetEscapeHTML(false)
	e.e.SetIndent(prefix, indent)
	return e
}

// encode returns the JSON of a value with a line feed at its end, until the next call.
func (e *encoder) encode(v any) ([]byte, error) {
	e.b.Reset()
	if err := e.e.Encode(v); err != nil {
		return nil, err
	}
	return Harmless(e.b.Bytes()), nil
}

// table writes a report as a table, with a line under the header.
func (p *Printer) table(r *Report) error {
	header := Row{Cells: make([]string, len(r.Columns))}
	widths := make([]int, len(r.Columns))
	for i, c := range r.Columns {
		header.Cells[i], widths[i] = c.Title, text.StringWidth(c.Title)
	}
	for row := range r.all {
		for i, cell := range row.Cells {
			widths[i] = max(widths[i], text.StringWidth(cell))
		}
	}
	var line []byte
	write := func(row Row) error {
		line = line[:0]
		for i, cell := range row.Cells {
			align := text.AlignLeft
			if r.Columns[i].Right {
				align = text.AlignRight
			}
			line = append(append(line, align.Apply(p.paint(row.Mark, cell), widths[i])...), gap...)
		}
		line = append(bytes.TrimRight(line, " "), '\n')
		_, err := p.W.Write(line)
		return err
	}
	if !r.Empty() {
		rule := "─"
		if p.ASCII {
			rule = "-"
		}
		total := len(widths) * len(gap)
		for _, w := range widths {
			total += w
		}
		if err := errors.Join(write(header), write(Row{Cells: []string{strings.Repeat(rule, total)}})); err != nil {
			return err
		}
	}
	for row := range r.all {
		if err := write(row); err != nil {
			return err
		}
	}
	for _, n := range r.Notes {
		if _, err := fmt.Fprintln(p.W, n); err != nil {
			return err
		}
	}
	return nil
}

// paint colours a text on a terminal.
func (p *Printer) paint(m Mark, s string) string {
	if !p.Colour || s == "" || m == None {
		return s
	}
	text.EnableColors() // the package looks at its own idea of a terminal
	if m == Bad {
		return text.FgRed.Sprint(s)
	}
	return text.FgYellow.Sprint(s)
}
