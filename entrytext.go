package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/slots"
	"example.org/shm/internal/text"
)

// maxShown is how many bytes a value may have so that Any, Text and Parse handle it,
// and maxText how many the text may have. The lengths come from memory that others
// write, and a file may claim more than any machine has.
const (
	maxShown = 16 << 20
	maxText  = 64 << 20
)

// Any returns a copy of the value as a Go value: a number or a bool of the exact
// type; a string for characters, up to the first NUL; a slice for any other array,
// with a level for each dimension; a map[string]any for a struct, whose fields are
// in order in Layout; a slice of those for a Table. For a Mutex and for Mutexes it
// returns nil.
//
// For a Counter and a Gauge it returns the sum, and for a Histogram a map as for a
// struct of bounds, counts and sum.
//
// A Struct, a String or a row of a Table is the copy of one commit. A Ring is a slice of the values that
// are kept, the oldest first, each of which is whole. A number, or an element of an
// array, is one load. A raw struct or a C string may be copied while it changes.
//
// Instead of a value of more than 16 MiB, or of more than 250,000 fields and strings,
// Any returns an error that wraps ErrTooLong. If another program has cut the file
// off, it returns an error that wraps ErrFormat.
func (e Entry) Any() any {
	if e.record.Layout == nil {
		return nil
	}
	if v := e.number(); v != nil {
		return v
	}
	if text.TooMany(shownLayout(e.record)) {
		return errs.Wrap(fmt.Errorf("%w: %d bytes in too many parts", ErrTooLong, e.Size), "value %q", e.Name)
	}
	l, b, err := e.shown()
	switch {
	case err != nil:
		return err
	case len(b) == 0:
		return text.None(l)
	}
	return text.Value(l, b)
}

// number is Any for a single number of a frequent type that is in one place. It returns
// nil for other values, and if the number cannot be read.
func (e *Entry) number() (v any) {
	r := e.record
	if r.Kind != format.KindSingle || r.Count != 0 || r.Access == format.Published || r.Layout.Size > 8 {
		return nil
	}
	var room [8]byte
	b := room[:r.Layout.Size]
	_ = e.m.region.Guarded(func() error {
		e.fill(b)
		v = text.Number(*r.Layout, b)
		return nil
	})
	return v
}

// Text returns the value in one line, as Go writes it: numbers, true and false;
// characters as a string literal, so that a terminal does not interpret them;
// [1, 2] for arrays, with all elements; {x: 1, y: 2} for structs, with the fields
// in order; [{x: 1, y: 2}, {x: 3, y: 4}] for a Table. A NaN other than math.NaN shows its bits, NaN(0x7ff8000000000002), and
// a complex number with such a part is complex(0, NaN(…)). For a Mutex it returns
// the state of the lock, and for Mutexes [free, free]. For a Counter, a Gauge or a
// Histogram it is what Any returns, as for a struct.
//
// A value of more than 16 MiB, or with a text of more than 64 MiB, is a text that
// says what it is and how large, such as <a RawArray[uint8] of 20000000 elements,
// 20000000 bytes, too large to show>. A value in a file that another program has cut
// off is a text in such brackets that says so.
func (e Entry) Text() string {
	if e.record.Layout == nil {
		return e.lockText()
	}
	l, b, err := e.shown()
	if err == nil {
		if len(b) == 0 {
			return "[]"
		}
		var all bool
		if b, all = text.Append(nil, l, b, maxText); all {
			return string(b)
		}
	} else if !errors.Is(err, ErrTooLong) {
		return fmt.Sprintf("<%v>", err)
	}
	return fmt.Sprintf("<%s%s, %d bytes, too large to show>", withArticle(e.Type()), lengthText(e.record.Kind, e.Access, *e.record.Layout, e.Len, false), e.Size)
}

// lockText is Text for a Mutex, and for Mutexes.
func (e Entry) lockText() string {
	if e.Len == 0 {
		lock, _ := e.Lock()
		return lock.String()
	}
	b := []byte{'['}
	for i, lock := range e.Locks() {
		if i > 0 {
			b = append(b, ", "...)
		}
		if b = append(b, lock.String()...); len(b) > maxText {
			return fmt.Sprintf("<Mutexes%s, too many to show>", lengthText(e.record.Kind, e.Access, layout.Layout{}, e.Len, false))
		}
	}
	return string(append(b, ']'))
}

// inParts reports whether the value is not in one piece of memory.
func (e Entry) inParts() bool {
	return e.record.HasCells() || e.record.Kind == format.KindRing
}

func tooLong(size int64) error {
	return fmt.Errorf("%w: %d bytes are more than %d", ErrTooLong, size, maxShown)
}

// shown returns a copy of what Any and Text show, and its layout. Of a ring in which
// nothing is, it returns no bytes, and the layout of one value.
func (e Entry) shown() (l layout.Layout, b []byte, err error) {
	if e.record.Kind == format.KindRing && e.Size <= maxShown {
		if err = e.m.region.Guarded(func() error { l, b = e.kept(); return nil }); err != nil {
			err = errs.Wrap(err, "value %q", e.Name)
		}
		return l, b, err
	}
	b, err = e.load()
	return shownLayout(e.record), b, err
}

