package formattest

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Doc is docs/FORMAT.md. Each of its tables, diagrams and dumps comes after a
// marker, <!-- kind: name -->.
type Doc struct {
	Text string
	t    testing.TB
}

// ReadDoc reads docs/FORMAT.md of the module that the test is in.
func ReadDoc(t testing.TB) Doc {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test is not in a module")
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, "docs", "FORMAT.md"))
	if err != nil {
		t.Fatal(err)
	}
	return Doc{string(b), t}
}

// Lines returns the lines of the table or block after a marker.
func (d Doc) Lines(marker string) []string {
	d.t.Helper()
	_, rest, ok := strings.Cut(d.Text, "<!-- "+marker+" -->\n\n")
	if !ok {
		d.t.Fatalf("FORMAT.md has no %s", marker)
	}
	end := "\n\n"
	if block, ok := strings.CutPrefix(rest, "```\n"); ok {
		rest, end = block, "\n```"
	}
	rest, _, _ = strings.Cut(rest, end)
	return strings.Split(rest, "\n")
}

// Table returns the cells of a table without its head.
func (d Doc) Table(marker string) (rows [][]string) {
	d.t.Helper()
	for i, line := range d.Lines(marker) {
		if i < 2 {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// Number reads a number of a table.
func (d Doc) Number(s string) uint64 {
	d.t.Helper()
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// Place is where a field is, in bytes.
type Place struct{ Off, Size uintptr }

// Offsets reads a table of fields.
func (d Doc) Offsets(marker string) map[string]Place {
	d.t.Helper()
	fields := map[string]Place{}
	for _, row := range d.Table("offsets: " + marker) {
		fields[row[0]] = Place{uintptr(d.Number(row[1])), uintptr(d.Number(row[2]))}
	}
	return fields
}

// diagram reads a byte diagram, in which a byte is four columns wide and a field
// continues in the next line under the same name.
func (d Doc) diagram(marker string) map[string]Place {
	d.t.Helper()
	fields := map[string]Place{}
	for _, line := range d.Lines("diagram: " + marker)[1:] {
		m := regexp.MustCompile(`^ *(\d+) \|(.*)$`).FindStringSubmatch(line)
		if m == nil || len(m[2]) != 16*4 {
			d.t.Fatalf("diagram %s: %q is not a line of 16 bytes", marker, line)
		}
		column := 0
		for cell := range strings.SplitSeq(strings.TrimSuffix(m[2], "|"), "|") {
			width := len(cell) + 1
			if width%4 != 0 {
				d.t.Fatalf("diagram %s: %q is not a whole number of bytes", marker, cell)
			}
			name := strings.TrimSpace(cell)
			off := uintptr(d.Number(m[1])) + uintptr(column/4)
			f, again := fields[name]
			if !again {
				f.Off = off
			} else if f.Off+f.Size != off && name != "zero" {
				d.t.Errorf("diagram %s: %s continues at %d", marker, name, off)
			}
			f.Size += uintptr(width / 4)
			fields[name] = f
			column += width
		}
	}
	delete(fields, "zero")
	return fields
}

// CompareFields compares a table and a diagram with the code.
func (d Doc) CompareFields(marker string, code map[string]Place) {
	d.t.Helper()
	table := d.Offsets(marker)
	if !maps.Equal(table, code) {
		d.t.Errorf("%s: the table has %v, the code %v", marker, table, code)
	}
	drawn := d.diagram(marker)
	for name, where := range code {
		cell := name
		if drawn[cell] == (Place{}) {
			cell = name[:2] // where there is no room for more
		}
		if drawn[cell] != where {
			d.t.Errorf("%s: the diagram has %s at %v, the code at %v", marker, name, drawn[cell], where)
		}
		delete(drawn, cell)
	}
	if len(drawn) > 0 {
		d.t.Errorf("%s: the diagram also has %v", marker, drawn)
	}
}
