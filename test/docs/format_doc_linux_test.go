package docs_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"go/constant"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/format/formattest"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// formatConstants has the constants that docs/FORMAT.md lists, and where they are
// in the Go code.
var formatConstants = map[string]string{
	"line": "format.Line", "version": "format.Version", "order": "format.ByteOrderMark", "tableOffset": "format.TableOffset",
	"tableLen": "format.TableLen", "headerSize": "format.HeaderSize", "firstAllocation": "format.FirstAllocation",
	"maxSegment": "format.MaxSegment", "sealedMax": "format.SealedMax", "recordFixed": "format.RecordFixed", "maxName": "format.MaxName",
	"maxText": "format.MaxText", "maxHelp": "format.MaxHelp", "maxExtent": "format.MaxExtent", "numberOffset": "format.NumberOffset", "lockedOffset": "format.LockedOffset",
	"ownerMask": "format.OwnerMask", "wordL": "format.LocalWaiters", "wordW": "format.KernelWaiters", "maxID": "format.MaxID",
	"awaited": "format.Awaited", "allocationByte": "format.AllocationByte", "leaseBase": "format.LeaseBase",
	"askBase": "format.AskBase", "askBytes": "format.AskBytes",
	"nextIDGap": "lease.nextIDGap", "indexSlots": "format.IndexSlots", "maxIndexSlots": "format.MaxIndexSlots", "probeEvery": "robust.probeEvery",
	"cells": "format.Cells", "maxCells": "format.MaxCells", "maxBounds": "format.MaxBounds", "cellLine": "format.CellLine", "bucketOffset": "format.BucketOffset", "clean": "format.Clean",
	"shortSleep": "wait.Short", "maxTries": "slots.maxTries",
}

func TestFormatDocConstants(t *testing.T) {
	d := formattest.ReadDoc(t)
	checkedPackages := map[string]*types.Package{}
	told := map[string]bool{}
	for _, row := range d.Table("constants") {
		name, where := row[0], strings.Trim(row[3], "`")
		told[name] = true
		if formatConstants[name] != where {
			t.Errorf("%s is %s in FORMAT.md, want %q", name, where, formatConstants[name])
			continue
		}
		var doc uint64
		if pause, err := time.ParseDuration(row[1]); err == nil && pause != 0 {
			doc = uint64(pause)
		} else {
			doc = d.Number(row[1])
		}
		pkg, constantName, _ := strings.Cut(where, ".")
		if checkedPackages[pkg] == nil {
			checkedPackages[pkg] = check(t, "internal/"+pkg).pkg
		}
		c, ok := checkedPackages[pkg].Scope().Lookup(constantName).(*types.Const)
		if !ok {
			t.Errorf("there is no constant %s", where)
			continue
		}
		if code, exact := constant.Uint64Val(constant.ToInt(c.Val())); !exact || code != doc {
			t.Errorf("%s is %d in FORMAT.md, %v in the code", name, doc, c.Val())
		}
	}
	for name := range formatConstants {
		if !told[name] {
			t.Errorf("%s is not in FORMAT.md", name)
		}
	}
	for what, limit := range map[string]struct {
		set  func(s *format.Shape, text string)
		want int
	}{
		"a name":      {func(s *format.Shape, text string) { s.Name = text }, format.MaxName},
		"a unit":      {func(s *format.Shape, text string) { s.Unit = text }, format.MaxName},
		"a help text": {func(s *format.Shape, text string) { s.Help = text }, format.MaxHelp},
	} {
		if n := longest(t, limit.set); n != limit.want {
			t.Errorf("%s may have %d bytes, want %d", what, n, limit.want)
		}
	}
	if got := fmt.Sprintf("% x", format.Magic); !strings.Contains(d.Text, "| magic | 0 | 8 | "+got+":") {
		t.Errorf("the magic number is %s", got)
	}
	for i, row := range d.Table("hints") {
		code, name, _ := strings.Cut(row[0], " ")
		if h := format.Hint(d.Number(code)); int(h) != i || h.String() != name {
			t.Errorf("hint %d is %q, FORMAT.md has %s", i, h, row[0])
		}
	}
	for _, row := range d.Table("sealed") {
		if n, w := d.Number(row[0]), d.Number(row[1]); format.Seal(n) != w {
			t.Errorf("sealed %d is %#x, FORMAT.md has %#x", n, format.Seal(n), w)
		}
	}
}

