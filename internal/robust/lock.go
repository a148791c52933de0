// Package robust is the lock: between processes, and between the goroutines of
// each. It survives the death of its holder.
//
// A [Lock] is this process's side of one lock cell in shared memory. A [Party] is
// one mapping as a holder of locks: its id, its lease, and the watches of the
// owners for which its goroutines wait. A [Table] has the one Lock of each place
// in a mapping.
//
// The package may import lease, wait, mem, sys, format, race, errs and killpoint.
// lock.go has the fast paths. slow.go has the rest, and the invariants that hold
// while goroutines wait. docs/FORMAT.md describes the protocol for other languages,
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
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/wait"
)

// instrumented reports whether this build tells a kill point or the race detector
// about each lock.
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

// Lock is this process's side of a lock in shared memory. Table.Get makes it. It is
// safe for concurrent use, and must not be copied.
//
// The fast paths use the first fields. They are plain words, because the functions
// of package sync/atomic cost less of the inlining budget than its types do.
type Lock struct {
	word    *uint32    // of the cell
	shut    *uint32    // of the party
	changed *uint32    // the change word, also in a read-only mapping
	id      uint32     // of the mapping; the holder writes it into the word
	asked   bool       // Abandoned told the holder true; guarded by the lock
	Token   race.Token // for readers that do not take the lock
	Outer   any        // what the caller keeps beside the lock

	cell   *format.LockCell // neverFree in a read-only mapping
	change *format.ChangeWord
	party  *Party
	off    int64
	name   string
	queue  queue
	group  wait.Group // goroutines that await a change of what the lock guards
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
		l.cell, l.change, l.id, l.party, l.off, l.name, l.Token = cell, &cell.Change, p.ID(), p, off, name, token
		if p.ReadOnly() {
			l.cell = neverFree
		}
		l.word, l.shut, l.changed = mem.Plain32(&l.cell.Word), mem.Plain32(&p.shut), mem.Plain32(&cell.Change.Word)
		t.byOff[off] = l
	}
	return l
}

// Name returns the name of the value that the lock guards.
func (l *Lock) Name() string { return l.name }

// Lock takes the lock, and waits for it. It panics with errs.Closed after Shut,
// and with errs.ReadOnly in a read-only mapping. It is inlined.
func (l *Lock) Lock() {
	if instrumented || !atomic.CompareAndSwapUint32(l.word, atomic.LoadUint32(l.shut), l.id) {
		l.lockOpen()
	}
	runtime.KeepAlive(l)
}

// lockOpen is Lock if the word is not free, or must not be taken.
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
	if left := l.FreeAfter(); left != 0 {
		l.Finish(left)
	}
	runtime.KeepAlive(l)
}

// UnlockAfter is Unlock after a function of the user's, which may have called
// Abandoned. If it did not return normally, the mark stays.
func (l *Lock) UnlockAfter(finished bool) {
	if l.asked {
		// The lock is still held here. If a process dies between Abandoned and
		// Unlock, the mark stays for the next holder.
		l.mustOwn("unlock")
		l.asked = false
		if finished {
			l.cell.Abandoned.Store(0)
			killpoint.At(killpoint.AbandonedCleared)
		}
	}
	l.Finish(held)
}

// Abandoned reports whether an earlier holder died, panicked or exited inside.
// It panics if this process does not hold the lock. It returns true to every later
// holder, until one calls it and then unlocks.
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
// word and nothing else, and makes no system call. It is inlined.
func (l *Lock) Acquire() {
	if instrumented || !atomic.CompareAndSwapUint32(l.word, 0, l.id) {
		l.lockWait()
	}
}

// What Free leaves to Finish.
const (
	awaited  = format.Awaited // the lock is free, and a goroutine awaits a change
	held     = 2              // the lock is still held: there are waiters
	answered = 4              // the lock is still held, and the mark that Abandoned told of is to be cleared
)

// Free releases the lock, unless there are waiters, and returns what is left to do.
// A method that changes a value ends with
//
//	if left := l.Free(); left != 0 {
//		l.Finish(left)
//	}
//
// which the compiler inlines except for Finish. It looks for goroutines that await
// a change after the release: they set their bit before they look at the value.
func (l *Lock) Free() (left uint32) {
	if instrumented || !atomic.CompareAndSwapUint32(l.word, l.id, 0) {
		return held
	}
	return atomic.LoadUint32(l.changed) & format.Awaited
}

// FreeAfter is Free after a function of the user's, which may have called
// Abandoned.
func (l *Lock) FreeAfter() (left uint32) {
	if l.asked {
		return answered
	}
	return l.Free()
}

// Finish does what Free or FreeAfter has left to do: it releases the lock, and
// wakes those that await a change.
//
//go:noinline
func (l *Lock) Finish(left uint32) {
	switch left {
	case answered:
		l.UnlockAfter(true)
		return
	case held:
		l.Release()
	}
	wait.Changed(l.change)
	runtime.KeepAlive(l)
}

// Release releases the lock, and wakes waiters but not those that await a change.
func (l *Lock) Release() {
	if instrumented || !atomic.CompareAndSwapUint32(l.word, l.id, 0) {
		l.unlockSlow()
	}
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
