package shm

import (
	"context"
	"iter"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/robust"
)

// Mutex is a lock between processes, and between the goroutines of each. It is a
// sync.Locker. It is not recursive, and any goroutine may unlock it.
//
// A Mutex survives the death of its holder. If a process is killed while it holds
// the lock, the next process that asks for it, or already waits, gets it, and
// Abandoned returns true. A process that lives never loses the lock, however long
// it holds it, even while it is stopped. The proof of life is a file lock, which
// the kernel drops when it closes the files of a dead process. It does so after
// it has freed the memory of the process (about 55 ms a GiB) and written a core
// dump.
//
// Waiting takes a bounded number of threads, whatever the number of goroutines. A
// process that unlocks and locks again at once cannot starve another one.
//
// After Close of the segment a held lock stays held, Unlock works, and Lock panics
// with ErrClosed. In a read-only attachment Lock panics with ErrReadOnly. If several
// Segments of this process have the file open, what is said here of Close is said of
// the last of them.
//
// Source: futex(2), and fcntl(2) on open file description locks. docs/FORMAT.md
// describes the protocol, and docs/model has a model of it.
type Mutex struct {
	lock robust.Lock
	m    *mapping
}

// NewMutex returns the lock of that name, or makes it. All calls in one process
// return the same Mutex for the same place in memory. The errors are those of
// NewValue.
func NewMutex(s *Segment, name string) (*Mutex, error) {
	return newMutex(s, format.Label{Name: name})
}

func newMutex(s *Segment, l format.Label) (*Mutex, error) {
	m, r, err := s.place(format.Shape{Label: l, Access: format.Locked, Kind: format.KindMutex}, nil)
	if err != nil {
		return nil, err
	}
	return mutexOf(m.lockOf(r)), nil
}

// lockOf returns the lock of a record that has one.
func (m *mapping) lockOf(r *format.Record) *robust.Lock { return m.lockAt(r.Data, r.Name) }

// lockAt returns the lock whose cell is at off, one of the value of that name.
func (m *mapping) lockAt(off int64, name string) *robust.Lock {
	cell := mem.At[format.LockCell](&m.region, off)
	return m.locks.Get(&m.party, cell, off, name, m.file.cells.Token(off), func() *robust.Lock {
		mu := &Mutex{m: m}
		mu.lock.Outer = mu
		return &mu.lock
	})
}

// mutexOf returns the Mutex around a lock that lockOf has made.
func mutexOf(l *robust.Lock) *Mutex { return l.Outer.(*Mutex) }

// Lock takes the lock, and waits for it. It panics with ErrClosed after Close of
// the segment, also if it waits at that time, and with ErrReadOnly in a read-only
// attachment. LockContext and TryLock do the same, except that Close ends a
// LockContext that waits with an error.
func (mu *Mutex) Lock() { mu.lock.Lock() }

// LockContext is Lock with a limit. If ctx is done before the lock is taken, it
// returns an error that wraps the context's, and the lock is not held. If Close comes
// first, the error wraps ErrClosed. If another program has cut the file off, it wraps
// ErrFormat.
func (mu *Mutex) LockContext(ctx context.Context) error {
	return mu.m.region.Guarded(func() error { return mu.lock.LockContext(ctx) })
}

// TryLock takes the lock if it is free, or if its owner is dead, and reports
// whether it did. It does not wait.
func (mu *Mutex) TryLock() bool { return mu.lock.TryLock() }

// Unlock releases the lock. If this process does not hold it, Unlock panics and
// writes nothing.
func (mu *Mutex) Unlock() { mu.lock.Unlock() }

// Abandoned reports whether an earlier holder died, panicked or exited while it
// held the lock, so that what the lock guards may be half changed. Call it while
// you hold the lock: it panics if this process does not hold it. It returns true to
// every later holder, until one calls Abandoned and then unlocks. Load, Store, Add
// and Update do not change what it returns.
func (mu *Mutex) Abandoned() bool { return mu.lock.Abandoned() }

// changes is the method Changes of the types with a lock mu. look returns the newest
// value with its number, or the number seen, with the value last seen, if there is no
// newer one. The first time seen is 0; a value with the number 0 exists all the same.
// guarded calls a function that touches the memory.
func changes[T any](ctx context.Context, guarded func(func() error) error, mu *robust.Lock, version func() uint64, look func(seen uint64, last T) (uint64, T)) iter.Seq2[uint64, T] {
	return func(yield func(uint64, T) bool) {
		over := mu.Watch(ctx)
		var n uint64
		var x T
		for first := true; !over(); first = false {
			err := guarded(func() error {
				return mu.Await(ctx, version, func() bool {
					if over() { // Await may have begun after a Close and a new Open
						return true
					}
					seen := n
					n, x = look(seen, x)
					return first || n != seen
				})
			})
			if err != nil || over() || !yield(n, x) {
				return
			}
		}
	}
}

// afterFault ends a change that has panicked with cause, and returns what
// Region.Faulted does. If the lock is held, it is released, provided that its own
// memory is there.
func (mu *Mutex) afterFault(held, old bool, cause any) error {
	if held {
		_ = mu.m.region.Guarded(func() error { mu.lock.Release(); return nil })
	}
	return mu.m.region.Faulted(old, cause)
}