// longest returns how long a text may be.
func longest(t *testing.T, set func(s *format.Shape, text string)) int {
	t.Helper()
	for n := range format.MaxText + 2 {
		s := format.Shape{Label: format.Label{Name: "x"}, Access: format.Locked, Kind: format.KindMutex}
		if set(&s, strings.Repeat("x", n+1)); s.Check() != nil {
			return n
		}
	}
	t.Fatal("there is no limit")
	return 0
}

// records reads the directory of a segment.
func records(t *testing.T, s *shm.Segment) (all []*format.Record) {
	t.Helper()
	memory, layouts := agent.Map(t, s).Bytes, map[string]*layout.Layout{}
	used, ok := agent.Header(t, s).Used.Bytes()
	if !ok {
		t.Fatal("the size of the directory is damaged")
	}
	for off := int64(format.HeaderSize); off < used; {
		r, size, err := format.Decode(memory, off, used, layouts)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		off += size
	}
	return all
}

func TestFormatDocValues(t *testing.T) {
	d := formattest.ReadDoc(t)
	rows := d.Table("values")
	numbered := func(cell string) (int, string) {
		n, name, _ := strings.Cut(cell, " ")
		return int(d.Number(n)), name
	}
	kinds := map[format.Kind]string{
		format.KindSingle: "single", format.KindArray: "array", format.KindChars: "chars", format.KindMutex: "mutex", format.KindGrowth: "growth", format.KindIndex: "index",
		format.KindRing: "ring", format.KindCounter: "counter", format.KindGauge: "gauge", format.KindHistogram: "histogram",
	}
	seen := map[format.Kind]bool{}
	l := shmtest.Must(layout.Of[int64]())(t)
	for _, row := range rows {
		n, access := numbered(row[1])
		k, name := numbered(row[2])
		r := &format.Record{Shape: format.Shape{Layout: l, Access: format.Access(n), Kind: format.Kind(k)}}
		if row[3] == "n" {
			r.Count = 2
		}
		seen[r.Kind] = true
		if shm.Access(n).String() != access || kinds[r.Kind] != name {
			t.Errorf("%s: access %d is %v, kind %d is %s", row[0], n, shm.Access(n), k, kinds[r.Kind])
		}
		if row[4] != "-" && r.Elements() != int64(d.Number(row[4])) {
			t.Errorf("%s: the value is at %d, FORMAT.md has %s", row[0], r.Elements(), row[4])
		}
		capacity := int64(100)
		if r.HasCells() || r.Kind == format.KindRing {
			capacity = 3 * format.CellLine // three strides
		}
		if got := r.DataSize(capacity); got != int64(d.Number(row[5])) {
			t.Errorf("%s: %d bytes of data, FORMAT.md has %s", row[0], got, row[5])
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("FORMAT.md has the kinds %v", slices.Sorted(maps.Keys(seen)))
	}
	// Each constructor writes what the table says.
	s := shmtest.Opened(shm.Anonymous(nil))(t)
	made := []error{
		shmtest.Error(shm.NewRawValue[int8](s, "RawValue", 0)),
		shmtest.Error(shm.NewRawStruct(s, "RawStruct", pairOfNumbers{})),
		shmtest.Error(shm.NewAtomic[int32](s, "Atomic", 0)),
		shmtest.Error(shm.NewValue[int32](s, "Value", 0)),
		shmtest.Error(shm.NewStruct(s, "Struct", pairOfNumbers{})),
		shmtest.Error(shm.NewRawArray[int8](s, "RawArray", 5)),
		shmtest.Error(shm.NewArray[int8](s, "Array", 5)),
		shmtest.Error(shm.NewCharArray(s, "CharArray", 5)),
		shmtest.Error(shm.NewString(s, "String", 5)),
		shmtest.Error(shm.NewMutex(s, "Mutex")),
		shmtest.Error(shm.NewAtomicArray[int32](s, "AtomicArray", 5)),
		shmtest.Error(shm.NewMutexes(s, "Mutexes", 5)),
		shmtest.Error(shm.NewTable[pairOfNumbers](s, "Table", 5)),
	}
	if err := errors.Join(made...); err != nil {
		t.Fatal(err)
	}
	all := records(t, s)[1:] // the first one is the index
	if len(all) != len(made) {
		t.Errorf("%d records", len(all))
	}
	for _, r := range all {
		i := slices.IndexFunc(rows, func(row []string) bool { return slices.Contains(strings.Split(row[0], ", "), r.Name) })
		if i < 0 {
			t.Errorf("%s is not in FORMAT.md", r.Name)
			continue
		}
		count := "0"
		if r.Count != 0 {
			count = "n"
		}
		got := []string{fmt.Sprintf("%d %v", r.Access, shm.Access(r.Access)), fmt.Sprintf("%d %s", r.Kind, kinds[r.Kind]), count}
		if !slices.Equal(got, rows[i][1:4]) {
			t.Errorf("%s is %q, FORMAT.md has %q", r.Name, got, rows[i][1:4])
		}
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
	if layout.ByteOrder != "<" {
		t.Skip("the dump is of a little-endian machine")
	}
	d := formattest.ReadDoc(t)
	s := shmtest.Opened(shm.Open(shmtest.Name(t), &shm.Options{MaxSize: 1 << 20}))(t)
	var board struct {
		Hits shm.Value[int32] `shm:"hits,unit=requests"`
	}
	if err := shm.Bind(s, &board); err != nil {
		t.Fatal(err)
	}
	board.Hits.Raw().Set(7)
	p := shmtest.Must(shm.NewStruct(s, "p", pairOfNumbers{1, 2}))(t)
	p.Store(pairOfNumbers{3, 4})
	shmtest.Must(shm.NewStruct(s, "p", threeNumbers{}))(t)

	used, ok := agent.Header(t, s).Used.Bytes()
	if !ok {
		t.Fatal("the size of the directory is damaged")
	}
	memory := slices.Clone(agent.Map(t, s).Bytes[:used])
	hidden := make([]bool, used)
	hide := func(off, n int) {
		for i := range n {
			hidden[off+i] = true
		}
	}
	var h format.Header
	hide(int(unsafe.Offsetof(h.Identity)), 8)
	hide(int(unsafe.Offsetof(h.Check)), 4)
	hide(int(unsafe.Offsetof(h.Home)), 8)
	hide(format.TableOffset+format.Line+4, format.Line-4) // of id 1
	for off := int64(format.HeaderSize); off < used; off += int64(binary.NativeEndian.Uint64(memory[off:])) {
		hide(int(off)+format.RecordCheck, 4)
		hide(int(off)+52, 4)
		hide(int(off)+72, format.RecordFixed-72)
	}
	got := dump(memory, hidden)
	var want []string
	for _, line := range d.Lines("dump") {
		if !strings.HasPrefix(line, "#") {
			want = append(want, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("FORMAT.md has another dump than\n%s", strings.Join(got, "\n"))
	}
}

// dump returns lines of 16 bytes as od -A d -t x1z prints them. It hides bytes that
// are not the same each time, and puts a * for lines of zeros.
func dump(memory []byte, hidden []bool) (lines []string) {
	zeros := false
	for off := 0; off < len(memory); off += 16 {
		hex, text, empty := "", "", true
		for i, b := range memory[off : off+16] {
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
