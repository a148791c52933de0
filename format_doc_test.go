//go:build linux

package shm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// formatDoc is docs/FORMAT.md, whose tables, diagrams and dump each come after a
// marker, <!-- kind: name -->.
type formatDoc struct {
	t    *testing.T
	text string
}

func readFormatDoc(t *testing.T) formatDoc {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("docs", "FORMAT.md"))
	if err != nil {
		t.Fatal(err)
	}
	return formatDoc{t, string(b)}
}

// after returns the lines of the table or block behind a marker.
func (d formatDoc) after(marker string) []string {
	d.t.Helper()
	_, rest, ok := strings.Cut(d.text, "<!-- "+marker+" -->\n\n")
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

// table returns a table's rows without its head.
func (d formatDoc) table(marker string) (rows [][]string) {
	d.t.Helper()
	for i, line := range d.after(marker) {
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

// place is where a field is.
type place struct{ off, size uintptr }

func (d formatDoc) number(s string) uint64 {
	d.t.Helper()
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// offsets reads a table of fields.
func (d formatDoc) offsets(marker string) map[string]place {
	d.t.Helper()
	fields := map[string]place{}
	for _, row := range d.table("offsets: " + marker) {
		fields[row[0]] = place{uintptr(d.number(row[1])), uintptr(d.number(row[2]))}
	}
	return fields
}

// diagram reads a byte diagram, in which a byte is four columns wide and a field
// goes on in the next line under the same name.
func (d formatDoc) diagram(marker string) map[string]place {
	d.t.Helper()
	fields := map[string]place{}
	for _, line := range d.after("diagram: " + marker)[1:] {
		m := regexp.MustCompile(`^ *(\d+) \|(.*)$`).FindStringSubmatch(line)
		if m == nil || len(m[2]) != 16*4 {
			d.t.Fatalf("diagram %s: %q is no line of 16 bytes", marker, line)
		}
		at := 0
		for cell := range strings.SplitSeq(strings.TrimSuffix(m[2], "|"), "|") {
			width := len(cell) + 1
			if width%4 != 0 {
				d.t.Fatalf("diagram %s: %q is no whole number of bytes", marker, cell)
			}
			name := strings.TrimSpace(cell)
			off := uintptr(d.number(m[1])) + uintptr(at/4)
			f, again := fields[name]
			if !again {
				f.off = off
			} else if f.off+f.size != off && name != "zero" {
				d.t.Errorf("diagram %s: %s goes on at %d", marker, name, off)
			}
			f.size += uintptr(width / 4)
			fields[name] = f
			at += width
		}
	}
	delete(fields, "zero")
	return fields
}

// compareFields holds a table and a diagram against the code.
func (d formatDoc) compareFields(marker string, code map[string]place) {
	d.t.Helper()
	table := d.offsets(marker)
	if !maps.Equal(table, code) {
		d.t.Errorf("%s: the table has %v, the code %v", marker, table, code)
	}
	drawn := d.diagram(marker)
	for name, where := range code {
		cell := name
		if drawn[cell] == (place{}) {
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

func TestFormatDocFields(t *testing.T) {
	d := readFormatDoc(t)
	var h header
	d.compareFields("header", map[string]place{
		"magic":       {unsafe.Offsetof(h.magic), unsafe.Sizeof(h.magic)},
		"version":     {unsafe.Offsetof(h.version), unsafe.Sizeof(h.version)},
		"order":       {unsafe.Offsetof(h.order), unsafe.Sizeof(h.order)},
		"header size": {unsafe.Offsetof(h.size), unsafe.Sizeof(h.size)},
		"ids":         {unsafe.Offsetof(h.tableLen), unsafe.Sizeof(h.tableLen)},
		"max size":    {unsafe.Offsetof(h.maxSize), unsafe.Sizeof(h.maxSize)},
		"check":       {unsafe.Offsetof(h.check), unsafe.Sizeof(h.check)},
		"allocated":   {unsafe.Offsetof(h.allocated), unsafe.Sizeof(h.allocated)},
		"used":        {unsafe.Offsetof(h.used), unsafe.Sizeof(h.used)},
		"dirty":       {unsafe.Offsetof(h.dirty), unsafe.Sizeof(h.dirty)},
		"next id":     {unsafe.Offsetof(h.nextID), unsafe.Sizeof(h.nextID)},
		"boot":        {unsafe.Offsetof(h.boot), unsafe.Sizeof(h.boot)},
		"names":       {unsafe.Offsetof(h.names), unsafe.Sizeof(h.names)},
	})
	if unsafe.Offsetof(h.table) != tableOffset || unsafe.Sizeof(h) != headerSize {
		t.Errorf("the table is at %d and the header ends at %d", unsafe.Offsetof(h.table), unsafe.Sizeof(h))
	}
	var e tableEntry
	d.compareFields("entry", map[string]place{
		"id":        {unsafe.Offsetof(e.id), unsafe.Sizeof(e.id)},
		"pid":       {unsafe.Offsetof(e.pid), unsafe.Sizeof(e.pid)},
		"namespace": {unsafe.Offsetof(e.namespace), unsafe.Sizeof(e.namespace)},
		"program":   {unsafe.Offsetof(e.program), unsafe.Sizeof(e.program)},
	})
	var c lockCell
	d.compareFields("cell", map[string]place{
		"word":      {unsafe.Offsetof(c.word), unsafe.Sizeof(c.word)},
		"change":    {unsafe.Offsetof(c.change), unsafe.Sizeof(c.change)},
		"probed":    {unsafe.Offsetof(c.probed), unsafe.Sizeof(c.probed)},
		"starve":    {unsafe.Offsetof(c.starve), unsafe.Sizeof(c.starve)},
		"abandoned": {unsafe.Offsetof(c.abandoned), unsafe.Sizeof(c.abandoned)},
		"takeovers": {unsafe.Offsetof(c.takeovers), unsafe.Sizeof(c.takeovers)},
		"extent":    {unsafe.Offsetof(c.extent), unsafe.Sizeof(c.extent)},
		"commit":    {unsafe.Offsetof(c.commit), unsafe.Sizeof(c.commit)},
		"number":    {numberOffset, 8},
	})
	if unsafe.Sizeof(c) > numberOffset && unsafe.Sizeof(c) != line {
		t.Errorf("a lock cell of %d bytes", unsafe.Sizeof(c))
	}
}

// TestFormatDocRecord looks where the document says that the numbers of a record
// are, in one whose numbers are all different.
func TestFormatDocRecord(t *testing.T) {
	d := readFormatDoc(t)
	l, err := LayoutOf[struct{ A, B, C int32 }]()
	if err != nil {
		t.Fatal(err)
	}
	s := shape{label: label{"name5", "unit_of7", "help text"}, layout: &l, count: 3, access: AccessLocked, kind: kindArray}
	meta, size := s.encode(200)
	whole := map[string]uint64{
		"size": uint64(size), "data": uint64(len(meta)), "check": uint64(checkRecord(meta)), "count": 3, "element": 12, "capacity": 200,
		"access": uint64(AccessLocked), "kind": uint64(kindArray), "name": 5, "format": uint64(len(l.Format)), "unit": 8, "help": 9,
		"pid": uint64(os.Getpid()),
	}
	code := map[string]place{"program": {56, recordFixed - 56}}
	for name, where := range d.offsets("record") {
		b := make([]byte, 8)
		switch want, ok := whole[name]; {
		case name == "program":
			if got := string(bytes.TrimRight(meta[where.off:where.off+where.size], "\x00")); got != program[:min(len(program), int(where.size))] || where.off+where.size != recordFixed {
				t.Errorf("program at %v: %q", where, got)
			}
		case !ok:
			t.Errorf("a field %s", name)
		case binary.NativeEndian.Uint16([]byte{1, 0}) == 1:
			copy(b, meta[where.off:where.off+where.size])
			if got := binary.LittleEndian.Uint64(b); got != want {
				t.Errorf("%s at %v: %d, want %d", name, where, got, want)
			}
		default:
			copy(b[8-where.size:], meta[where.off:where.off+where.size])
			if got := binary.BigEndian.Uint64(b); got != want {
				t.Errorf("%s at %v: %d, want %d", name, where, got, want)
			}
		}
		code[name] = where
	}
	if len(code) != len(whole)+1 {
		t.Errorf("%d fields, want %d", len(code), len(whole)+1)
	}
	d.compareFields("record", code) // the diagram against the table
	if want := "name5" + l.Format + "unit_of7" + "help text"; string(bytes.TrimRight(meta[recordFixed:], "\x00")) != want {
		t.Errorf("texts %q", meta[recordFixed:])
	}
}

func TestFormatDocConstants(t *testing.T) {
	d := readFormatDoc(t)
	code := map[string]uint64{
		"line": line, "version": formatVersion, "order": byteOrderMark, "tableOffset": tableOffset, "tableLen": tableLen,
		"headerSize": headerSize, "firstAllocation": firstAllocation, "maxSegment": maxSegment, "sealedMax": sealedMax,
		"recordFixed": recordFixed, "maxName": maxName, "maxText": maxText, "maxHelp": longest(t, func(s *shape, n int) { s.help = strings.Repeat("h", n) }),
		"numberOffset": numberOffset, "lockedOffset": lockedOffset, "ownerMask": ownerMask, "wordL": wordL, "wordW": wordW,
		"maxID": maxID, "awaited": awaited, "allocationByte": allocationByte, "leaseBase": leaseBase, "bootSkip": bootSkip(t),
		"probeEvery": uint64(probeEvery), "shortSleep": uint64(shortSleep), "maxTries": maxTries,
	}
	doc := map[string]uint64{}
	for _, row := range d.table("constants") {
		if pause, err := time.ParseDuration(row[1]); err == nil && pause != 0 {
			doc[row[0]] = uint64(pause)
		} else {
			doc[row[0]] = d.number(row[1])
		}
	}
	if !maps.Equal(doc, code) {
		for name := range maps.Keys(doc) {
			if doc[name] != code[name] {
				t.Errorf("%s: FORMAT.md has %d, the code %d", name, doc[name], code[name])
			}
		}
		for name := range maps.Keys(code) {
			if _, ok := doc[name]; !ok {
				t.Errorf("%s is not in FORMAT.md", name)
			}
		}
	}
	if n := longest(t, func(s *shape, n int) { s.name = strings.Repeat("n", n) }); n != maxName {
		t.Errorf("names of up to %d bytes, maxName is %d", n, maxName)
	}
	if n := longest(t, func(s *shape, n int) { s.unit = strings.Repeat("u", n) }); n != maxName {
		t.Errorf("units of up to %d bytes, maxName is %d", n, maxName)
	}
	if got := fmt.Sprintf("% x", magic); !strings.Contains(d.text, "| magic | 0 | 8 | "+got+":") {
		t.Errorf("the magic number is %s", got)
	}
	for _, row := range d.table("sealed") {
		if n, w := d.number(row[0]), d.number(row[1]); seal(n) != w {
			t.Errorf("sealed %d is %#x, FORMAT.md has %#x", n, seal(n), w)
		}
	}
}

// longest returns how long a text may be.
func longest(t *testing.T, set func(s *shape, n int)) uint64 {
	t.Helper()
	for n := range maxText + 2 {
		s := shape{label: label{name: "x"}, access: AccessLocked, kind: kindMutex}
		if set(&s, n+1); s.check() != nil {
			return uint64(n)
		}
	}
	t.Fatal("no limit")
	return 0
}

// bootSkip returns how many ids are passed over after a reboot.
func bootSkip(t *testing.T) uint64 {
	t.Helper()
	if bootID() == 0 {
		t.Skip("this system does not tell its boots apart")
	}
	s := open(t, testName(t), nil)
	m := s.m.Load()
	before, _ := m.nextID.load()
	m.boot.store(bootID() ^ 2)
	if err := m.recoverBoot(s.file); err != nil {
		t.Fatal(err)
	}
	after, _ := m.nextID.load()
	return after - before
}

func TestFormatDocValues(t *testing.T) {
	d := readFormatDoc(t)
	rows := d.table("values")
	numbered := func(cell string) (int, string) {
		n, name, _ := strings.Cut(cell, " ")
		return int(d.number(n)), name
	}
	kinds := map[kind]string{kindSingle: "single", kindArray: "array", kindChars: "chars", kindMutex: "mutex", kindGrowth: "growth"}
	seen := map[kind]bool{}
	l, err := LayoutOf[int64]()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		n, access := numbered(row[1])
		k, name := numbered(row[2])
		r := &record{shape: shape{layout: &l, access: Access(n), kind: kind(k)}}
		seen[r.kind] = true
		if r.access.String() != access || kinds[r.kind] != name {
			t.Errorf("%s: access %d is %v, kind %d is %s", row[0], n, r.access, k, kinds[r.kind])
		}
		if row[4] != "-" && r.elements() != int64(d.number(row[4])) {
			t.Errorf("%s: the value is at %d, FORMAT.md has %s", row[0], r.elements(), row[4])
		}
		if got := r.dataSize(100); got != int64(d.number(row[5])) {
			t.Errorf("%s: %d bytes of data, FORMAT.md has %s", row[0], got, row[5])
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("kinds %v", seen)
	}
	// What each constructor writes is what the table says of it.
	s := open(t, testName(t), nil)
	must(NewRawValue[int8](s, "RawValue", 0))(t)
	must(NewRawStruct(s, "RawStruct", pairOfNumbers{}))(t)
	must(NewAtomic[int32](s, "Atomic", 0))(t)
	must(NewValue[int32](s, "Value", 0))(t)
	must(NewStruct(s, "Struct", pairOfNumbers{}))(t)
	must(NewRawArray[int8](s, "RawArray", 5))(t)
	must(NewArray[int8](s, "Array", 5))(t)
	must(NewCharArray(s, "CharArray", 5))(t)
	must(NewString(s, "String", 5))(t)
	must(NewMutex(s, "Mutex"))(t)
	for _, r := range s.m.Load().dir.all() {
		i := slices.IndexFunc(rows, func(row []string) bool { return slices.Contains(strings.Split(row[0], ", "), r.name) })
		if i < 0 {
			t.Errorf("%s is not in FORMAT.md", r.name)
			continue
		}
		count := "0"
		if r.count != 0 {
			count = "n"
		}
		if got := []string{fmt.Sprintf("%d %v", r.access, r.access), fmt.Sprintf("%d %s", r.kind, kinds[r.kind]), count}; !slices.Equal(got, rows[i][1:4]) {
			t.Errorf("%s is %q, FORMAT.md has %q", r.name, got, rows[i][1:4])
		}
	}
}

func TestFormatDocCodes(t *testing.T) {
	d := readFormatDoc(t)
	var doc []string
	for _, row := range d.table("codes") {
		l, err := ParseLayout(byteOrder + row[0])
		if err != nil || l.Size != int(d.number(row[1])) {
			t.Errorf("%s: %d bytes, %v", row[0], l.Size, err)
		}
		doc = append(doc, row[0]+" "+row[2])
	}
	var code []string
	for _, s := range scalars {
		code = append(code, s.code+" "+s.typ.String())
	}
	if !slices.Equal(doc, code) {
		t.Errorf("FORMAT.md has %q, the code %q", doc, code)
	}
}

type pairOfNumbers struct {
	X int32 `shm:"x"`
	Y int32 `shm:"y"`
}

type threeNumbers struct {
	X int32 `shm:"x"`
	Y int32 `shm:"y"`
	Z int32 `shm:"z"`
}

// TestFormatDocDump makes the segment that FORMAT.md shows.
func TestFormatDocDump(t *testing.T) {
	if byteOrder != "<" {
		t.Skip("the dump is of a little-endian machine")
	}
	d := readFormatDoc(t)
	s := open(t, testName(t), &Options{MaxSize: 1 << 20})
	must(newValue[int32](s, label{name: "hits", unit: "requests"}, 7))(t)
	p := must(NewStruct(s, "p", pairOfNumbers{1, 2}))(t)
	p.Store(pairOfNumbers{3, 4})
	must(NewStruct(s, "p", threeNumbers{}))(t)

	m := s.m.Load()
	used, ok := m.used.bytes()
	if !ok {
		t.Fatal("used")
	}
	mem := slices.Clone(m.mem[:used])
	hidden := make([]bool, used)
	hide := func(off, n int) {
		for i := range n {
			hidden[off+i] = true
		}
	}
	var h header
	hide(int(unsafe.Offsetof(h.boot)), 8)
	hide(tableOffset+line+4, line-4) // of id 1
	for off := int64(headerSize); off < used; off += int64(binary.NativeEndian.Uint64(mem[off:])) {
		hide(int(off)+recordCheck, 4)
		hide(int(off)+52, 4)
		hide(int(off)+56, recordFixed-56)
	}
	got := dump(mem, hidden)
	var want []string
	for _, line := range d.after("dump") {
		if !strings.HasPrefix(line, "#") {
			want = append(want, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("FORMAT.md has another dump than\n%s", strings.Join(got, "\n"))
	}
}

// dump prints lines of 16 bytes as od -A d -t x1z does, but hides bytes that are
// not the same each time, and puts a * for lines of zeros.
func dump(mem []byte, hidden []bool) (lines []string) {
	zeros := false
	for off := 0; off < len(mem); off += 16 {
		hex, text, empty := "", "", true
		for i, b := range mem[off : off+16] {
			switch {
			case hidden[off+i]:
				hex += " .."
				text += "."
				empty = false
				continue
			case b >= ' ' && b < 0x7f:
				text += string(rune(b))
			default:
				text += "."
			}
			hex += fmt.Sprintf(" %02x", b)
			empty = empty && b == 0
		}
		if !empty {
			lines = append(lines, fmt.Sprintf("%07d%s  >%s<", off, hex, text))
		} else if !zeros {
			lines = append(lines, "*")
		}
		zeros = empty
	}
	return lines
}
