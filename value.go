package shm

import (
	"context"
	"fmt"
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
	"golang.org/x/exp/constraints"
)

// Word permits the numbers that one store writes: all of Numeric except
// complex128. Use a Struct[complex128] to share one.
type Word interface {
	constraints.Integer | constraints.Float | constraints.Complex
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64 | ~complex64
}

// Value is a number in shared memory with a lock. Changes exclude each other
// between processes and goroutines. Load never waits, and never returns half a
// number, even if another process has stopped or died while it held the lock: a
// change is one store.
//
// If several numbers share one invariant, use one Struct and one Update. The
// function given to Update must not call this Value's Store, Swap, Add,
// CompareAndSwap or Update: that is a self-deadlock.
//
// A Value works after Close of its segment. In a read-only attachment Load and
// Await work, and the other methods panic with ErrReadOnly.
//
// Source: multiprocessing.sharedctypes.Value. Its get_lock is Mutex and its
// get_obj is Raw. v.value += 1 takes the lock twice there; Add is one change.
type Value[T Word] struct {
	race numberRace
	p    *T
	m    *mapping
	mu   *robust.Lock
}

// numberRace is what the race detector needs to know about a number under a lock.
type numberRace struct {
	token  race.Token // of the lock
	shadow race.Shadow
}

// NewValue attaches to the number of that name, or makes it with the value init.
// The errors are those of NewRawValue. If the process can get no lease for its
// locks, the error says why; the raw types still work.
func NewValue[T Word](s *Segment, name string, init T) (Value[T], error) {
	return newValue(s, format.Label{Name: name}, init)
}

func newValue[T Word](s *Segment, l format.Label, init T) (Value[T], error) {
	m, r, err := placeOne(s, l, format.Locked, init)
	if err != nil {
		return Value[T]{}, err
	}
	return lockedValue(rawValueAt[T](m, r.Elements()), m.lockOf(r)), nil
}

func lockedValue[T Word](raw RawValue[T], mu *robust.Lock) Value[T] {
	return Value[T]{numberRace{mu.Token, raw.shadow}, raw.p, raw.m, mu}
}

// Synchronized returns v under the lock mu, so that several values can share one
// lock. It panics if mu is nil, or if v is in foreign memory and not aligned to
// its size, because one store cannot write it then. If v is in a read-only
// attachment and mu is not, Store crashes the program (SIGSEGV), as Set does.
//
// Source: multiprocessing.sharedctypes.synchronized.
func Synchronized[T Word](v RawValue[T], mu *Mutex) Value[T] {
	if mu == nil {
		panic("shm: Synchronized with a nil Mutex")
	}
	if !mem.SelfAligned(v.p) {
		panic(fmt.Sprintf("shm: Synchronized: a %T of %d bytes is not aligned to its size", *v.p, mem.Size[T]()))
	}
	return lockedValue(v, &mu.lock)
}

// Load returns the number. It does not wait.
func (v Value[T]) Load() T {
	x := mem.Load(v.p)
	v.race.token.Acquire()
	runtime.KeepAlive(v.m)
	return x
}

// Store sets the number.
func (v Value[T]) Store(x T) {
	store(v.race, v.p, v.mu, x)
	runtime.KeepAlive(v.m)
}

// Swap sets the number and returns the old one.
func (v Value[T]) Swap(x T) (old T) {
	old = swap(v.race, v.p, v.mu, x)
	runtime.KeepAlive(v.m)
	return old
}

// CompareAndSwap stores x if the number is old, and reports whether it did. It
// compares bits: a NaN equals itself, and 0 differs from -0.
func (v Value[T]) CompareAndSwap(old, x T) (swapped bool) {
	swapped = compareAndSwap(v.race, v.p, v.mu, old, x)
	runtime.KeepAlive(v.m)
	return swapped
}

// Add adds delta and returns the sum. Integers wrap around.
func (v Value[T]) Add(delta T) (sum T) {
	sum = add(v.race, v.p, v.mu, delta)
	runtime.KeepAlive(v.m)
	return sum
}

