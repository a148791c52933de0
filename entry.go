package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/slots"
	"example.org/shm/internal/text"
)

// Entry is a named value as the directory describes it, for programs that learn its
// type at run time. It describes the value at the time of Lookup or Entries: if a
// struct has grown since, the Entry has the fields of that time.
//
// Any, Text and Lock take no lock, so they do not wait for a process that has stopped
// or died while it held one. Like a handle, an Entry keeps the memory mapped after
// Close.
type Entry struct {
	Name    string
	Layout  Layout // of one element; zero for a mutex
	Len     int    // elements of an array, bytes of a C string, 0 for a single value
	Access  Access
	Unit    string
	Help    string
	Hint    string // duration, time, text, counter or gauge: what the value means; "" if nobody said
	Pid     int    // of the process that made the value
	Program string // name of that process's program
	Offset  int64  // of the value, or the first of its two slots, in bytes from the start of the segment
	Size    int64  // of the value in bytes, without what a process needs to share it; 0 for a mutex

	s      *Segment
	m      *mapping
	record *format.Record
}

// entry returns the Entry of a record.
func (s *Segment) entry(m *mapping, r *format.Record) Entry {
	e := Entry{
		Name: r.Name, Layout: layoutFrom(r.Layout), Len: int(r.Count), Access: Access(r.Access), Unit: r.Unit, Help: r.Help, Hint: r.Hint.String(),
		Pid: int(r.Pid), Program: r.Program, Offset: r.Elements(), s: s, m: m, record: r,
	}
	e.Size, _ = r.SlotSize()
	switch {
	case r.IsTable():
		e.Size *= r.Count
	case r.HasCells():
		e.Size = int64(r.Layout.Size) * (r.Count + 1)
	case r.Kind == format.KindRing:
		e.Size = int64(r.Layout.Size) * r.Count
	}
	return e
}

// Type returns the type of the handles that attach to the value, such as
// Array[int32], Counter[uint64] or Mutex. Layout has the fields of a Struct[struct{...}].
func (e Entry) Type() string {
	return handleType(e.record.Kind, e.Access, e.Layout.internal(), e.Len > 0)
}

// Entries yields every named value, oldest first, as of the call. It yields none
// after Close, or for a foreign segment.
func (s *Segment) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		m, err := s.namedMapping()
		if err != nil {
			return
		}
		for r, err := range m.dir.All(s.file) {
			if err != nil {
				// Another process has damaged the directory, or it is beyond what this
				// process could map. Whoever asks for such a value by its name gets the error.
				return
			}
			if !yield(s.entry(m, r)) {
				return
			}
		}
	}
}

// Check reads the descriptions of all values, and returns what is wrong with the first
// damaged one. Entries ends before it. The error wraps ErrFormat, ErrClosed or
// ErrForeign.
func (s *Segment) Check() error {
	m, err := s.namedMapping()
	if err != nil {
		return err
	}
	for _, err := range m.dir.All(s.file) {
		if err != nil {
			return errs.Path("check", m.region.Path, s.closedError(err))
		}
	}
	return nil
}

// Lookup returns the named value, if it exists.
func (s *Segment) Lookup(name string) (Entry, bool) {
	m, err := s.namedMapping()
	if err != nil {
		return Entry{}, false
	}
	var r *format.Record
	err = m.region.Guarded(func() (err error) { r, err = m.dir.Find(s.file, name); return err })
	if err != nil || r == nil {
		return Entry{}, false
	}
	return s.entry(m, r), true
}

// WaitFor sleeps until a process has made the value of that name, and returns it. If
// it exists already, WaitFor returns at once. The error wraps the context's,
// ErrClosed (Close was called meanwhile), ErrForeign, ErrFormat, or ErrReplaced: the
// segment's name leads to another file, so whoever opens it makes the value there.
// WaitFor finds that out within some seconds. A name that was only removed does not
// end it.
func (s *Segment) WaitFor(ctx context.Context, name string) (Entry, error) {
	m, err := s.namedMapping()
	if err != nil {
		return Entry{}, err
	}
	const askAgain = time.Second // where the name leads; a sleep takes up to 4 s
	asked := time.Now()
	var r *format.Record
	err = m.region.Guarded(func() (err error) {
		r, err = m.dir.Await(ctx, s.file, name, func() error {
			if _, err := s.attachedMapping(); err != nil {
				return err
			}
			if time.Since(asked) < askAgain {
				return nil
			}
			asked = time.Now()
			return s.led()
		})
		return err
	})
	if err != nil {
		return Entry{}, errs.Wrap(s.closedError(err), "waiting for value %q", name)
	}
	return s.entry(m, r), nil
}

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
	return fmt.Sprintf("<%s%s, %d bytes, too large to show>", withArticle(e.Type()), lengthText(e.record.Kind, *e.record.Layout, e.Len, false), e.Size)
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
			return fmt.Sprintf("<Mutexes%s, too many to show>", lengthText(e.record.Kind, layout.Layout{}, e.Len, false))
		}
	}
	return string(append(b, ']'))
}

