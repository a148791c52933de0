package shm

import (
	"fmt"
	"io/fs"
	"iter"
	"runtime"
)

// RawArray is a fixed number of numbers in shared memory, as fast as a Go slice
// and no more synchronised than one: see RawValue.
//
// Source: multiprocessing.sharedctypes.RawArray.
type RawArray[T Numeric] struct {
	s []T
	m *mapping
}

// NewRawArray attaches to the array of that name, or makes it with n elements
// of zero. With n 0 it takes the length found, and the error wraps
// fs.ErrNotExist if there is none. Other errors are those of NewRawValue.
func NewRawArray[T Numeric](s *Segment, name string, n int) (RawArray[T], error) {
	m, r, err := placeMany[T](s, name, AccessRaw, n)
	if err != nil {
		return RawArray[T]{}, err
	}
	return RawArray[T]{sliceAt[T](m, r.data, int(r.count)), m}, nil
}

// RawArrayAt returns the n numbers from off bytes on in a foreign segment. The
// error wraps fs.ErrInvalid where they are not inside or not aligned.
func RawArrayAt[T Numeric](s *Segment, off int64, n int) (RawArray[T], error) {
	m, err := s.foreign(off, n, int64(size[T]()), int64(alignOf[T]()))
	if err != nil {
		return RawArray[T]{}, err
	}
	return RawArray[T]{sliceAt[T](m, off, n), m}, nil
}

func placeMany[T Numeric](s *Segment, name string, access Access, n int) (*mapping, *record, error) {
	l, err := layoutFor[T]()
	if err != nil {
		return nil, nil, err
	}
	count, err := lengthOrFound(name, n)
	if err != nil {
		return nil, nil, err
	}
	return s.place(shape{name: name, layout: l, count: count, access: access, kind: kindArray}, nil)
}

// lengthOrFound turns a constructor's n into a shape's count.
func lengthOrFound(name string, n int) (int64, error) {
	switch {
	case n < 0:
		return 0, fmt.Errorf("shm: value %q: %w: length %d", name, fs.ErrInvalid, n)
	case n == 0:
		return -1, nil
	}
	return int64(n), nil
}

// Len returns the number of elements.
func (a RawArray[T]) Len() int { return len(a.s) }

// Get returns element i, or panics as a slice does.
func (a RawArray[T]) Get(i int) T {
	x := a.s[i]
	runtime.KeepAlive(a.m)
	return x
}

// Set stores x as element i, or panics as a slice does.
func (a RawArray[T]) Set(i int, x T) {
	a.s[i] = x
	runtime.KeepAlive(a.m)
}

// Slice returns the memory itself, valid until Close of the segment.
func (a RawArray[T]) Slice() []T { return a.s }

// All yields index and value of each element.
func (a RawArray[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i, x := range a.s {
			if !yield(i, x) {
				break
			}
		}
		runtime.KeepAlive(a.m)
	}
}
