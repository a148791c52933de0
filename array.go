package shm

import (
	"context"
	"iter"
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
)

// RawArray is a fixed number of numbers in shared memory. It is as fast as a Go
// slice and no more synchronised than one: see RawValue.
//
// Source: multiprocessing.sharedctypes.RawArray.
type RawArray[T Numeric] struct {
	shadow race.Shadow
	s      []T
	m      *mapping
}

// NewRawArray attaches to the array of that name, or makes it with n elements
// of zero. If n is 0 it takes the length found, and if there is no such array the
// error wraps fs.ErrNotExist. The other errors are those of NewRawValue.
func NewRawArray[T Numeric](s *Segment, name string, n int) (RawArray[T], error) {
	return newRawArray[T](s, format.Label{Name: name}, n)
}

func newRawArray[T Numeric](s *Segment, l format.Label, n int) (RawArray[T], error) {
	m, r, err := placeMany[T](s, l, format.Raw, n)
	if err != nil {
		return RawArray[T]{}, err
	}
	return rawArrayAt[T](m, r.Data, int(r.Count)), nil
}

// RawArrayAt returns the n numbers from off bytes on in a foreign segment. The
// error wraps fs.ErrInvalid if they are not inside the segment or not aligned.
func RawArrayAt[T Numeric](s *Segment, off int64, n int) (RawArray[T], error) {
	m, err := s.foreign(off, n, int64(mem.Size[T]()), int64(mem.Align[T]()))
	if err != nil {
		return RawArray[T]{}, err
	}
	return rawArrayAt[T](m, off, n), nil
}

func rawArrayAt[T Numeric](m *mapping, off int64, n int) RawArray[T] {
	return RawArray[T]{m.file.cells.Shadow(off, n*int(mem.Size[T]())), mem.Slice[T](&m.region, off, n), m}
}

// Len returns the number of elements.
func (a RawArray[T]) Len() int { return len(a.s) }

// Get returns element i. It panics as a slice does if i is out of range.
func (a RawArray[T]) Get(i int) T {
	x := a.s[i]
	a.shadow.Read(i*int(mem.Size[T]()), int(mem.Size[T]()))
	runtime.KeepAlive(a.m)
	return x
}

// Set stores x as element i. It panics as a slice does if i is out of range.
func (a RawArray[T]) Set(i int, x T) {
	a.s[i] = x
	a.shadow.Write(i*int(mem.Size[T]()), int(mem.Size[T]()))
	runtime.KeepAlive(a.m)
}

// Slice returns the memory itself, valid until Close of the segment. The race detector,
// which sees Get, Set and All, does not see what is done with it.
func (a RawArray[T]) Slice() []T {
	a.m.lend()
	return a.s
}

// All yields index and value of each element.
func (a RawArray[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i, x := range a.s {
			a.shadow.Read(i*int(mem.Size[T]()), int(mem.Size[T]()))
			if !yield(i, x) {
				break
			}
		}
		runtime.KeepAlive(a.m)
	}
}

// Array is a fixed number of numbers in shared memory under one lock. Load never
// waits and never returns half a number. Store and Add exclude each other between
// processes. An Array changes in place: change several elements in WithLock, and
// call Mutex().Abandoned to learn whether a process died halfway. If readers must
// see several numbers change together, use a Struct.
//
// An Array works after Close of its segment. A Value that Synchronized has made with
// its lock looks again, in Await, after each WithLock. In a read-only attachment Load
// works, and the other methods panic with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Array.
type Array[T Word] struct {
	race numberRace // with the shadow of all elements
	s    []T
	mu   *robust.Lock // which keeps the mapping alive; a fifth word would keep Array out of registers
}

// NewArray attaches to the array of that name, or makes it with n elements of
// zero. If n is 0 it does as NewRawArray. The errors are those of NewValue.
func NewArray[T Word](s *Segment, name string, n int) (Array[T], error) {
	return newArray[T](s, format.Label{Name: name}, n)
}

func newArray[T Word](s *Segment, l format.Label, n int) (Array[T], error) {
	m, r, err := placeMany[T](s, l, format.Locked, n)
	if err != nil {
		return Array[T]{}, err
	}
	mu := m.lockOf(r)
	told := numberRace{mu.Token, m.file.cells.Shadow(r.Elements(), int(r.Count)*int(mem.Size[T]()))}
	return Array[T]{told, mem.Slice[T](&m.region, r.Elements(), int(r.Count)), mu}, nil
}

// Len returns the number of elements.
func (a Array[T]) Len() int { return len(a.s) }

// Load returns element i. It does not wait. It panics as a slice does if i is out
// of range.
func (a Array[T]) Load(i int) T {
	x := mem.Load(&a.s[i])
	a.race.token.Acquire()
	runtime.KeepAlive(a.mu)
	return x
}

// Store sets element i. It panics as a slice does if i is out of range.
func (a Array[T]) Store(i int, x T) {
	if race.Enabled { // a condition, to keep Store and Add inlined
		a.race = a.told(i)
	}
	store(a.race, &a.s[i], a.mu, x)
}

// Add adds delta to element i and returns the sum. Integers wrap around. It panics
// as a slice does if i is out of range.
func (a Array[T]) Add(i int, delta T) (sum T) {
	if race.Enabled {
		a.race = a.told(i)
	}
	return add(a.race, &a.s[i], a.mu, delta)
}

// told is what the race detector needs to know about element i.
func (a Array[T]) told(i int) numberRace {
	return numberRace{a.race.token, a.race.shadow.From(i * int(mem.Size[T]()))}
}

// WithLock calls f with the memory itself and holds the lock meanwhile. f must not
// keep the slice, and must not call Store, Add or WithLock of this Array. If f
// panics or calls runtime.Goexit, WithLock releases the lock, what f has changed
// stays, and Abandoned returns true for the next holder.
func (a Array[T]) WithLock(f func([]T)) {
	a.mu.Acquire()
	done := false
	defer func() {
		if !done {
			a.mu.Abandon()
		}
		a.mu.UnlockAfter(done)
	}()
	f(a.s)
	done = true
}

// WithLockContext is WithLock that can be given up. If ctx is done before the lock is
// taken, the error wraps the context's and f was not called; ctx does not limit f. An
// error of f is returned as it is. What f has changed stays, since an Array changes in
// place, and Abandoned does not return true for that. The error wraps ErrFormat if
// another program has cut the file off.
func (a Array[T]) WithLockContext(ctx context.Context, f func([]T) error) error {
	return mutexOf(a.mu).m.region.Guarded(func() error {
		if err := a.mu.AcquireContext(ctx); err != nil {
			return err
		}
		returned := false
		defer func() {
			if !returned {
				a.mu.Abandon()
			}
			a.mu.UnlockAfter(returned)
		}()
		err := f(a.s)
		returned = true
		return err
	})
}

// Mutex returns the lock that Store, Add and WithLock take. While you hold it, use
// Raw: those methods would be a self-deadlock.
func (a Array[T]) Mutex() *Mutex { return mutexOf(a.mu) }

// Raw returns the numbers without their lock.
func (a Array[T]) Raw() RawArray[T] { return RawArray[T]{a.race.shadow, a.s, mutexOf(a.mu).m} }
