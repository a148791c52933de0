package robust

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/wait"
)

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
