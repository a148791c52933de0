// Package robust is the lock: between processes, and between the goroutines of
// each. It survives the death of its holder.
//
// A [Lock] is this process's side of one lock cell in shared memory. A [Party] is
// one mapping as a holder of locks: its id, its lease, and the watches of the
// owners for which its goroutines wait. A [Table] has the one Lock of each place
// in a mapping.
//
// The package may import lease, wait, sys, format, race, errs and killpoint.
// lock.go has the fast paths, slow.go the rest, and says what holds while
// goroutines wait. docs/FORMAT.md describes the protocol for other languages,
// and docs/model has a model of it.
//
// Invariants:
//   - Only atomic operations change the lock word. Its own process writes an
//     owner's id, and either that process or a takeover after its death removes
//     it.
//   - A live owner never loses the lock.
//   - A process has one Lock for one place in memory, so that a queue of
//     goroutines is never split in two.
package robust

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/race"
	"example.org/shm/internal/wait"
)

// instrumented reports whether this build has something to do at each lock.
const instrumented = race.Enabled || killpoint.Enabled

// Party is one mapping of a segment as a holder of locks. It lives as long as
// the mapping.
type Party struct {
	lease.Owner
	shut    atomic.Uint32 // 0 while the mapping may take locks, else a word that no lock has
	watches watches
}

// noWord is a value that no lock word ever has: a local waiter without an owner.
const noWord = format.LocalWaiters

// Shut makes the public verbs panic with errs.Closed; Reopen ends that.
func (p *Party) Shut() { p.shut.Store(noWord) }

// Reopen lets the public verbs take locks again.
func (p *Party) Reopen() { p.shut.Store(0) }

// Lock is this process's side of a lock in shared memory. Get of a Table makes
// it. It is safe for concurrent use, and must not be copied.
type Lock struct {
	cell   *format.LockCell   // neverFree in a read-only mapping
	shut   *atomic.Uint32     // of the party
	id     uint32             // of the mapping; the holder writes it into the word
	asked  bool               // Abandoned told the holder true; guarded by the lock
	Token  race.Token         // for who reads without the lock
	change *format.ChangeWord // of the cell, in a read-only mapping too
	party  *Party
	off    int64
	name   string
	queue  queue
	group  wait.Group // goroutines that await a change of what the lock guards
	Outer  any        // what the caller keeps beside the lock
}

// neverFree is the cell of a Lock in a read-only mapping. Its word is never
// free, so the fast path need not ask whether the mapping is read-only, and no
// locked instruction touches memory that must not be written.
var neverFree = func() *format.LockCell {
	c := new(format.LockCell)
	c.Word.Store(format.OwnerMask)
	return c
}()

// Table has the one Lock of each place in a mapping. A Lock lives as long as its
// mapping. The zero value is empty.
type Table struct {
	mu    sync.Mutex
	byOff map[int64]*Lock
}

// Get returns the Lock of the cell at off bytes from the start of the segment.
// The first call for a place makes it: create returns the memory for it.
//
// Preconditions: the party has an id, or is read-only.
func (t *Table) Get(p *Party, cell *format.LockCell, off int64, name string, token race.Token, create func() *Lock) *Lock {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byOff == nil {
		t.byOff = map[int64]*Lock{}
	}
	l := t.byOff[off]
	if l == nil {
		l = create()
		l.cell, l.change, l.shut, l.id, l.party, l.off, l.name, l.Token = cell, &cell.Change, &p.shut, p.ID(), p, off, name, token
		if p.ReadOnly() {
			l.cell = neverFree
		}
		t.byOff[off] = l
	}
	return l
}

// Name returns the name of the value that the lock guards.
func (l *Lock) Name() string { return l.name }

// Lock takes the lock, and waits for it. It panics with errs.Closed after Shut,
// and with errs.ReadOnly in a read-only mapping.
func (l *Lock) Lock() {
	if instrumented || !l.cell.Word.CompareAndSwap(l.shut.Load(), l.id) {
		l.lockOpen()
	}
}

// lockOpen is Lock where the fast path does not suffice.
//
//go:noinline
func (l *Lock) lockOpen() {
	l.mustBeOpen()
	l.lockWait()
}

// LockContext is Lock with a limit: when ctx is done it returns the context's
// error, and the lock is not held.
func (l *Lock) LockContext(ctx context.Context) error {
	l.mustBeOpen()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("shm: locking %q: %w", l.name, err)
	}
	if l.cell.Word.CompareAndSwap(0, l.id) {
		killpoint.At(killpoint.LockedContext)
		l.Token.Acquire()
	} else if err := l.LockSlow(ctx); err != nil {
		return fmt.Errorf("shm: locking %q: %w", l.name, err)
	}
	runtime.KeepAlive(l)
	return nil
}

