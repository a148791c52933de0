package shm

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Mutex is a lock between processes, and between the goroutines of each: a
// sync.Locker that survives the death of whoever holds it. It is not recursive,
// and not tied to the goroutine that locked it.
//
// A process that is killed with the lock held is followed by the next that asks
// for it or already waits; Abandoned tells it so. A process that lives is never
// robbed, however long it holds the lock and even while it is stopped. The
// proof of life is a file lock, which the kernel drops when the process's files
// are closed: after its memory has been given back (some 55 ms a GiB) and a core
// dump has been written.
//
// Waiting costs a bounded number of threads whatever the number of goroutines,
// and a process that unlocks and locks again at once cannot starve another.
//
// After Close of the segment Unlock still works, and the lock stays held until
// then; Lock panics with ErrClosed. In a read-only attachment Lock panics with
// ErrReadOnly.
//
// Source: futex(2), fcntl(2) on open file description locks; the protocol is
// described in docs/FORMAT.md and modelled in docs/model.
type Mutex struct {
	cell   *lockCell   // deadlock in a read-only mapping
	change *changeWord // in the cell, wherever it may be read
	id     uint32      // of the mapping, written into the word by who locks
	m      *mapping
	off    int64
	name   string
	token  raceToken
	asked  bool // the holder was told true by Abandoned; guarded by the lock
	queue  queue
	lobby  lobby // who awaits a change of what the lock guards
}

// lockCell is a lock in shared memory, a cache line of its own with the number
// that it guards, if that is one.
type lockCell struct {
	word      atomic.Uint32 // owner's id, wordL, wordW
	change    changeWord    // moves when somebody awaits a change and there is one
	probed    atomic.Int64  // when the owner's lease was last looked at, CLOCK_MONOTONIC ns
	starve    atomic.Uint32 // somebody has waited long, starveKernel or starveGo: reserve for it
	abandoned atomic.Uint32 // sticky: an owner died, panicked or exited inside
	takeovers atomic.Uint32 // how often a dead owner was replaced, for tools
	extent    atomic.Uint32 // of a published value: bytes of a slot that some program's type reaches
	commit    atomic.Uint64 // of a published value: how many commits; the low bit names the slot
	_         [24]byte      // a locked number is at numberOffset
}

// instrumented says that this build has something to do at each lock.
const instrumented = raceEnabled || killPoints

// The lock word. Nothing else is written by an uncontended Lock and Unlock.
const (
	ownerMask = 1<<30 - 1
	wordL     = 1 << 30 // a goroutine of the owner's process waits in Go
	wordW     = 1 << 31 // somebody waits in the kernel; without an owner: reserved for whoever waited
)

// reset brings a cell that an earlier boot left in order.
func (c *lockCell) reset() {
	if c.word.Load()&ownerMask != 0 {
		c.abandoned.Store(1)
		killPoint(1)
	}
	c.word.Store(0)
	killPoint(2)
	c.probed.Store(0)
	killPoint(3)
	c.starve.Store(0)
	killPoint(4)
}

// NewMutex returns the lock of that name, making it if there is none. All calls
// of one process return the same Mutex for the same place in memory.
func NewMutex(s *Segment, name string) (*Mutex, error) {
	return newMutex(s, label{name: name})
}

func newMutex(s *Segment, l label) (*Mutex, error) {
	m, r, err := s.place(shape{label: l, access: AccessLocked, kind: kindMutex}, nil)
	if err != nil {
		return nil, err
	}
	return m.mutexOf(r), nil
}

// lockTable has the one Mutex of each place in a mapping. A Mutex lives as long
// as its mapping, so that a queue never splits in two.
type lockTable struct {
	mu   sync.Mutex
	byID map[int64]*Mutex // by the cell's offset
}

// deadlock is what a Mutex of a read-only mapping has for a cell: its word is
// never free, so the fast path needs no look at the mapping's mode, and no
// locked instruction touches memory that must not be written.
var deadlock = func() *lockCell {
	c := new(lockCell)
	c.word.Store(ownerMask)
	return c
}()

// mutexOf returns the Mutex of a record that has a lock.
func (m *mapping) mutexOf(r *record) *Mutex {
	m.locks.mu.Lock()
	defer m.locks.mu.Unlock()
	if m.locks.byID == nil {
		m.locks.byID = map[int64]*Mutex{}
	}
	mu := m.locks.byID[r.data]
	if mu == nil {
		cell := at[lockCell](m, r.data)
		mu = &Mutex{cell: cell, change: &cell.change, id: m.id.Load(), m: m, off: r.data, name: r.name, token: m.file.cells.token(r.data)}
		if m.readOnly {
			mu.cell = deadlock
		}
		m.locks.byID[r.data] = mu
	}
	return mu
}