// load returns a copy of the value's bytes. Every number of up to 8 bytes in it is
// whole, because load reads words to which the number is aligned.
func (e Entry) load() (b []byte, err error) {
	if e.Size > maxShown {
		err = tooLong(e.Size)
	} else if e.record.HasCells() {
		err = e.m.region.Guarded(func() (err error) { b, err = e.m.loadCells(e.s.file, e.record); return err })
	} else if e.inParts() {
		err = fmt.Errorf("a %s cannot be shown", e.Type())
	} else {
		err = e.m.region.Guarded(func() error { b = e.loadBytes(); return nil })
	}
	if err != nil {
		return nil, errs.Wrap(err, "value %q", e.Name)
	}
	return b, nil
}

// loadBytes is load of a value that is not too large.
//
// Preconditions: the caller is inside region.Guarded.
func (e Entry) loadBytes() []byte {
	r := e.record
	b := make([]byte, e.Size)
	if r.IsTable() {
		e.loadRows(b)
		return b
	}
	if r.Access == format.Published {
		// This does not take the lock: the process may be unable to.
		s := e.m.readSlotsOf(r)
		s.Read(func(slot []byte) { mem.CopyBytes(b, slot[:len(b)]) })
		return b
	}
	e.fill(b)
	return b
}

// fill is loadBytes of a value that is in one place.
func (e *Entry) fill(b []byte) {
	r := e.record
	if r.Access == format.Raw {
		e.m.file.cells.Shadow(r.Data, len(b)).Read(0, len(b))
	} else {
		defer e.order(0, len(b), race.Token.Acquire)
	}
	mem.LoadWords(b, mem.Slice[byte](&e.m.region, r.Elements(), len(b)))
	runtime.KeepAlive(e.m)
}

// order tells the race detector of the order that an access to n bytes of the value
// creates. Each integer of an AtomicArray has a token of its own, as its handle has; other
// values have one.
func (e *Entry) order(off, n int, tell func(race.Token)) {
	if !race.Enabled {
		return
	}
	r := e.record
	if r.Access != format.Atomic || r.Count == 0 {
		tell(e.m.file.cells.Token(r.Data))
		return
	}
	for ; n > 0; n -= r.Layout.Size {
		tell(e.m.file.cells.Token(r.Elements() + int64(off)))
		off += r.Layout.Size
	}
}

// loadRows fills b with the rows of a table, one behind the other.
func (e Entry) loadRows(b []byte) {
	size := e.record.Layout.Size
	for off := range e.record.Locks {
		row := slots.Behind(&e.m.region, off, e.record.Capacity, e.m.file.cells.Token(off))
		row.Read(func(slot []byte) { mem.CopyBytes(b[:size], slot[:size]) })
		b = b[size:]
	}
	runtime.KeepAlive(e.m)
}

// kept returns copies of the values that a ring keeps, the oldest first, and their
// layout. If there are none it returns the layout of one.
//
// Preconditions: the value is a ring of at most maxShown bytes.
func (e Entry) kept() (l layout.Layout, b []byte) {
	b = make([]byte, e.Size)
	_, n := e.m.readRingOf(e.record).All(b)
	runtime.KeepAlive(e.m)
	if n == 0 {
		return *e.record.Layout, nil
	}
	l = layout.Array(*e.record.Layout, n)
	return l, b[:l.Size]
}

// loadCells returns the bytes of a Counter, a Gauge or a Histogram as shownLayout
// describes them. f is the segment's file.
//
// Preconditions: the caller is inside region.Guarded.
func (m *mapping) loadCells(f *os.File, r *format.Record) (b []byte, err error) {
	defer m.file.cells.Token(r.Data).Acquire()
	defer runtime.KeepAlive(m)
	ne, set := binary.NativeEndian, m.setOf(r)
	if r.Kind == format.KindHistogram {
		bounds, err := m.boundsOf(r)
		if err != nil {
			return nil, err
		}
		d := loadBuckets(set, bounds)
		for _, x := range d.Bounds {
			b = ne.AppendUint64(b, math.Float64bits(x))
		}
		for _, n := range d.Counts {
			b = ne.AppendUint64(b, n)
		}
		return ne.AppendUint64(b, math.Float64bits(d.Sum)), nil
	}
	var sum uint64 // of an int64, too
	var float float64
	add := func(bits uint64) {
		sum += bits
		float += math.Float64frombits(bits)
	}
	if r.Kind == format.KindGauge {
		set.Living(f, func(_ uint32, bits uint64) bool { add(bits); return true })
	} else {
		words, stride := set.Numbers()
		for i := 0; i < len(words); i += stride {
			add(words[i].Load())
		}
	}
	if r.Layout.Format == number64().Format {
		sum = math.Float64bits(float)
	}
	return ne.AppendUint64(b, sum), nil
}

// shownLayout returns the layout of what an Entry shows of a value.
func shownLayout(r *format.Record) layout.Layout {
	if n := r.Count; r.Kind == format.KindHistogram {
		f := layout.ByteOrder + "d"
		shown, err := layout.Parse(fmt.Sprintf("T{(%d)%s:bounds:(%d)%sQ:counts:%s:sum:}", n, f, n+1, layout.ByteOrder, f))
		if err == nil {
			return shown
		}
	}
	return r.Whole()
}
