package shm

import (
	"context"
	"fmt"
	"iter"
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
// A Value works after Close of its segment, but nothing is awaited any more. In a
// read-only attachment Load, Await and Changes work, and the other methods panic with
// ErrReadOnly.
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
// while it calls f. If f panics or calls runtime.Goexit, Update releases the lock and
// the number stays as it was. A change that leaves all bits as they were, by whatever
// method, wakes nobody that awaits one.
func (v Value[T]) Update(f func(T) T) (x T) {
	x = update(v.race, v.p, v.mu, f)
	runtime.KeepAlive(v.m)
	return x
}

// UpdateContext is Update that can be given up, and refused. If ctx is done before the
// lock is taken, the error wraps the context's and f was not called; ctx does not
// limit f. If f returns an error, nothing is changed, nobody is woken, and
// UpdateContext returns the error as it is. With any error x is the number as it
// stands. The error wraps ErrFormat if another program has cut the file off.
func (v Value[T]) UpdateContext(ctx context.Context, f func(T) (T, error)) (x T, err error) {
	err = v.guarded(func() (err error) {
		x, err = updateContext(ctx, v.race, v.p, v.mu, f)
		return err
	})
	runtime.KeepAlive(v.m)
	return x, err
}

// StoreContext is Store that can be given up: if ctx is done before the lock is taken,
// nothing is changed and the error wraps the context's.
func (v Value[T]) StoreContext(ctx context.Context, x T) error {
	_, err := v.UpdateContext(ctx, func(T) (T, error) { return x, nil })
	return err
}

// The functions below are the verbs of Value and Array. They take the parts of the
// handle one by one. A function stores an argument of several words on the stack at
// its start, and the instruction that takes the lock would wait for those stores.
// They keep the mapping of mu alive, which is the one of p unless Synchronized made
// the Value.

func store[T Word](told numberRace, p *T, mu *robust.Lock, x T) {
	mu.Acquire()
	old := *p
	put(told, p, x)
	if left := mu.Free(); left != 0 {
		mu.Finish(left, differ(old, x))
	}
	runtime.KeepAlive(mu)
}

func swap[T Word](told numberRace, p *T, mu *robust.Lock, x T) (old T) {
	mu.Acquire()
	old = *p
	put(told, p, x)
	if left := mu.Free(); left != 0 {
		mu.Finish(left, differ(old, x))
	}
	runtime.KeepAlive(mu)
	return old
}

func compareAndSwap[T Word](told numberRace, p *T, mu *robust.Lock, old, x T) (swapped bool) {
	mu.Acquire()
	if !differ(*p, old) {
		put(told, p, x)
		swapped = true
	}
	if left := mu.Free(); left != 0 {
		mu.Finish(left, swapped && differ(old, x))
	}
	runtime.KeepAlive(mu)
	return swapped
}

func add[T Word](told numberRace, p *T, mu *robust.Lock, delta T) (sum T) {
	mu.Acquire()
	old := *p
	sum = old + delta
	put(told, p, sum)
	if left := mu.Free(); left != 0 {
		mu.Finish(left, differ(old, sum))
	}
	runtime.KeepAlive(mu)
	return sum
}

func update[T Word](told numberRace, p *T, mu *robust.Lock, f func(T) T) (x T) {
	mu.Acquire()
	held := mu
	defer func() {
		if held != nil { // f did not return
			held.ReleaseAfter(false)
		}
	}()
	old := *p
	x = f(old)
	mu.MustHold("Update")
	put(told, p, x)
	held = nil
	if left := mu.FreeAfter(); left != 0 {
		mu.Finish(left, differ(old, x))
	}
	runtime.KeepAlive(mu)
	return x
}

func updateContext[T Word](ctx context.Context, told numberRace, p *T, mu *robust.Lock, f func(T) (T, error)) (x T, err error) {
	if err := mu.AcquireContext(ctx); err != nil {
		return mem.Load(p), err
	}
	returned, changed := false, false
	defer func() {
		if changed {
			mu.UnlockAfter(returned)
		} else {
			mu.ReleaseAfter(returned)
		}
		runtime.KeepAlive(mu)
	}()
	old := *p
	x, err = f(old)
	if err == nil {
		mu.MustHold("UpdateContext")
	}
	returned = true
	if err != nil {
		return old, err
	}
	put(told, p, x)
	changed = differ(old, x)
	return x, nil
}

// differ reports whether two numbers have different bits.
func differ[T Word](a, b T) bool { return mem.Bits(a) != mem.Bits(b) }

// put stores x. The caller holds the lock.
func put[T Word](told numberRace, p *T, x T) {
	told.shadow.Write(0, int(mem.Size[T]()))
	told.token.Release() // a Load may see the number before the unlock
	mem.Store(p, x)
	killpoint.At(killpoint.NumberStored)
}

// Await sleeps until ok returns true for the number, and then returns the number. It
// calls ok again after any process has changed the number with the methods of this
// type, or has unlocked its Mutex. ok must not change the value.
//
// If ctx is done first, Await returns the number last seen and an error that wraps the
// context's. Close of the segment ends it likewise, with ErrClosed; if several Segments
// of this process have the file open, the last Close does. The error wraps ErrFormat if
// another program has cut the file off.
//
// An idle waiter costs next to nothing for the first 10,000 or so different values
// that a process awaits (16 before Linux 5.16), with a thread for each 127 of them.
// Beyond that, one goroutine looks at the values a hundred times a second. A read-only
// attachment cannot announce that it waits. It asks a process that attached for writing
// to do so, in Go or in Python, or in C if it calls shm_answer. If no process answers, as
// before Linux 5.16, Await looks at the value four times a second.
//
// Await learns nothing of the segment's name. If the name is removed and another
// segment gets it, nothing changes here any more: see Segment.Replaced.
func (v Value[T]) Await(ctx context.Context, ok func(T) bool) (T, error) {
	var x T
	err := v.guarded(func() error {
		return v.mu.Await(ctx, v.version, func() bool {
			x = v.Load()
			return ok(x)
		})
	})
	return x, err
}

// Changes yields the number as it stands, and then each newer one, until ctx is done,
// or a Close ends it as it ends Await. It waits in between as Await does. The body of
// the loop may take its time, and change the value: Changes then yields the newest
// number and skips those before it. It also skips a change after which the number has
// the bits that were yielded last.
//
// A Value has no counter of its changes in memory. So the first of the two results
// counts what this loop has yielded: 1, 2, 3. It means nothing to another loop. (The
// number of a commit of a Struct or a String does.)
func (v Value[T]) Changes(ctx context.Context) iter.Seq2[uint64, T] {
	return changes(ctx, v.guarded, v.mu, v.version, func(seen uint64, last T) (uint64, T) {
		x := v.Load()
		if seen == 0 || differ(x, last) {
			seen++
		}
		return seen, x
	})
}

// version changes with the number.
func (v Value[T]) version() uint64 { return mem.Bits(mem.Load(v.p)) }

// guarded calls f, which touches the number and its lock, and returns an error if one of
// them is in a file that was cut off. They may be in two files: see Synchronized.
func (v Value[T]) guarded(f func() error) error {
	lock := mutexOf(v.mu).m
	if v.m == lock {
		return lock.region.Guarded(f)
	}
	return lock.region.Guarded(func() error { return v.m.region.Guarded(f) })
}

// Mutex returns the lock that Store, Swap, CompareAndSwap, Add and Update take.
// While you hold it, use Raw: those methods would be a self-deadlock.
func (v Value[T]) Mutex() *Mutex { return mutexOf(v.mu) }

// Raw returns the number without its lock. Load sees what Set has stored immediately,
// not only after the unlock.
func (v Value[T]) Raw() RawValue[T] { return RawValue[T]{v.race.shadow, v.p, v.m} }
