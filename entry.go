package shm

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
)

// Entry is a named value as the directory describes it, for programs that learn
// its type at run time. It describes the value as of Lookup or Entries: a struct
// that has grown since is seen with the fields of then.
//
// Any, Text and Lock never wait, also while another process is stopped or has
// died inside. Like a handle, an Entry keeps the memory mapped after Close.
type Entry struct {
	Name    string
	Layout  Layout // of one element; zero for a mutex
	Len     int    // elements of an array, bytes of a C string, 0 for a single value
	Access  Access
	Unit    string
	Help    string
	Pid     int    // of the process that made it
	Program string // that made it
	Offset  int64  // of the value, or the first of its two slots, in bytes from the start of the segment
	Size    int64  // of the value in bytes; 0 for a mutex

	s      *Segment
	m      *mapping
	record *record
}

func (e Entry) filled() Entry {
	r := e.record
	e.Name, e.Len, e.Access, e.Unit, e.Help, e.Pid, e.Program = r.name, int(r.count), r.access, r.unit, r.help, int(r.pid), r.program
	e.Offset = r.elements()
	e.Size, _ = r.slotSize()
	if r.layout != nil {
		e.Layout = r.layout.clone()
	}
	return e
}

// Any returns a copy of the value as Go has it: a number or a bool of the exact
// type, a string for characters (up to the first NUL), a slice for any other
// array, in as many levels as the array has dimensions, and a map[string]any for
// a struct, whose fields Layout has in their order. For a Mutex it is nil.
//
// The copy is as good as the type promises: of a Struct or a String one commit,
// of a number or an element of an array one load, of raw structs and C strings
// whatever was there from moment to moment.
func (e Entry) Any() any {
	if e.record.layout == nil {
		return nil
	}
	return goValue(e.record.whole(), e.load())
}

// Text returns the value in one line, as Go would write it: numbers, true and
// false; characters as a string literal, so that nothing in them reaches a
// terminal; [1, 2] for arrays, all of them; {x: 1, y: 2} for structs, in the
// order of their fields. A NaN that is not the usual one shows its bits,
// NaN(0x7ff8000000000002), and a complex number of such is complex(0, NaN(…)).
// For a Mutex it is Lock's answer in words.
func (e Entry) Text() string {
	if e.record.layout == nil {
		lock, _ := e.Lock()
		return lock.String()
	}
	return string(appendText(nil, e.record.whole(), e.load()))
}

// Parse sets the value to what a text says. Whatever Text returns is understood
// and sets the same value, bit by bit; JSON is, for what JSON can say; and
// characters that are the whole value need no quotes. Integers may have a
// prefix, as in 0x1f. An array takes all its elements; a struct takes some of
// its fields, by name, and the others keep what they have. A C string keeps the
// bytes behind its new end.
//
// It waits for the lock of a value that has one, as Store does. The error wraps
// fs.ErrInvalid for a text that does not describe such a value, or for a
// Mutex; strconv.ErrRange for a number that does not fit; ErrTooLong;
// ErrReadOnly; ErrClosed. Nothing is changed then.
func (e Entry) Parse(text string) error {
	if err := e.parse(text); err != nil {
		return fmt.Errorf("shm: value %q: %w", e.record.name, err)
	}
	return nil
}

func (e Entry) parse(text string) error {
	r := e.record
	if _, err := e.s.attachedMapping(); err != nil {
		return err
	}
	if e.m.readOnly {
		return fmt.Errorf("%w: in %s", ErrReadOnly, e.m.path)
	}
	if r.layout == nil {
		return invalid("a lock is not set by a text")
	}
	patches, err := parseText(r.whole(), text)
	if err != nil {
		return err
	}
	if r.hasLock() {
		if err := e.m.prepareLocks(e.s.file); err != nil {
			return e.s.closedError(err)
		}
	}
	e.store(patches)
	return nil
}

// whole is the layout of all elements together. Preconditions: it is no mutex.
func (s *shape) whole() Layout {
	if s.count == 0 {
		return *s.layout
	}
	return arrayOf(*s.layout, int(s.count))
}

// load returns a copy of the value's bytes, in which every number of up to 8
// bytes is whole: they are read in words to which it is aligned.
func (e Entry) load() []byte {
	r := e.record
	b := make([]byte, e.Size)
	if r.access == AccessPublished {
		// Without the lock, which this process may not be able to take.
		s := e.m.readSlotsOf(r)
		s.read(func(slot []byte) { copyBytes(b, slot[:len(b)]) })
		return b
	}
	if r.access == AccessRaw && r.kind == kindSingle {
		e.m.file.cells.shadow(r.data).read()
	} else {
		defer e.m.file.cells.token(r.data).acquire()
	}
	loadWords(b, sliceAt[byte](e.m, r.elements(), len(b)))
	runtime.KeepAlive(e.m)
	return b
}

// patch is bytes to be written at an offset in a value.
type patch struct {
	off int
	b   []byte
}

// store makes the change as the verbs of the value's type do.
func (e Entry) store(patches []patch) {
	r, m := e.record, e.m
	switch {
	case r.access == AccessPublished:
		s := m.slotsOf(r)
		if r.grows() {
			s.reach(uint32(e.Size))
		}
		s.mu.lock()
		s.amend(func(idle []byte) {
			for _, p := range patches {
				copy(idle[p.off:], p.b)
			}
		})
		s.mu.unlock()
		s.mu.notify()
	case r.access == AccessLocked:
		mu := m.mutexOf(r)
		mu.lock()
		mu.token.release()
		e.storeNumbers(patches)
		mu.unlock()
		mu.notify()
	default:
		if r.access == AccessRaw && r.kind == kindSingle {
			m.file.cells.shadow(r.data).write()
		} else {
			m.file.cells.token(r.data).release()
		}
		e.storeNumbers(patches)
	}
	runtime.KeepAlive(m)
}

// storeNumbers writes each number of up to 8 bytes by one store, and what is
// inside a struct as it comes.
func (e Entry) storeNumbers(patches []patch) {
	_, elem := e.record.layout.array()
	for _, p := range patches {
		off, b := e.record.elements()+int64(p.off), p.b
		if elem.Fields != nil || elem.Size == 1 || elem.Size > 8 {
			copy(sliceAt[byte](e.m, off, len(b)), b)
			continue
		}
		for ; len(b) >= elem.Size; b = b[elem.Size:] {
			switch elem.Size {
			case 8:
				at[atomic.Uint64](e.m, off).Store(binary.NativeEndian.Uint64(b))
			case 4:
				at[atomic.Uint32](e.m, off).Store(binary.NativeEndian.Uint32(b))
			default:
				storeWord(at[uint16](e.m, off), binary.NativeEndian.Uint16(b))
			}
			off += int64(elem.Size)
		}
	}
}
