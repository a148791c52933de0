package shm

import (
	"runtime"
	"sync/atomic"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"golang.org/x/exp/constraints"
)

// AtomicInteger permits the integers for which sync/atomic has operations.
type AtomicInteger interface {
	constraints.Integer
	~int32 | ~int64 | ~uint32 | ~uint64
}

// Atomic is an integer in shared memory with the operations of sync/atomic and
// their memory order, between processes. No operation waits, so a process that
// dies cannot block the others. Use it for counters and flags.
//
// An Atomic works after Close of its segment. In a read-only attachment Load
// works, and the other methods panic with ErrReadOnly.
type Atomic[T AtomicInteger] struct {
	token race.Token
	p     *T
	m     *mapping
}

// NewAtomic attaches to the integer of that name, or makes it with the value
// init. The errors are those of NewRawValue.
func NewAtomic[T AtomicInteger](s *Segment, name string, init T) (Atomic[T], error) {
	return newAtomic(s, format.Label{Name: name}, init)
}

func newAtomic[T AtomicInteger](s *Segment, l format.Label, init T) (Atomic[T], error) {
	m, r, err := placeOne(s, l, format.Atomic, init)
	if err != nil {
		return Atomic[T]{}, err
	}
	return Atomic[T]{m.file.cells.Token(r.Data), mem.At[T](&m.region, r.Data), m}, nil
}

// Load returns the integer.
func (a Atomic[T]) Load() T {
	var x T
	if mem.Size[T]() == 8 {
		x = T(atomic.LoadUint64(mem.Word64(a.p)))
	} else {
		x = T(atomic.LoadUint32(mem.Word32(a.p)))
	}
	a.token.Acquire()
	runtime.KeepAlive(a.m)
	return x
}

// Store sets the integer.
func (a Atomic[T]) Store(x T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.Release()
	if mem.Size[T]() == 8 {
		atomic.StoreUint64(mem.Word64(a.p), uint64(x))
	} else {
		atomic.StoreUint32(mem.Word32(a.p), uint32(x))
	}
	runtime.KeepAlive(a.m)
}

// Swap stores x and returns the old integer.
func (a Atomic[T]) Swap(x T) (old T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.Release()
	if mem.Size[T]() == 8 {
		old = T(atomic.SwapUint64(mem.Word64(a.p), uint64(x)))
	} else {
		old = T(atomic.SwapUint32(mem.Word32(a.p), uint32(x)))
	}
	a.token.Acquire()
	runtime.KeepAlive(a.m)
	return old
}

// CompareAndSwap stores x if the integer is old, and reports whether it did.
func (a Atomic[T]) CompareAndSwap(old, x T) (swapped bool) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.Release()
	if mem.Size[T]() == 8 {
		swapped = atomic.CompareAndSwapUint64(mem.Word64(a.p), uint64(old), uint64(x))
	} else {
		swapped = atomic.CompareAndSwapUint32(mem.Word32(a.p), uint32(old), uint32(x))
	}
	a.token.Acquire()
	runtime.KeepAlive(a.m)
	return swapped
}

// Add adds delta, wrapping around, and returns the sum.
func (a Atomic[T]) Add(delta T) (sum T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.Release()
	if mem.Size[T]() == 8 {
		sum = T(atomic.AddUint64(mem.Word64(a.p), uint64(delta)))
	} else {
		sum = T(atomic.AddUint32(mem.Word32(a.p), uint32(delta)))
	}
	a.token.Acquire()
	runtime.KeepAlive(a.m)
	return sum
}

// And clears the bits that are not in mask, and returns the old integer.
func (a Atomic[T]) And(mask T) (old T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.Release()
	if mem.Size[T]() == 8 {
		old = T(atomic.AndUint64(mem.Word64(a.p), uint64(mask)))
	} else {
		old = T(atomic.AndUint32(mem.Word32(a.p), uint32(mask)))
	}
	a.token.Acquire()
	runtime.KeepAlive(a.m)
	return old
}

// Or sets the bits that are in mask, and returns the old integer.
func (a Atomic[T]) Or(mask T) (old T) {
	if a.m.refusal != nil {
		panic(a.m.refusal)
	}
	a.token.Release()
	if mem.Size[T]() == 8 {
		old = T(atomic.OrUint64(mem.Word64(a.p), uint64(mask)))
	} else {
		old = T(atomic.OrUint32(mem.Word32(a.p), uint32(mask)))
	}
	a.token.Acquire()
	runtime.KeepAlive(a.m)
	return old
}