// Lock returns the state of the value's lock, without waiting for the lock. It
// returns false for a value that has none. Of Mutexes and of a Table it is the first
// lock; Locks has them all.
// If another program has cut the file off, it returns the zero LockInfo and true.
func (e Entry) Lock() (l LockInfo, locks bool) {
	for _, l := range e.Locks() {
		return l, true
	}
	return LockInfo{}, false
}

// Locks yields number and state of each lock of the value: one, or as many as Mutexes
// have and a Table has rows, or none.
func (e Entry) Locks() iter.Seq2[int, LockInfo] {
	return func(yield func(int, LockInfo) bool) {
		i := 0
		for off := range e.record.Locks {
			var l LockInfo
			_ = e.m.region.Guarded(func() error { l = e.m.lockInfo(e.s.file, off); return nil })
			if !yield(i, l) {
				return
			}
			i++
		}
	}
}

// Parse sets the value from a text. It accepts whatever Text returns, and then sets
// the same value, bit by bit. It accepts JSON, for values that JSON can express. If
// the whole value is characters, they need no quotes. Integers may have a prefix,
// as in 0x1f. An array takes all its elements, or some of them by index, as in
// [3: 7, 5: 8]. A struct takes fields by name. What is left out keeps its value. A C
// string keeps the bytes after its new end.
//
// In a Table, rows are elements: [3: {x: 1}] changes a field of one row. Each row changes
// as a whole, one after another.
//
// Parse waits for the lock of a value that has one, as Store does. The error wraps
// fs.ErrInvalid if the text does not describe such a value, or the value is a Mutex, a
// Ring, a Counter, a Gauge or a Histogram;
// strconv.ErrRange if a number does not fit; ErrTooLong, also if the value has more
// than 16 MiB; ErrReadOnly; ErrClosed. Then nothing is changed. It wraps ErrFormat if
// another program has cut the file off; then a part may be written. A change that
// leaves all bits as they were wakes nobody.
func (e Entry) Parse(text string) error {
	if err := e.m.region.Guarded(func() error { return e.parse(text) }); err != nil {
		return errs.Wrap(err, "value %q", e.record.Name)
	}
	return nil
}

func (e Entry) parse(from string) error {
	r := e.record
	if err := e.changeable(); err != nil {
		return err
	}
	patches, err := text.Parse(r.Whole(), from)
	if err != nil {
		return err
	}
	if r.HasLock() {
		if err := e.m.party.Take(e.s.file); err != nil {
			return e.s.closedError(err)
		}
	}
	if r.IsTable() {
		return e.storeRows(context.Background(), patches)
	}
	e.store(patches)
	return nil
}

// changeable returns why the value cannot be set from a text, or nil.
func (e Entry) changeable() error {
	if _, err := e.s.attachedMapping(); err != nil {
		return err
	}
	switch {
	case e.m.region.ReadOnly:
		return errs.Wrap(ErrReadOnly, "in %s", e.m.region.Path)
	case e.record.Layout == nil:
		return errs.Invalid("a Mutex cannot be set from a text")
	case e.Size > maxShown:
		return tooLong(e.Size)
	case e.record.Kind == format.KindRing:
		return errs.Invalid("a %s cannot be set from a text: values are only appended to it", e.Type())
	case e.inParts():
		return errs.Invalid("a %s cannot be set from a text", e.Type())
	}
	return nil
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
	if r.Access == format.Raw {
		e.m.file.cells.Shadow(r.Data, len(b)).Read(0, len(b))
	} else {
		defer e.m.file.cells.Token(r.Data).Acquire()
	}
	mem.LoadWords(b, mem.Slice[byte](&e.m.region, r.Elements(), len(b)))
	runtime.KeepAlive(e.m)
	return b
}

