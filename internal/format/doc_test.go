package format_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"example.org/shm/internal/format"
	"example.org/shm/internal/format/formattest"
	"example.org/shm/internal/layout"
)

func place(off, size uintptr) formattest.Place { return formattest.Place{Off: off, Size: size} }

func TestFormatDocFields(t *testing.T) {
	d := formattest.ReadDoc(t)
	var h format.Header
	d.CompareFields("header", map[string]formattest.Place{
		"magic":       place(unsafe.Offsetof(h.Magic), unsafe.Sizeof(h.Magic)),
		"version":     place(unsafe.Offsetof(h.Version), unsafe.Sizeof(h.Version)),
		"order":       place(unsafe.Offsetof(h.Order), unsafe.Sizeof(h.Order)),
		"header size": place(unsafe.Offsetof(h.Size), unsafe.Sizeof(h.Size)),
		"ids":         place(unsafe.Offsetof(h.TableLen), unsafe.Sizeof(h.TableLen)),
		"max size":    place(unsafe.Offsetof(h.MaxSize), unsafe.Sizeof(h.MaxSize)),
		"check":       place(unsafe.Offsetof(h.Check), unsafe.Sizeof(h.Check)),
		"allocated":   place(unsafe.Offsetof(h.Allocated), unsafe.Sizeof(h.Allocated)),
		"used":        place(unsafe.Offsetof(h.Used), unsafe.Sizeof(h.Used)),
		"dirty":       place(unsafe.Offsetof(h.Dirty), unsafe.Sizeof(h.Dirty)),
		"next id":     place(unsafe.Offsetof(h.NextID), unsafe.Sizeof(h.NextID)),
		"identity":    place(unsafe.Offsetof(h.Identity), unsafe.Sizeof(h.Identity)),
		"indexed":     place(unsafe.Offsetof(h.Indexed), unsafe.Sizeof(h.Indexed)),
		"home":        place(unsafe.Offsetof(h.Home), unsafe.Sizeof(h.Home)),
		"index":       place(unsafe.Offsetof(h.Index), unsafe.Sizeof(h.Index)),
		"values":      place(unsafe.Offsetof(h.Values), unsafe.Sizeof(h.Values)),
		"names":       place(unsafe.Offsetof(h.Names), unsafe.Sizeof(h.Names)),
		"bell":        place(unsafe.Offsetof(h.Bell), unsafe.Sizeof(h.Bell)),
		"place":       place(unsafe.Offsetof(h.Place), unsafe.Sizeof(h.Place)),
	})
	if unsafe.Offsetof(h.Table) != format.TableOffset || unsafe.Sizeof(h) != format.HeaderSize || unsafe.Offsetof(h.Check) != format.HeaderChecked {
		t.Errorf("the checksum is at %d, the table at %d, and the header ends at %d", unsafe.Offsetof(h.Check), unsafe.Offsetof(h.Table), unsafe.Sizeof(h))
	}
	var e format.TableEntry
	d.CompareFields("entry", map[string]formattest.Place{
		"id":        place(unsafe.Offsetof(e.ID), unsafe.Sizeof(e.ID)),
		"pid":       place(unsafe.Offsetof(e.Pid), unsafe.Sizeof(e.Pid)),
		"namespace": place(unsafe.Offsetof(e.Namespace), unsafe.Sizeof(e.Namespace)),
		"program":   place(unsafe.Offsetof(e.Program), unsafe.Sizeof(e.Program)),
	})
	var c format.LockCell
	d.CompareFields("cell", map[string]formattest.Place{
		"word":      place(unsafe.Offsetof(c.Word), unsafe.Sizeof(c.Word)),
		"change":    place(unsafe.Offsetof(c.Change), unsafe.Sizeof(c.Change)),
		"probed":    place(unsafe.Offsetof(c.Probed), unsafe.Sizeof(c.Probed)),
		"starve":    place(unsafe.Offsetof(c.Starve), unsafe.Sizeof(c.Starve)),
		"abandoned": place(unsafe.Offsetof(c.Abandoned), unsafe.Sizeof(c.Abandoned)),
		"takeovers": place(unsafe.Offsetof(c.Takeovers), unsafe.Sizeof(c.Takeovers)),
		"extent":    place(unsafe.Offsetof(c.Extent), unsafe.Sizeof(c.Extent)),
		"commit":    place(unsafe.Offsetof(c.Commit), unsafe.Sizeof(c.Commit)),
		"number":    place(format.NumberOffset, 8),
	})
	if end := unsafe.Offsetof(c.Commit) + unsafe.Sizeof(c.Commit); end > format.NumberOffset || unsafe.Sizeof(c) != format.Line {
		t.Errorf("the fields of a lock cell end at %d, and the cell at %d", end, unsafe.Sizeof(c))
	}
}

// TestFormatDocRecord looks where the document says that the numbers of a record
// are, in one whose numbers are all different.
func TestFormatDocRecord(t *testing.T) {
	d := formattest.ReadDoc(t)
	l, err := layout.Of[struct{ A, B, C int32 }]()
	if err != nil {
		t.Fatal(err)
	}
	const pid, program = 4321, "a program"
	s := format.Shape{Label: format.Label{Name: "name5", Unit: "unit_of7", Help: "help text", Hint: format.HintGauge}, Layout: l, Count: 3, Access: format.Locked, Kind: format.KindArray}
	meta, size := s.Encode(200, format.Maker{Pid: pid, Program: program}, 77*format.Line)
	whole := map[string]uint64{
		"size": uint64(size), "data": uint64(len(meta)), "check": uint64(format.RecordChecksum(meta)), "count": 3, "element": 12, "capacity": 200,
		"access": uint64(format.Locked), "kind": uint64(format.KindArray), "name": 5, "format": uint64(len(l.Format)), "unit": 8, "help": 9,
		"pid": pid, "older": 77, "hint": uint64(format.HintGauge),
	}
	code := map[string]formattest.Place{"program": place(72, format.RecordFixed-72)}
	for name, where := range d.Offsets("record") {
		b := make([]byte, 8)
		switch want, ok := whole[name]; {
		case name == "program":
			if got := string(bytes.TrimRight(meta[where.Off:where.Off+where.Size], "\x00")); got != program || where.Off+where.Size != format.RecordFixed {
				t.Errorf("program at %v: %q", where, got)
			}
		case !ok:
			t.Errorf("a field %s", name)
		case layout.ByteOrder == "<":
			copy(b, meta[where.Off:where.Off+where.Size])
			if got := binary.LittleEndian.Uint64(b); got != want {
				t.Errorf("%s at %v: %d, want %d", name, where, got, want)
			}
		default:
			copy(b[8-where.Size:], meta[where.Off:where.Off+where.Size])
			if got := binary.BigEndian.Uint64(b); got != want {
				t.Errorf("%s at %v: %d, want %d", name, where, got, want)
			}
		}
		code[name] = where
	}
	if len(code) != len(whole)+1 {
		t.Errorf("%d fields, want %d", len(code), len(whole)+1)
	}
	d.CompareFields("record", code) // the diagram against the table
	if want := "name5" + l.Format + "unit_of7" + "help text"; string(bytes.TrimRight(meta[format.RecordFixed:], "\x00")) != want {
		t.Errorf("texts %q", meta[format.RecordFixed:])
	}
}
