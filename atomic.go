package shm

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/exp/constraints"
)

// AtomicInteger is the integers that sync/atomic has operations for.
type AtomicInteger interface {
	constraints.Integer
	~int32 | ~int64 | ~uint32 | ~uint64
}

// Atomic is an integer in shared memory with the operations of sync/atomic, and
// their memory order, between processes. It never waits for anybody, so a
// process that dies cannot leave it locked: choose it for counters and flags.
//
// After Close of its segment it goes on working; in a read-only attachment Load
// works and all else panics with ErrReadOnly.
type Atomic[T AtomicInteger] struct {
	token raceToken
	p     *T
	m     *mapping
}

// NewAtomic attaches to the integer of that name, or makes it with the value
// init. Errors are those of NewRawValue.
func NewAtomic[T AtomicInteger](s *Segment, name string, init T) (Atomic[T], error) {
	return newAtomic(s, label{name: name}, init)
}

func newAtomic[T AtomicInteger](s *Segment, l label, init T) (Atomic[T], error) {
	m, r, err := placeOne(s, l, AccessAtomic, init)
	if err != nil {
		return Atomic[T]{}, err
	}
	return Atomic[T]{m.file.cells.token(r.data), at[T](m, r.data), m}, nil
}

// Load returns the integer.
func (a Atomic[T]) Load() T {
	var x T
	if size[T]() == 8 {
		x = T(atomic.LoadUint64(word64(a.p)))
	} else {
		x = T(atomic.LoadUint32(word32(a.p)))
	}
	a.token.acquire()
	runtime.KeepAlive(a.m)
	return x
}

// Store sets the integer.
func (a Atomic[T]) Store(x T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.release()
	if size[T]() == 8 {
		atomic.StoreUint64(word64(a.p), uint64(x))
	} else {
		atomic.StoreUint32(word32(a.p), uint32(x))
	}
	runtime.KeepAlive(a.m)
}

// Swap stores x and returns what was there.
func (a Atomic[T]) Swap(x T) (old T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.release()
	if size[T]() == 8 {
		old = T(atomic.SwapUint64(word64(a.p), uint64(x)))
	} else {
		old = T(atomic.SwapUint32(word32(a.p), uint32(x)))
	}
	a.token.acquire()
	runtime.KeepAlive(a.m)
	return old
}

// CompareAndSwap stores x if the integer is old, and reports whether it did.
func (a Atomic[T]) CompareAndSwap(old, x T) (swapped bool) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.release()
	if size[T]() == 8 {
		swapped = atomic.CompareAndSwapUint64(word64(a.p), uint64(old), uint64(x))
	} else {
		swapped = atomic.CompareAndSwapUint32(word32(a.p), uint32(old), uint32(x))
	}
	a.token.acquire()
	runtime.KeepAlive(a.m)
	return swapped
}

// Add adds delta, wrapping around, and returns the sum.
func (a Atomic[T]) Add(delta T) (sum T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.release()
	if size[T]() == 8 {
		sum = T(atomic.AddUint64(word64(a.p), uint64(delta)))
	} else {
		sum = T(atomic.AddUint32(word32(a.p), uint32(delta)))
	}
	a.token.acquire()
	runtime.KeepAlive(a.m)
	return sum
}

// And clears the bits that are not in mask, and returns what was there.
func (a Atomic[T]) And(mask T) (old T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.release()
	if size[T]() == 8 {
		old = T(atomic.AndUint64(word64(a.p), uint64(mask)))
	} else {
		old = T(atomic.AndUint32(word32(a.p), uint32(mask)))
	}
	a.token.acquire()
	runtime.KeepAlive(a.m)
	return old
}

// Or sets the bits that are in mask, and returns what was there.
func (a Atomic[T]) Or(mask T) (old T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.release()
	if size[T]() == 8 {
		old = T(atomic.OrUint64(word64(a.p), uint64(mask)))
	} else {
		old = T(atomic.OrUint32(word32(a.p), uint32(mask)))
	}
	a.token.acquire()
	runtime.KeepAlive(a.m)
	return old
}