// store makes the change as the verbs of the value's type do.
func (e Entry) store(patches []text.Patch) {
	r, m := e.record, e.m
	switch {
	case r.HasLock():
		mu := m.lockOf(r)
		changed := r.Access == format.Locked
		mu.Acquire()
		defer func() { unlock(mu, changed) }()
		changed = e.storeHeld(patches)
	case r.Access == format.Raw:
		shadow := m.file.cells.Shadow(r.Data, int(e.Size))
		for _, p := range patches {
			shadow.Write(p.Off, len(p.Bytes))
		}
		e.storeNumbers(patches)
	default:
		m.file.cells.Token(r.Data).Release()
		e.storeNumbers(patches)
	}
	runtime.KeepAlive(m)
}

// storeHeld makes the change in a value with a lock, and reports whether it changed a
// bit. The caller holds the lock.
func (e Entry) storeHeld(patches []text.Patch) (changed bool) {
	r, m := e.record, e.m
	if r.Access == format.Published {
		s := m.slotsOf(r)
		if r.Grows() {
			s.Reach(uint32(min(e.Size, math.MaxUint32))) // another language may have made a larger struct
		}
		return s.Amend(func(idle []byte) {
			for _, p := range patches {
				copy(idle[p.Off:], p.Bytes)
			}
		})
	}
	m.lockOf(r).Token.Release()
	if changed = e.differs(patches); changed {
		e.storeNumbers(patches)
	}
	return changed
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

// storeRows makes a change in rows of a table, row by row. If ctx is done while it waits
// for the lock of a row, those before it are changed.
func (e Entry) storeRows(ctx context.Context, patches []text.Patch) error {
	r, m := e.record, e.m
	defer runtime.KeepAlive(m)
	size := r.Layout.Size
	rows := map[int][]text.Patch{}
	for _, p := range patches {
		for off, b := p.Off, p.Bytes; len(b) > 0; { // numbers of several rows may be one patch
			n := min(len(b), size-off%size)
			rows[off/size] = append(rows[off/size], text.Patch{Off: off % size, Bytes: b[:n]})
			off, b = off+n, b[n:]
		}
	}
	for _, i := range slices.Sorted(maps.Keys(rows)) {
		off := r.Data + int64(i)*format.RowSize(r.Capacity)
		mu := m.lockAt(off, partName(r.Name, i))
		if err := mu.AcquireContext(ctx); err != nil {
			return err
		}
		func() {
			changed := false
			defer func() { unlock(mu, changed) }()
			row := slots.Behind(&m.region, off, r.Capacity, mu.Token)
			row.Reach(uint32(min(size, math.MaxUint32)))
			changed = row.Amend(func(idle []byte) {
				for _, p := range rows[i] {
					copy(idle[p.Off:], p.Bytes)
				}
			})
		}()
	}
	return nil
}

// unlock releases a lock, and wakes who awaits a change if there was one.
func unlock(mu *robust.Lock, changed bool) {
	if changed {
		mu.Unlock()
	} else {
		mu.Release()
	}
}

// differs reports whether the patches change a bit of the value, which is not a
// published one.
func (e Entry) differs(patches []text.Patch) bool {
	for _, p := range patches {
		if !bytes.Equal(p.Bytes, mem.Slice[byte](&e.m.region, e.record.Elements()+int64(p.Off), len(p.Bytes))) {
			return true
		}
	}
	return false
}

// storeNumbers writes each number of up to 8 bytes by one store. It copies what is
// inside a struct.
func (e Entry) storeNumbers(patches []text.Patch) {
	_, elem := e.record.Layout.Dims()
	for _, p := range patches {
		off, b := e.record.Elements()+int64(p.Off), p.Bytes
		if elem.Fields != nil || elem.Size == 1 || elem.Size > 8 {
			copy(mem.Slice[byte](&e.m.region, off, len(b)), b)
			continue
		}
		for ; len(b) >= elem.Size; b = b[elem.Size:] {
			switch elem.Size {
			case 8:
				mem.At[atomic.Uint64](&e.m.region, off).Store(binary.NativeEndian.Uint64(b))
			case 4:
				mem.At[atomic.Uint32](&e.m.region, off).Store(binary.NativeEndian.Uint32(b))
			default:
				mem.Store(mem.At[uint16](&e.m.region, off), binary.NativeEndian.Uint16(b))
			}
			off += int64(elem.Size)
		}
	}
}
