package shm

import (
	"context"
	"iter"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
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
	Offset  int64  // of the value, the first of its two slots, or the lock of a mutex, in bytes from the start of the segment
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
	var l layout.Layout // none: a mutex
	if e.record.Layout != nil {
		l = *e.record.Layout
	}
	return handleType(e.record.Kind, e.Access, l, e.Len > 0)
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

// Check reads the descriptions of all values and the index of their names, and returns
// what is wrong with the first damaged description, or with the index. Entries ends before
// a damaged description. It needs no index, and Lookup of a name that a damaged index does
// not have returns false. Processes may add values meanwhile. The error wraps ErrFormat,
// ErrClosed or ErrForeign.
func (s *Segment) Check() error {
	m, err := s.namedMapping()
	if err != nil {
		return err
	}
	if err := m.dir.CheckAll(s.file); err != nil {
		return errs.Path("check", m.region.Path, s.closedError(err))
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
// ErrClosed (Close was called meanwhile), ErrForeign, ErrFormat, fs.ErrInvalid (no value
// can have that name), or ErrReplaced: the segment's name leads to another file, so
// whoever opens it makes the value there. WaitFor finds that out within some seconds. A
// name that was only removed does not end it.
func (s *Segment) WaitFor(ctx context.Context, name string) (Entry, error) {
	m, err := s.namedMapping()
	if err != nil {
		return Entry{}, err
	}
	if err := format.CheckName(name); err != nil {
		return Entry{}, errs.Wrap(errs.Invalid("%v", err), "waiting for value %.300q", name)
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
