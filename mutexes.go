package shm

import (
	"context"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/robust"
)

// Mutexes is a fixed number of locks in shared memory, each of which is a Mutex. Use them
// with LockAny as numbers of workers or as claims on jobs: the process that holds a lock
// has that number, and if it dies, the next process that asks gets it.
//
//	place, err := places.LockAny(ctx)
//	if err != nil {
//		return err
//	}
//	defer places.At(place).Unlock()
//	if places.At(place).Abandoned() {
//		// The worker that had the place died. Put its work in order.
//	}
//
// A Mutexes is a pointer, and may be copied. What is said of a Mutex after Close and in
// a read-only attachment is true of each of these.
//
// Source: multiprocessing.sharedctypes has no counterpart.
type Mutexes struct{ s *mutexes }

type mutexes struct {
	in    *Segment
	m     *mapping
	name  string
	first int64 // offset of the first cell
	cells []format.LockCell
	locks lazily[Mutex]
	set   *robust.Set
}

// NewMutexes attaches to the locks of that name, or makes n of them. If n is 0 it takes
// the number found, and if there are no such locks the error wraps fs.ErrNotExist. The
// other errors are those of NewValue.
func NewMutexes(s *Segment, name string, n int) (Mutexes, error) {
	return newMutexes(s, format.Label{Name: name}, n)
}

func newMutexes(s *Segment, l format.Label, n int) (Mutexes, error) {
	m, r, err := s.placeLong(format.Shape{Label: l, Access: format.Locked, Kind: format.KindMutex}, n)
	if err != nil {
		return Mutexes{}, err
	}
	ms := Mutexes{&mutexes{
		in: s, m: m, name: l.Name, first: r.Data,
		cells: mem.Slice[format.LockCell](&m.region, r.Data, int(r.Count)),
		locks: newLazily[Mutex](int(r.Count)),
	}}
	all := *ms.s // for the Set, which lives as long as the mapping, without the Segment
	all.in = nil
	lock := func(i int) *robust.Lock { return &Mutexes{&all}.At(i).lock }
	ms.s.set = m.locks.Set(&m.party, ms.s.cells, r.Data, l.Name, lock)
	return ms, nil
}

// Len returns the number of locks.
func (ms Mutexes) Len() int { return len(ms.s.cells) }

// At returns lock i. All calls in one process return the same Mutex for the same i. The
// first one allocates it. It panics as a slice does if i is out of range.
func (ms Mutexes) At(i int) *Mutex {
	s := ms.s
	_ = &s.cells[i]
	return s.locks.get(i, func() *Mutex {
		return mutexOf(s.m.lockAt(s.first+format.Line*int64(i), partName(s.name, i)))
	})
}

// LockAny takes the lowest lock that is free or whose owner is dead, waits if there is
// none, and returns its number. At(i).Abandoned tells whether the owner died. To find
// the lowest one it asks the system about each process that holds a lower one: some
// microseconds each.
//
// If it waits, an unlock in any process wakes it at once, and so does the death of an
// owner, as far as the system reports it: on Linux, of up to 32 owners in the pid
// namespace of this process. Other deaths it finds out by looking at the leases, every
// 4 ms, or less often if there are so many that it would take more than a fiftieth of a
// processor. An unlock that promises nothing has changed, such as that of an
// UpdateContext which was refused, wakes nobody; LockAny finds such a lock within a
// second. Of a thousand locks, or without FUTEX_WAITV (Linux 5.16), it looks at the
// rest a hundred times a second. Waiting keeps no thread of its own.
//
// The goroutines of a process that wait get locks in the order in which they came;
// between processes there is no order. LockAny does not wait behind those that wait for
// one lock by Lock, but leaves them a lock that is reserved for them.
//
// If ctx is done before a lock is taken, the error wraps the context's. If Close comes
// first, it wraps ErrClosed, and if another program has cut the file off, ErrFormat.
// After Close, and in a read-only attachment, LockAny panics as Lock does.
func (ms Mutexes) LockAny(ctx context.Context) (i int, err error) {
	err = ms.s.m.region.Guarded(func() (err error) { i, err = ms.s.set.LockAny(ctx); return err })
	return i, err
}

// Owner returns the process that holds lock i, and false if none does. The process may
// be dead: then the lock goes to the next that asks. It panics as a slice does if i is
// out of range.
func (ms Mutexes) Owner(i int) (Process, bool) {
	owner := robust.OwnerOf(&ms.s.cells[i])
	if owner == 0 {
		return Process{}, false
	}
	return ms.s.in.process(ms.s.m, owner), true
}