// Update calls f with the number, stores the result and returns it. It holds the lock
// while it calls f. If f panics or calls runtime.Goexit, Update releases the lock and the number
// stays as it was.
func (v Value[T]) Update(f func(T) T) (x T) {
	x = update(v.race, v.p, v.mu, f)
	runtime.KeepAlive(v.m)
	return x
}

// The functions below are the verbs of Value and Array. They take the parts of the
// handle one by one. A function stores an argument of several words on the stack at
// its start, and the instruction that takes the lock would wait for those stores.
// They keep the mapping of mu alive, which is the one of p unless Synchronized made
// the Value.

func store[T Word](told numberRace, p *T, mu *robust.Lock, x T) {
	mu.Acquire()
	put(told, p, x)
	if left := mu.Free(); left != 0 {
		mu.Finish(left)
	}
	runtime.KeepAlive(mu)
}

func swap[T Word](told numberRace, p *T, mu *robust.Lock, x T) (old T) {
	mu.Acquire()
	old = *p
	put(told, p, x)
	if left := mu.Free(); left != 0 {
		mu.Finish(left)
	}
	runtime.KeepAlive(mu)
	return old
}

func compareAndSwap[T Word](told numberRace, p *T, mu *robust.Lock, old, x T) (swapped bool) {
	mu.Acquire()
	if mem.Bits(*p) == mem.Bits(old) {
		put(told, p, x)
		swapped = true
	}
	if left := mu.Free(); left != 0 {
		mu.Finish(left)
	}
	runtime.KeepAlive(mu)
	return swapped
}

func add[T Word](told numberRace, p *T, mu *robust.Lock, delta T) (sum T) {
	mu.Acquire()
	sum = *p + delta
	put(told, p, sum)
	if left := mu.Free(); left != 0 {
		mu.Finish(left)
	}
	runtime.KeepAlive(mu)
	return sum
}

func update[T Word](told numberRace, p *T, mu *robust.Lock, f func(T) T) (x T) {
	mu.Acquire()
	held := mu
	defer func() {
		if held != nil { // f did not return
			held.UnlockAfter(false)
		}
	}()
	x = f(*p)
	put(told, p, x)
	held = nil
	if left := mu.FreeAfter(); left != 0 {
		mu.Finish(left)
	}
	runtime.KeepAlive(mu)
	return x
}

// put stores x. The caller holds the lock.
func put[T Word](told numberRace, p *T, x T) {
	told.shadow.Write()
	told.token.Release() // a Load may see the number before the unlock
	mem.Store(p, x)
	killpoint.At(killpoint.NumberStored)
}

// Await sleeps until ok returns true for the number, and then returns the number. If
// ctx is done first, it returns the number last seen and an error that wraps the
// context's. It calls ok again after any process has changed the number with the
// methods of this type, or has unlocked its Mutex. ok must not change the value.
//
// An idle waiter costs next to nothing for the first 1,000 or so different values
// that a process awaits (16 before Linux 5.16). Beyond that, one goroutine looks
// at the values a hundred times a second. A read-only attachment cannot announce
// that it waits, so it looks four times a second.
func (v Value[T]) Await(ctx context.Context, ok func(T) bool) (T, error) {
	var x T
	version := func() uint64 { return mem.Bits(mem.Load(v.p)) }
	err := v.mu.Await(ctx, version, func() bool {
		x = v.Load()
		return ok(x)
	})
	return x, err
}

// Mutex returns the lock that Store, Swap, CompareAndSwap, Add and Update take.
// While you hold it, use Raw: those methods would be a self-deadlock.
func (v Value[T]) Mutex() *Mutex { return mutexOf(v.mu) }

// Raw returns the number without its lock. Load sees what Set has stored immediately,
// not only after the unlock.
func (v Value[T]) Raw() RawValue[T] { return RawValue[T]{v.race.shadow, v.p, v.m} }
