package shm

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/exp/constraints"
)

// Word is the numbers that one store commits: all but complex128. A shared
// complex128 is a Struct[complex128].
type Word interface {
	constraints.Integer | constraints.Float | constraints.Complex
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64 | ~complex64
}

// Value is a number in shared memory whose changes exclude each other between
// processes and goroutines. Load never waits and never sees half a number, also
// while another process is stopped or has died inside: a change is one store.
//
// Several numbers under one invariant are one Struct and one Update, not
// several Values. Update's function must not use this Value's Store, Add or
// Update, which would wait for itself.
//
// After Close of its segment it goes on working. In a read-only attachment Load
// and Await work, and all else panics with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Value, where get_lock is Mutex, get_obj
// is Raw, and v.value += 1, which is two lock holds there, is Add.
type Value[T Word] struct {
	raw RawValue[T]
	mu  *Mutex
}

// NewValue attaches to the number of that name, or makes it with the value
// init. Errors are those of NewRawValue; where no lease can be had the error
// says why, and raw forms still work.
func NewValue[T Word](s *Segment, name string, init T) (Value[T], error) {
	return newValue(s, label{name: name}, init)
}

func newValue[T Word](s *Segment, l label, init T) (Value[T], error) {
	m, r, err := placeOne(s, l, AccessLocked, init)
	if err != nil {
		return Value[T]{}, err
	}
	return Value[T]{rawValueAt[T](m, r.elements()), m.mutexOf(r)}, nil
}

// Synchronized returns v under the lock mu, so that several values can have one
// lock. It panics if mu is nil, or if v lies where one store cannot commit it:
// not aligned to its size, in foreign memory. Where v is in a read-only
// attachment and mu is not, Store is a fault of the hardware, as Set is.
//
// Source: multiprocessing.sharedctypes.synchronized.
func Synchronized[T Word](v RawValue[T], mu *Mutex) Value[T] {
	if mu == nil {
		panic("shm: Synchronized with a nil Mutex")
	}
	if !selfAligned(v.p) {
		panic(fmt.Sprintf("shm: Synchronized: a %T of %d bytes is not aligned to its size", *v.p, size[T]()))
	}
	return Value[T]{v, mu}
}

// Load returns the number. It does not wait.
func (v Value[T]) Load() T {
	x := loadWord(v.raw.p)
	v.mu.token.acquire()
	runtime.KeepAlive(v.raw.m)
	return x
}

// Store sets the number.
func (v Value[T]) Store(x T) {
	v.mu.lock()
	v.put(x)
	v.mu.unlock()
	v.mu.notify()
}

// Swap sets the number and returns what was there.
func (v Value[T]) Swap(x T) (old T) {
	v.mu.lock()
	old = *v.raw.p
	v.put(x)
	v.mu.unlock()
	v.mu.notify()
	return old
}

// CompareAndSwap stores x if the number is old, bit by bit, so that a NaN can
// be swapped and 0 is not -0; it reports whether it did.
func (v Value[T]) CompareAndSwap(old, x T) (swapped bool) {
	v.mu.lock()
	if bitsOf(*v.raw.p) == bitsOf(old) {
		v.put(x)
		swapped = true
	}
	v.mu.unlock()
	v.mu.notify()
	return swapped
}

// Add adds delta and returns the sum. Integers wrap around.
func (v Value[T]) Add(delta T) (sum T) {
	v.mu.lock()
	sum = *v.raw.p + delta
	v.put(sum)
	v.mu.unlock()
	v.mu.notify()
	return sum
}

// Update stores f of the number and returns it. If f panics or calls
// runtime.Goexit, the number stays as it was and the lock is released.
func (v Value[T]) Update(f func(T) T) (x T) {
	v.mu.lock()
	done := false
	defer func() { v.mu.unlockAfter(done) }()
	x = f(*v.raw.p)
	v.put(x)
	done = true
	return x
}

// put is the store that commits; the lock is held.
func (v Value[T]) put(x T) {
	v.raw.shadow.write()
	v.mu.token.release() // a Load may see it before the Unlock
	storeWord(v.raw.p, x)
	killPoint(42)
	runtime.KeepAlive(v.raw.m)
}

// Await sleeps until ok of the number is true, and returns the number, or until
// ctx is done, and returns its error. It wakes when any process has changed the
// number by this type's verbs, or anything under its Mutex. An idle waiter
// costs next to nothing, up to some 1,000 different values a process (16 before Linux
// 5.16); beyond that it looks a hundred times a second. A read-only attachment
// cannot announce itself, so it looks four times a second.
func (v Value[T]) Await(ctx context.Context, ok func(T) bool) (T, error) {
	var x T
	version := func() uint64 { return bitsOf(loadWord(v.raw.p)) }
	err := v.mu.await(ctx, version, func() bool {
		x = v.Load()
		return ok(x)
	})
	return x, err
}

// Mutex returns the lock that Store, Swap, Add and Update take. While holding
// it use Raw: Add would wait for itself.
func (v Value[T]) Mutex() *Mutex { return v.mu }

// Raw returns the number without its lock. Load sees each Set at once, not
// only the Unlock.
func (v Value[T]) Raw() RawValue[T] { return v.raw }