// Lock waits for the lock and takes it. It panics with ErrClosed after Close of the
// segment, and with ErrReadOnly in a read-only attachment, as LockContext and
// TryLock do.
func (mu *Mutex) Lock() {
	mu.mustBeOpen()
	mu.lock()
	runtime.KeepAlive(mu)
}

// LockContext is Lock, given up when ctx is done: then it returns the context's
// error, and the lock is not held.
func (mu *Mutex) LockContext(ctx context.Context) error {
	mu.mustBeOpen()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("shm: locking %q: %w", mu.name, err)
	}
	if mu.cell.word.CompareAndSwap(0, mu.id) {
		killPoint(5)
		mu.token.acquire()
	} else if err := mu.lockSlow(ctx); err != nil {
		return fmt.Errorf("shm: locking %q: %w", mu.name, err)
	}
	runtime.KeepAlive(mu)
	return nil
}

// TryLock takes the lock if it is free, or if its owner is dead, and reports
// whether it did. It does not wait.
func (mu *Mutex) TryLock() bool {
	mu.mustBeOpen()
	if !mu.cell.word.CompareAndSwap(0, mu.id) && !mu.tryLockSlow() {
		return false
	}
	killPoint(6)
	mu.token.acquire()
	runtime.KeepAlive(mu)
	return true
}

// Unlock releases the lock. It panics, and writes nothing, if this process does
// not hold it.
func (mu *Mutex) Unlock() {
	mu.unlockAfter(true)
}

// unlockAfter is Unlock after code of the user's, which may have asked whether
// the lock was abandoned. A holder that did not finish has answered for nothing.
func (mu *Mutex) unlockAfter(finished bool) {
	if mu.asked {
		// Cleared while the lock is still held, and only now: whoever died between
		// being told and unlocking leaves the mark to the next.
		mu.mustOwn("unlock")
		mu.asked = false
		if finished {
			mu.cell.abandoned.Store(0)
			killPoint(7)
		}
	}
	mu.unlock()
	mu.notify()
}

// Abandoned reports whether an earlier holder died, panicked or exited inside,
// so that what the lock guards may be half changed. It is for the holder to
// ask: it panics if this process does not hold the lock. The answer stays true, for whoever holds the lock, until one that was
// told so unlocks; Load, Store, Add and Update neither ask nor clear it.
func (mu *Mutex) Abandoned() bool {
	mu.mustOwn("Abandoned")
	told := mu.cell.abandoned.Load() != 0
	mu.asked = mu.asked || told
	runtime.KeepAlive(mu)
	return told
}

// lock is Lock for this package's own verbs, which go on after Close. The word
// is all that it writes, and no call of the system is made. It is inlined, as
// unlock and notify are; the builds of tests take the long way.
func (mu *Mutex) lock() {
	if instrumented || !mu.cell.word.CompareAndSwap(0, mu.id) {
		mu.lockWait()
	}
}

// unlock releases by a compare-and-swap of exactly this process's own id. Its
// caller then calls notify.
func (mu *Mutex) unlock() {
	if instrumented || !mu.cell.word.CompareAndSwap(mu.id, 0) {
		mu.unlockSlow()
	}
}

// notify wakes those who await a change. It comes after the release, since who
// awaits one sets its bit before it looks.
func (mu *Mutex) notify() {
	if mu.change.word.Load()&awaited != 0 {
		mu.change.wakeAll()
	}
	runtime.KeepAlive(mu)
}

// await sleeps until ok is true of what the lock guards, or ctx is done. version
// changes with what ok looks at.
func (mu *Mutex) await(ctx context.Context, version func() uint64, ok func() bool) error {
	err := mu.lobby.wait(ctx, mu.m, mu.change, version, func() (bool, error) { return ok(), nil })
	if err != nil {
		return fmt.Errorf("shm: awaiting %q: %w", mu.name, err)
	}
	return nil
}

func (mu *Mutex) mustBeOpen() {
	if mu.m.readOnly {
		panic(fmt.Errorf("%w: lock of %q in %s", ErrReadOnly, mu.name, mu.m.path))
	}
	if mu.m.closed.Load() {
		panic(fmt.Errorf("%w: lock of %q in %s", ErrClosed, mu.name, mu.m.path))
	}
}

// mustOwn panics unless this process holds the lock.
func (mu *Mutex) mustOwn(verb string) {
	w := mu.cell.word.Load()
	owner := w & ownerMask
	switch {
	case owner == mu.id && owner != 0:
		return
	case mu.m.readOnly:
		panic(fmt.Errorf("%w: %s of %q in %s", ErrReadOnly, verb, mu.name, mu.m.path))
	case owner == 0:
		panic(fmt.Sprintf("shm: %s of %q, which is not locked (word %#x)", verb, mu.name, w))
	}
	panic(fmt.Sprintf("shm: %s of %q, which process %d holds as id %d; this one is id %d", verb, mu.name, mu.m.table[owner%tableLen].pid, owner, mu.id))
}
