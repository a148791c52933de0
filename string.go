package shm

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
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
// such copies
// Load takes the lock for one copy, and waits at most 10 ms for it. A read-only
// attachment cannot take the lock and copies until it succeeds.
//
// A String works after Close of its segment. In a read-only attachment Load and
// Await work, and Store panics with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Array of c_char.
type String struct {
	s    *slots.Pair
	size int
}

// NewString attaches to the text of that name, or makes an empty one that holds up
// to size bytes. If size is 0 it takes the size found, and if there is no such text
// the error wraps fs.ErrNotExist. The other errors are those of NewValue.
func NewString(s *Segment, name string, size int) (String, error) {
	return newString(s, format.Label{Name: name}, size)
}

func newString(s *Segment, l format.Label, size int) (String, error) {
	m, r, err := s.placeChars(l, format.Published, size)
	if err != nil {
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
// Python would end the text there. Then nothing is changed.
func (v String) Store(text string) error {
	if len(text) > v.size || strings.IndexByte(text, 0) >= 0 {
		return v.refuse(text)
	}
	s := v.s
	mu := s.Lock
	mu.Acquire()
	count := s.Cell.Commit.Load()
	idle := s.Data[(count+1)&1]
	if n := copy(idle, text); n < len(idle) {
		idle[n] = 0
	}
	s.Publish(count)
	if left := mu.Free(); left != 0 {
		mu.Finish(left)
	}
	runtime.KeepAlive(s)
	return nil
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
	err := v.s.Lock.Await(ctx, v.s.Cell.Commit.Load, func() bool {
		text = v.Load()
		return ok(text)
	})
	return text, err
}

// Mutex returns the lock that Store takes. While you hold it, only Load may be
// called: Store would be a self-deadlock.
func (v String) Mutex() *Mutex { return mutexOf(v.s.Lock) }
