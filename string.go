package shm

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"runtime"
	"runtime/debug"
	"strings"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/slots"
)

// String is a text in shared memory that changes as a whole. Load returns what
// some Store committed, never half of it, even if another process has stopped or
// died while it stored.
//
// Load does not wait, with one exception, which applies to Struct too. If writers
// commit without a pause, each copy may be outdated before it is complete. After 64
// such copies Load takes the lock for one copy, and waits at most 10 ms for it. A
// read-only attachment cannot take the lock and copies until it succeeds.
//
// A String works after Close of its segment, but nothing is awaited any more. In a
// read-only attachment Load, Await and Changes work, and Store panics with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Array of c_char.
type String struct {
	s    *slots.Pair
	size int
}

// NewString attaches to the text of that name, or makes an empty one that holds up
// to size bytes. If size is 0 it takes the size found, and if there is no such text
// the error wraps fs.ErrNotExist. A size of more than 1 GiB must be asked for; if it is
// only found, the error wraps ErrTooLong. The other errors are those of NewValue.
func NewString(s *Segment, name string, size int) (String, error) {
	return newString(s, format.Label{Name: name}, size)
}

func newString(s *Segment, l format.Label, size int) (String, error) {
	m, r, err := s.placeChars(l, format.Published, size)
	if err != nil {
		return String{}, err
	}
	if err := tooLongToFind(l.Name, size, int(r.Count)); err != nil {
		return String{}, err
	}
	return String{m.slotsOf(r), int(r.Count)}, nil
}

// Cap returns how many bytes the String holds at most.
func (v String) Cap() int { return v.size }

// Load returns the text.
func (v String) Load() (text string) {
	s := v.s
	if mem.StoresInOrder && !race.Enabled {
		count := s.Cell.Commit.Load()
		text = mem.LoadString(s.Data[count&1][:v.size])
		if s.Cell.Commit.Load() == count {
			runtime.KeepAlive(s)
			return text
		}
	}
	s.Read(func(slot []byte) { text = mem.LoadString(slot[:v.size]) })
	return text
}

// Store commits the text. A text of more than Cap bytes is an error that wraps
// ErrTooLong. A text with a NUL is an error that wraps fs.ErrInvalid, because C and
// Python would end the text there. Then nothing is changed. The error wraps ErrFormat
// if another program has cut the file off.
func (v String) Store(text string) (err error) {
	if len(text) > v.size || strings.IndexByte(text, 0) >= 0 {
		return v.refuse(text)
	}
	s := v.s
	in, old, locked := mutexOf(s.Lock), debug.SetPanicOnFault(true), false
	defer func() {
		if in != nil {
			err = in.afterFault(locked, old, recover())
		}
	}()
	mu := s.Lock
	mu.Acquire()
	locked = true
	changed := v.commit(text)
	locked = false
	if left := mu.Free(); left != 0 {
		mu.Finish(left, changed)
	}
	in = nil
	if !old {
		debug.SetPanicOnFault(false)
	}
	runtime.KeepAlive(s)
	return nil
}

// StoreContext is Store that can be given up: if ctx is done before the lock is taken,
// nothing is committed and the error wraps the context's.
func (v String) StoreContext(ctx context.Context, text string) error {
	if len(text) > v.size || strings.IndexByte(text, 0) >= 0 {
		return v.refuse(text)
	}
	s := v.s
	return v.guarded(func() error {
		if err := s.Lock.AcquireContext(ctx); err != nil {
			return err
		}
		changed := false
		defer func() {
			if changed {
				s.Lock.Unlock()
			} else {
				s.Lock.Release()
			}
			runtime.KeepAlive(s)
		}()
		changed = v.commit(text)
		return nil
	})
}

// commit commits the text, unless somebody awaits a change and it is none, and reports
// whether it did. The caller holds the lock.
func (v String) commit(text string) (changed bool) {
	s := v.s
	count := s.Cell.Commit.Load()
	if s.Lock.Awaited() && mem.LoadString(s.Data[count&1][:v.size]) == text {
		return false
	}
	idle := s.Data[(count+1)&1]
	if n := copy(idle, text); n < len(idle) {
		idle[n] = 0
	}
	s.Publish(count)
	return true
}

// refuse says why the text cannot be stored.
func (v String) refuse(text string) error {
	if len(text) > v.size {
		return fmt.Errorf("%w: %d bytes, %q holds %d", ErrTooLong, len(text), v.s.Lock.Name(), v.size)
	}
	return fmt.Errorf("shm: %w: the text for %q has a NUL at byte %d", fs.ErrInvalid, v.s.Lock.Name(), strings.IndexByte(text, 0))
}

// Await sleeps until ok returns true for the text, and then returns the text. If ctx
// is done first, it returns the text last seen and an error that wraps the context's.
// See Value.Await.
func (v String) Await(ctx context.Context, ok func(string) bool) (string, error) {
	var text string
	err := v.guarded(func() error {
		return v.s.Lock.Await(ctx, v.s.Cell.Commit.Load, func() bool {
			text = v.Load()
			return ok(text)
		})
	})
	return text, err
}

// Changes yields the newest text with the number of its commit, and then each newer
// one. See Struct.Changes.
func (v String) Changes(ctx context.Context) iter.Seq2[uint64, string] {
	version := func() uint64 { return v.s.Cell.Commit.Load() } // as in Struct.Changes
	return changes(ctx, v.guarded, v.s.Lock, version, func(uint64, string) (count uint64, text string) {
		count = v.s.Read(func(slot []byte) { text = mem.LoadString(slot[:v.size]) })
		return count, text
	})
}

// guarded calls f, which touches the memory, and returns an error if the file was cut
// off.
func (v String) guarded(f func() error) error { return mutexOf(v.s.Lock).m.region.Guarded(f) }

// Mutex returns the lock that Store takes. While you hold it, only Load may be
// called: Store would be a self-deadlock.
func (v String) Mutex() *Mutex { return mutexOf(v.s.Lock) }
