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
	return newRawArray[T](s, label{name: name}, n)
}

func newRawArray[T Numeric](s *Segment, l label, n int) (RawArray[T], error) {
	m, r, err := placeMany[T](s, l, AccessRaw, n)
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

func placeMany[T Numeric](s *Segment, l label, access Access, n int) (*mapping, *record, error) {
	layout, err := layoutFor[T]()
	if err != nil {
		return nil, nil, err
	}
	count, err := lengthOrFound(l.name, n)
	if err != nil {
		return nil, nil, err
	}
	return s.place(shape{label: l, layout: layout, count: count, access: access, kind: kindArray}, nil)
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

// Array is a fixed number of numbers under one lock. Load never waits and never
// sees half a number; Store and Add exclude each other between processes. It is
// changed in place, so whoever changes several elements does it in WithLock, and
// Mutex().Abandoned tells whether somebody died halfway. Several numbers that
// must never be seen apart are one Struct.
//
// After Close of its segment it goes on working. In a read-only attachment Load
// works, and all else panics with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Array.
type Array[T Word] struct {
	raw RawArray[T]
	mu  *Mutex
}

// NewArray attaches to the array of that name, or makes it with n elements of
// zero; n 0 is as in NewRawArray. Errors are those of NewValue.
func NewArray[T Word](s *Segment, name string, n int) (Array[T], error) {
	return newArray[T](s, label{name: name}, n)
}

func newArray[T Word](s *Segment, l label, n int) (Array[T], error) {
	m, r, err := placeMany[T](s, l, AccessLocked, n)
	if err != nil {
		return Array[T]{}, err
	}
	return Array[T]{RawArray[T]{sliceAt[T](m, r.elements(), int(r.count)), m}, m.mutexOf(r)}, nil
}

// Len returns the number of elements.
func (a Array[T]) Len() int { return len(a.raw.s) }

// Load returns element i, or panics as a slice does. It does not wait.
func (a Array[T]) Load(i int) T {
	x := loadWord(&a.raw.s[i])
	a.mu.token.acquire()
	runtime.KeepAlive(a.raw.m)
	return x
}

// Store sets element i, or panics as a slice does.
func (a Array[T]) Store(i int, x T) {
	p := &a.raw.s[i]
	a.mu.lock()
	a.mu.token.release() // a Load may see it before the Unlock
	storeWord(p, x)
	killPoint(43)
	a.mu.unlock()
	a.mu.notify()
}

// Add adds delta to element i and returns the sum, or panics as a slice does.
func (a Array[T]) Add(i int, delta T) (sum T) {
	p := &a.raw.s[i]
	a.mu.lock()
	sum = *p + delta
	a.mu.token.release()
	storeWord(p, sum)
	killPoint(44)
	a.mu.unlock()
	a.mu.notify()
	return sum
}

// WithLock calls f with the memory itself while holding the lock; f must not
// keep it. If f panics or calls runtime.Goexit, the lock is released, what f
// changed stays, and Abandoned tells the next holder.
func (a Array[T]) WithLock(f func([]T)) {
	a.mu.lock()
	done := false
	defer func() {
		if !done {
			a.mu.cell.abandoned.Store(1)
			killPoint(45)
		}
		a.mu.unlockAfter(done)
	}()
	f(a.raw.s)
	done = true
}

// Mutex returns the lock that Store, Add and WithLock take. While holding it
// use Raw: Add would wait for itself.
func (a Array[T]) Mutex() *Mutex { return a.mu }

// Raw returns the numbers without their lock.
func (a Array[T]) Raw() RawArray[T] { return a.raw }
