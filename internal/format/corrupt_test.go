package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/format/formattest"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/race"
)

func layoutOf[T any](t testing.TB) *layout.Layout {
	t.Helper()
	l, err := layout.Of[T]()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// longStruct is a struct whose layout takes a long format.
type longStruct struct {
	A bool
	B int64
	C [3]struct{ X, Y float32 }
	D [16]byte `shm:"d,char"`
}

// grownStruct is what a later program makes of it.
type grownStruct struct {
	A bool
	B int64
	C [3]struct{ X, Y float32 }
	D [16]byte `shm:"d,char"`
	E bool
}

// shapes returns what each constructor of package shm asks for, and a growth.
func shapes(t testing.TB) []format.Shape {
	label := func(name string) format.Label { return format.Label{Name: name, Unit: "unit", Help: "help"} }
	return []format.Shape{
		{Label: label("raw"), Layout: layoutOf[int64](t), Access: format.Raw, Kind: format.KindSingle},
		{Label: label("atomic"), Layout: layoutOf[uint32](t), Access: format.Atomic, Kind: format.KindSingle},
		{Label: label("array"), Layout: layoutOf[float32](t), Count: 100, Access: format.Raw, Kind: format.KindArray},
		{Label: label("chars"), Layout: layout.Chars, Count: 33, Access: format.Raw, Kind: format.KindChars},
		{Label: label("struct"), Layout: layoutOf[longStruct](t), Access: format.Raw, Kind: format.KindSingle},
		{Label: label("locked"), Layout: layoutOf[float64](t), Access: format.Locked, Kind: format.KindSingle},
		{Label: label("locked array"), Layout: layoutOf[uint16](t), Count: 3, Access: format.Locked, Kind: format.KindArray},
		{Label: label("published"), Layout: layoutOf[longStruct](t), Access: format.Published, Kind: format.KindSingle},
		{Label: format.Label{Name: "published"}, Layout: layoutOf[grownStruct](t), Access: format.Published, Kind: format.KindGrowth},
		{Label: label("text"), Layout: layout.Chars, Count: 5, Access: format.Published, Kind: format.KindChars},
		{Label: label("mutex"), Access: format.Locked, Kind: format.KindMutex},
		{Label: label("table"), Layout: layoutOf[longStruct](t), Count: 3, Access: format.Published, Kind: format.KindArray},
		{Label: format.Label{Name: "table"}, Layout: layoutOf[grownStruct](t), Access: format.Published, Kind: format.KindGrowth},
		{Label: label("mutexes"), Count: 4, Access: format.Locked, Kind: format.KindMutex},
		{Label: label("atomics"), Layout: layoutOf[uint64](t), Count: 5, Access: format.Atomic, Kind: format.KindArray},
		{Label: label("ring"), Layout: layoutOf[longStruct](t), Count: 6, Access: format.Published, Kind: format.KindRing},
		{Label: label("counter"), Layout: layoutOf[uint64](t), Access: format.Atomic, Kind: format.KindCounter},
		{Label: label("gauge"), Layout: layoutOf[float64](t), Access: format.Atomic, Kind: format.KindGauge},
		{Label: label("histogram"), Layout: layoutOf[float64](t), Count: 7, Access: format.Atomic, Kind: format.KindHistogram},
	}
}

var maker = format.Maker{Pid: 77, Program: "program"}

// image returns a segment with a value of each kind.
func image(t testing.TB) []byte {
	t.Helper()
	b := make([]byte, format.FirstAllocation)
	copy(b, format.NewHeader(1<<20, format.FirstAllocation, 12345, 0))
	lines, _ := format.Unseal(binary.NativeEndian.Uint64(b[72:]))
	off := int64(lines) * format.Line
	var capacity, own int64
	for _, s := range shapes(t) {
		older := int64(0)
		if s.Kind == format.KindGrowth { // it has the capacity of the record before
			older = own
		} else {
			capacity, own = s.Room(), off
			if s.HasCells() {
				capacity = 3 * s.Stride() // small, for the tests that change every byte
			}
		}
		meta, size := s.Encode(capacity, maker, older)
		copy(b[off:], meta)
		for i := off + int64(len(meta)); i < off+size; i++ {
			b[i] = byte(i)
		}
		off += size
	}
	binary.NativeEndian.PutUint64(b[72:], format.Seal(uint64(off/format.Line)))
	return b
}

// read reads a segment as a process that attaches does. It returns the records,
// and the error of the header or of the first bad record. Errors are of the kind
// that they must be, and records within their bounds.
func read(t testing.TB, b []byte, layouts map[string]*layout.Layout) (records []*format.Record, err error) {
	t.Helper()
	defer func() {
		if err != nil && !errors.Is(err, errs.Format) && !errors.Is(err, errs.Version) {
			t.Fatalf("an error of another kind: %v", err)
		}
	}()
	start, err := format.CheckHeader(b[:min(len(b), format.TableOffset)], int64(len(b)))
	if err != nil {
		return nil, err
	}
	if start.Unfit != nil {
		return nil, start.Unfit
	}
	maxSize := start.MaxSize
	words := make([]int64, 4)
	for i := range words {
		var word format.Sealed
		word.Word.Store(binary.NativeEndian.Uint64(b[format.Line+8*i:]))
		n, ok := word.Bytes()
		if !ok || n > int64(len(b)) || n > maxSize {
			t.Fatalf("header word %d is %d, of %d bytes, at most %d", i, n, len(b), maxSize)
		}
		words[i] = n
	}
	allocated, end, indexed, dirty := words[0], words[1], words[2], words[3]
	if maxSize > format.MaxSegment || maxSize%format.Line != 0 || end > allocated || end < format.HeaderSize || dirty > allocated || indexed > end || indexed < format.HeaderSize {
		t.Fatalf("%d bytes used and %d written of %d, at most %d", end, dirty, allocated, maxSize)
	}
	for off := int64(format.HeaderSize); off < end; {
		r, size, err := format.Decode(b, off, end, layouts)
		if err != nil {
			return records, err
		}
		checkRecord(t, b, r, off, size, end)
		records = append(records, r)
		off += size
	}
	return records, nil
}

// checkRecord checks that all that a record describes is within it.
func checkRecord(t testing.TB, b []byte, r *format.Record, off, size, end int64) {
	t.Helper()
	n, ok := r.SlotSize()
	data := r.DataSize(r.Capacity)
	switch {
	case r.Kind < format.KindSingle || r.Kind > format.KindHistogram || r.Access < format.Raw || r.Access > format.Published:
		t.Fatalf("kind %d with access %d", r.Kind, r.Access)
	case size <= 0 || size%format.Line != 0 || size > end-off:
		t.Fatalf("record at %d of %d bytes, before %d", off, size, end)
	case r.Data < off+format.RecordFixed || r.Data%format.Line != 0 || r.Data+data != off+size:
		t.Fatalf("data at %d of %d bytes, in %d bytes from %d", r.Data, data, size, off)
	case r.Count < 0 || r.Layout != nil && !r.IsTable() && r.Count > r.Capacity:
		t.Fatalf("%d elements in %d bytes", r.Count, r.Capacity)
	case r.Layout != nil && uint64(r.Layout.Size) != binary.NativeEndian.Uint64(b[off+24:]):
		t.Fatalf("the layout has %d bytes, the record another number", r.Layout.Size)
	case !ok || n > r.Capacity || r.Capacity > format.MaxSegment || r.Check() != nil:
		t.Fatalf("a value of %d bytes in a slot of %d: %v", n, r.Capacity, r.Check())
	case r.Start != off || (r.Older != 0) != (r.Kind == format.KindGrowth) || r.Older < 0 || r.Older > off:
		t.Fatalf("record at %d: it starts at %d, and the older one at %d", off, r.Start, r.Older)
	case r.Kind != format.KindMutex && r.Kind != format.KindIndex && r.Layout == nil:
		t.Fatalf("kind %d has no layout", r.Kind)
	case r.Kind == format.KindMutex || r.Kind == format.KindGrowth:
		return
	case r.HasLock() && r.Elements() == r.Data:
		t.Fatalf("the value overlaps its lock")
	case r.Elements() < r.Data || r.Elements()+n > off+size:
		t.Fatalf("a value of %d bytes at %d, in %d bytes from %d", n, r.Elements(), size, off)
	case r.HasCells() && (r.Elements()+r.Capacity != off+size || r.Capacity%r.Stride() != 0):
		t.Fatalf("cells of %d bytes in %d bytes", r.Stride(), r.Capacity)
	case r.Kind == format.KindRing && r.Elements()+format.RoundUp(r.Stride()*(r.Count+1)) != off+size:
		t.Fatalf("%d values of %d bytes do not fit", r.Count+1, r.Stride())
	case r.IsTable() && r.Count*format.RowSize(r.Capacity) != data:
		t.Fatalf("%d rows of %d bytes do not fit", r.Count, format.RowSize(r.Capacity))
	case r.Access == format.Published && !r.IsTable() && r.Kind != format.KindRing && r.Elements()+2*format.RoundUp(r.Capacity) != off+size:
		t.Fatalf("two slots of %d bytes do not fit", r.Capacity)
	}
}

func TestEncodeDecode(t *testing.T) {
	records, err := read(t, image(t), map[string]*layout.Layout{})
	if err != nil {
		t.Fatal(err)
	}
	if index := records[0]; index.Kind != format.KindIndex || index.Count != format.IndexSlots || index.Start != format.HeaderSize {
		t.Errorf("the first record is %+v", index)
	}
	records = records[1:]
	want := shapes(t)
	if len(records) != len(want) {
		t.Fatalf("%d records, want %d", len(records), len(want))
	}
	for i, r := range records {
		if !reflect.DeepEqual(r.Shape, want[i]) || r.Maker != maker {
			t.Errorf("%+v by %+v, want %+v", r.Shape, r.Maker, want[i])
		}
	}
	if growth := records[8].Shape; growth.Kind != format.KindGrowth || growth.Outgrows(records[7]) {
		t.Error("a record of a growth is not a shape that can be asked for")
	} else if growth.Kind = format.KindSingle; !growth.Outgrows(records[7]) {
		t.Error("the growth does not outgrow the record before")
	}
	grown, err := records[8].Grown(records[7])
	if err != nil || grown.Layout != records[8].Layout || grown.Data != records[7].Data || grown.Start != records[7].Start || grown.Label != records[7].Label {
		t.Errorf("grown: %+v, %v", grown, err)
	}
	if grown, err := records[12].Grown(records[11]); err != nil || grown.Layout != records[12].Layout || grown.Count != 3 || grown.Label != records[11].Label {
		t.Errorf("grown table: %+v, %v", grown, err)
	}
	for _, i := range []int{0, 4, 6, 10, 11, 15} {
		if _, err := records[8].Grown(records[i]); !errors.Is(err, errs.Format) {
			t.Errorf("grown from %q: %v", records[i].Name, err)
		}
	}
}

// unchecked reports whether the byte at off may be anything: the word of those
// who wait for names, and what is in the values themselves.
func unchecked(records []*format.Record, off int64) bool {
	if off >= 128 && off < 132 {
		return true
	}
	for _, r := range records {
		if off >= r.Data && off < r.Data+r.DataSize(r.Capacity) {
			return true
		}
	}
	return false
}

// TestEachByteFlipped changes each byte of the header and the directory, in each
// bit and as a whole.
func TestEachByteFlipped(t *testing.T) {
	valid := image(t)
	layouts := map[string]*layout.Layout{}
	records, err := read(t, valid, layouts)
	if err != nil {
		t.Fatal(err)
	}
	masks := []byte{0xff, 1, 2, 4, 8, 16, 32, 64, 128}
	if race.Enabled {
		masks = masks[:2] // one goroutine: the detector finds nothing here, and takes ten times as long
	}
	flips := 0
	for c := range formattest.Flips(valid, masks...) {
		if _, err := read(t, c.Bytes, layouts); (err == nil) != unchecked(records, c.Off) {
			t.Fatalf("%s: %v", c.What, err)
		}
		flips++
	}
	if flips < 1000*len(masks) {
		t.Errorf("only %d flips", flips)
	}
}

// TestForgedSegments sets fields to numbers that are likely to overflow, with
// checksums that match.
func TestForgedSegments(t *testing.T) {
	valid := image(t)
	layouts := map[string]*layout.Layout{}
	refused := 0
	for c := range formattest.Forgeries(valid, 0, 1, 3, 64, 255, format.HeaderSize, 1<<16-1, 1<<31, 1<<32-1, 1<<40-1, 1<<45, 1<<61, 1<<63, 1<<64-64, 1<<64-1) {
		if _, err := read(t, c.Bytes, layouts); err != nil {
			refused++
		}
	}
	if refused < 1000 {
		t.Errorf("only %d were refused", refused)
	}
}

// TestDecodeCutOff reads records that end early, and records that say so
// themselves. Decode must not read past the end.
func TestDecodeCutOff(t *testing.T) {
	for _, s := range shapes(t) {
		meta, size := s.Encode(s.Room(), maker, 0)
		whole := append(meta, make([]byte, size-int64(len(meta)))...)
		for n := range size {
			for _, claimed := range []int64{size, n} {
				cut := bytes.Clone(whole[:n])
				if n >= format.RecordFixed {
					binary.NativeEndian.PutUint64(cut, uint64(claimed))
				}
				if _, _, err := format.Decode(cut, 0, n, map[string]*layout.Layout{}); !errors.Is(err, errs.Format) {
					t.Fatalf("%q of %d bytes, cut off at %d: %v", s.Name, size, n, err)
				}
			}
		}
	}
}

// FuzzDecode reads segments as a hostile peer may leave them: any bytes, or a
// valid segment with some bytes changed (an offset of two bytes and the new
// byte, over and over) and then all checksums made right.
func FuzzDecode(f *testing.F) {
	valid := image(f)
	f.Add([]byte(nil), false)
	f.Add([]byte(format.Magic), false)
	f.Add(valid[:format.TableOffset], false)
	f.Add(valid[:format.HeaderSize+4*format.Line], false)
	f.Add([]byte(nil), true)
	for i, off := range []uint16{24, 64, 72, 80, 112, format.HeaderSize, format.HeaderSize + 8, format.HeaderSize + 16, format.HeaderSize + 32, format.HeaderSize + 40, format.HeaderSize + 44, format.HeaderSize + format.RecordFixed} {
		f.Add([]byte{byte(off >> 8), byte(off), byte(i), byte((off + 1) >> 8), byte(off + 1), 0xff}, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, patch bool) {
		if patch {
			patched := bytes.Clone(valid)
			for ; len(b) >= 3; b = b[3:] {
				if off := int(b[0])<<8 | int(b[1]); off < len(patched) {
					patched[off] = b[2]
				}
			}
			formattest.Forge(patched)
			b = patched
		}
		_, _ = read(t, b, map[string]*layout.Layout{})
	})
}
