package shm

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
)

// String is a text in shared memory that changes as a whole: Load returns what
// some Store committed, never half of it, also while another process is stopped
// or has died inside.
//
// Load does not wait, with one exception, as for Struct: under writers that
// never rest, after 64 copies that were each overtaken by a commit, it takes the
// lock for one copy, waiting no longer than 10 ms for it; a read-only attachment
// goes on trying.
//
// After Close of its segment it goes on working. In a read-only attachment Load
// and Await work, and Store panics with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Array of c_char.
type String struct {
	s    *slots
	size int
}

// NewString attaches to the text of that name, or makes an empty one that holds
// up to size bytes. With size 0 it takes the size found, and the error wraps
// fs.ErrNotExist if there is none. Other errors are those of NewValue.
func NewString(s *Segment, name string, size int) (String, error) {
	return newString(s, label{name: name}, size)
}

func newString(s *Segment, l label, size int) (String, error) {
	count, err := lengthOrFound(l.name, size)
	if err != nil {
		return String{}, err
	}
	m, r, err := s.place(shape{label: l, layout: charLayout, count: count, access: AccessPublished, kind: kindChars}, nil)
	if err != nil {
		return String{}, err
	}
	return String{m.slotsOf(r), int(r.count)}, nil
}

// Cap returns how many bytes it holds at most.
func (v String) Cap() int { return v.size }

// Load returns the text.
func (v String) Load() (text string) {
	v.s.read(func(slot []byte) { text = loadString(slot[:v.size]) })
	return text
}

// Store commits the text. One of more than Cap bytes is an error that wraps
// ErrTooLong; one with a NUL, which C and Python would end it at, wraps
// fs.ErrInvalid. Nothing is changed then.
func (v String) Store(text string) error {
	if len(text) > v.size {
		return fmt.Errorf("%w: %d bytes into %q, which holds %d", ErrTooLong, len(text), v.s.mu.name, v.size)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("shm: %w: a NUL at byte %d of the text for %q", fs.ErrInvalid, i, v.s.mu.name)
	}
	v.s.mu.lock()
	count := v.s.cell.commit.Load()
	idle := v.s.data[(count+1)&1]
	if n := copy(idle, text); n < len(idle) {
		idle[n] = 0
	}
	v.s.publish(count)
	v.s.mu.unlock()
	v.s.mu.notify()
	return nil
}

// Await sleeps until ok of the text is true, and returns the text, or until ctx
// is done, and returns its error: see Value.Await.
func (v String) Await(ctx context.Context, ok func(string) bool) (string, error) {
	var text string
	err := v.s.mu.await(ctx, v.s.cell.commit.Load, func() bool {
		text = v.Load()
		return ok(text)
	})
	return text, err
}

// Mutex returns the lock that Store takes. While holding it only Load may be
// used: Store would wait for itself.
func (v String) Mutex() *Mutex { return v.s.mu }
