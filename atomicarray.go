package shm

import (
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
)

// AtomicArray is a fixed number of integers in shared memory, each of which is an
// Atomic. They are side by side, so processes that change neighbours slow each other
// down; processes that each have a counter of their own are better off with 8 or 16
// elements between them.
//
// What is said of an Atomic after Close and in a read-only attachment is true of each
// of these.
//
// Source: multiprocessing.sharedctypes has no counterpart.
type AtomicArray[T AtomicInteger] struct {
	s   []T
	m   *mapping
	off int64 // of the first
}

// NewAtomicArray attaches to the integers of that name, or makes n of them, which are
// zero. If n is 0 it takes the length found, and if there is no such array the error
// wraps fs.ErrNotExist. The other errors are those of NewRawValue.
func NewAtomicArray[T AtomicInteger](s *Segment, name string, n int) (AtomicArray[T], error) {
	return newAtomicArray[T](s, format.Label{Name: name}, n)
}

func newAtomicArray[T AtomicInteger](s *Segment, l format.Label, n int) (AtomicArray[T], error) {
	m, r, err := placeMany[T](s, l, format.Atomic, n)
	if err != nil {
		return AtomicArray[T]{}, err
	}
	return AtomicArray[T]{mem.Slice[T](&m.region, r.Elements(), int(r.Count)), m, r.Elements()}, nil
}

// Len returns the number of integers.
func (a AtomicArray[T]) Len() int { return len(a.s) }

// At returns integer i. It allocates nothing. It panics as a slice does if i is out of
// range.
func (a AtomicArray[T]) At(i int) Atomic[T] {
	p := &a.s[i]
	var token race.Token
	if race.Enabled { // a condition, to keep At inlined
		token = a.m.file.cells.Token(a.off + int64(i)*int64(mem.Size[T]()))
	}
	return Atomic[T]{token, p, a.m}
}