// TryLock takes the lock if it is free, or if its owner is dead, and reports
// whether it did. It does not wait. It panics as Lock does.
func (l *Lock) TryLock() bool {
	l.mustBeOpen()
	if !l.cell.Word.CompareAndSwap(0, l.id) && !l.tryLockSlow() {
		return false
	}
	killpoint.At(killpoint.TryLocked)
	l.Token.Acquire()
	runtime.KeepAlive(l)
	return true
}

// Unlock releases the lock. It panics, and writes nothing, if this process does
// not hold it.
func (l *Lock) Unlock() {
	if instrumented || l.asked || !l.cell.Word.CompareAndSwap(l.id, 0) {
		l.unlockAsked(true)
	}
	l.Notify()
}

// UnlockAfter is Unlock after a function of the user's, which may have called
// Abandoned. If it did not return normally, the mark stays.
func (l *Lock) UnlockAfter(finished bool) {
	if instrumented || l.asked || !l.cell.Word.CompareAndSwap(l.id, 0) {
		l.unlockAsked(finished)
	}
	l.Notify()
}

// unlockAsked releases the lock. It clears the mark first if Abandoned told the
// holder, and the holder has finished.
//
//go:noinline
func (l *Lock) unlockAsked(finished bool) {
	if l.asked {
		// The lock is still held here. Whoever died between Abandoned and Unlock
		// leaves the mark to the next holder.
		l.mustOwn("unlock")
		l.asked = false
		if finished {
			l.cell.Abandoned.Store(0)
			killpoint.At(killpoint.AbandonedCleared)
		}
	}
	l.Release()
}

// Abandoned reports whether an earlier holder died, panicked or exited inside.
// It panics if this process does not hold the lock. It returns true for every
// later holder until one that has called it unlocks.
func (l *Lock) Abandoned() bool {
	l.mustOwn("Abandoned")
	told := l.cell.Abandoned.Load() != 0
	l.asked = l.asked || told
	runtime.KeepAlive(l)
	return told
}

// Abandon sets the mark: the holder leaves what the lock guards half changed.
func (l *Lock) Abandon() {
	l.cell.Abandoned.Store(1)
	killpoint.At(killpoint.AbandonedMarked)
}

// Acquire is Lock for the verbs of values, which go on after Shut. It writes the
// word and nothing else, and makes no system call. It is inlined, as Release and
// Notify are.
func (l *Lock) Acquire() {
	if instrumented || !l.cell.Word.CompareAndSwap(0, l.id) {
		l.lockWait()
	}
}

// Release releases the lock: it replaces exactly this process's own id. The
// caller then calls Notify.
func (l *Lock) Release() {
	if instrumented || !l.cell.Word.CompareAndSwap(l.id, 0) {
		l.unlockSlow()
	}
}

// Notify wakes those that await a change. It comes after Release: a goroutine
// that awaits a change sets its bit before it looks.
func (l *Lock) Notify() {
	if l.change.Word.Load()&format.Awaited != 0 {
		wait.WakeAll(l.change)
	}
	runtime.KeepAlive(l)
}

// Await sleeps until ok is true of what the lock guards, or ctx is done. version
// changes with what ok looks at.
func (l *Lock) Await(ctx context.Context, version func() uint64, ok func() bool) error {
	err := l.group.Wait(ctx, l.party, l.change, version, func() (bool, error) { return ok(), nil })
	if err != nil {
		return fmt.Errorf("shm: awaiting %q: %w", l.name, err)
	}
	return nil
}

func (l *Lock) mustBeOpen() {
	if l.party.ReadOnly() {
		panic(fmt.Errorf("%w: lock of %q in %s", errs.ReadOnly, l.name, l.party.Path()))
	}
	if l.party.shut.Load() != 0 {
		panic(fmt.Errorf("%w: lock of %q in %s", errs.Closed, l.name, l.party.Path()))
	}
}

// mustOwn panics unless this process holds the lock.
func (l *Lock) mustOwn(verb string) {
	w := l.cell.Word.Load()
	owner := w & format.OwnerMask
	switch {
	case owner == l.id && owner != 0:
		return
	case l.party.ReadOnly():
		panic(fmt.Errorf("%w: %s of %q in %s", errs.ReadOnly, verb, l.name, l.party.Path()))
	case owner == 0:
		panic(fmt.Sprintf("shm: %s of %q, which is not locked (word %#x)", verb, l.name, w))
	}
	panic(fmt.Sprintf("shm: %s of %q, which process %d holds as id %d; this process has id %d", verb, l.name, l.party.Pid(owner), owner, l.id))
}

// Reset puts a cell that an earlier boot of the system left in order. No owner of
// that boot lives.
func Reset(c *format.LockCell) {
	if c.Word.Load()&format.OwnerMask != 0 {
		c.Abandoned.Store(1)
		killpoint.At(killpoint.ResetAbandoned)
	}
	c.Word.Store(0)
	killpoint.At(killpoint.ResetWord)
	c.Probed.Store(0)
	killpoint.At(killpoint.ResetProbed)
	c.Starve.Store(0)
	killpoint.At(killpoint.ResetStarve)
}
