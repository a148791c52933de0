package robust

import (
	"context"
	"runtime"
	"sync/atomic"

	"example.org/shm/internal/errs"
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
	opening := l.party.opening()
	l.mustBeOpen()
	if l.lockedAtOnce() {
		return
	}
	if err := l.lockSlow(context.Background(), opening); err != nil {
		panic(l.closed(err))
	}
}

// LockContext is Lock with a limit: when ctx is done it returns the context's
// error, and the lock is not held. If the party is shut meanwhile, it returns
// errs.Closed.
func (l *Lock) LockContext(ctx context.Context) error {
	opening := l.party.opening()
	l.mustBeOpen()
	return l.lockContext(ctx, opening)
}

// AcquireContext is LockContext for the verbs of values, which go on after Shut.
func (l *Lock) AcquireContext(ctx context.Context) error { return l.lockContext(ctx, goesOn) }

func (l *Lock) lockContext(ctx context.Context, opening uint32) error {
	if err := ctx.Err(); err != nil {
		return errs.Wrap(err, "locking %q", l.name)
	}
	if l.cell.Word.CompareAndSwap(0, l.id) {
		killpoint.At(killpoint.LockedContext)
		l.Token.Acquire()
	} else if err := l.lockSlow(ctx, opening); err == errs.Closed {
		return l.closed(err)
	} else if err != nil {
		return errs.Wrap(err, "locking %q", l.name)
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
		l.Finish(left, true)
	}
	runtime.KeepAlive(l)
}

// UnlockAfter is Unlock after a function of the user's, which may have called
// Abandoned. If it did not return normally, the mark stays, and nothing happens if it has
// released the lock itself.
func (l *Lock) UnlockAfter(finished bool) { l.unlockAfter(finished, true) }

// ReleaseAfter is UnlockAfter of a lock under which nothing was changed: it wakes
// nobody that awaits a change.
func (l *Lock) ReleaseAfter(finished bool) { l.unlockAfter(finished, false) }

func (l *Lock) unlockAfter(finished, changed bool) {
	if !finished && !l.holds() { // a panic goes on, or the goroutine ends: the function has released the lock before
		return
	}
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
	l.Finish(held, changed)
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
//		l.Finish(left, true)
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
// wakes those that await a change, if there was one.
//
//go:noinline
func (l *Lock) Finish(left uint32, changed bool) {
	switch left {
	case answered:
		l.unlockAfter(true, changed)
		return
	case held:
		l.Release()
	}
	if changed {
		wait.Changed(l.change)
	}
	runtime.KeepAlive(l)
}

// MustHold panics, and names the verb, if a function of the user's has released the lock under
// which it ran.
func (l *Lock) MustHold(verb string) {
	if !l.holds() {
		l.mustOwn(verb)
	}
}

// holds reports whether this process holds the lock.
func (l *Lock) holds() bool { return atomic.LoadUint32(l.word)&format.OwnerMask == l.id }

// Awaited reports whether somebody may await a change, so that it pays to find out
// whether there is one.
func (l *Lock) Awaited() bool { return atomic.LoadUint32(l.changed)&format.Awaited != 0 }

// Release releases the lock, and wakes waiters but not those that await a change.
func (l *Lock) Release() {
	if instrumented || !atomic.CompareAndSwapUint32(l.word, l.id, 0) {
		l.unlockSlow()
	}
}

// Await sleeps until ok is true of what the lock guards, ctx is done, or the party
// is shut. version changes with what ok looks at.
func (l *Lock) Await(ctx context.Context, version func() uint64, ok func() bool) error {
	opening := l.party.opening()
	err := l.group.Wait(ctx, (*mapping)(l), l.change, version, func() (bool, error) {
		if ok() {
			return true, nil
		}
		return false, l.party.over(opening)
	})
	if err != nil {
		return errs.Wrap(err, "awaiting %q in %s", l.name, l.party.Path())
	}
	return nil
}

// Over returns the error with which a wait that begins now ends at once: the context's,
// or errs.Closed if the party is shut. Otherwise it returns nil.
func (l *Lock) Over(ctx context.Context) error {
	err := ctx.Err()
	if err == nil && atomic.LoadUint32(l.shut) != 0 {
		err = errs.Closed
	}
	if err != nil {
		return errs.Wrap(err, "awaiting %q in %s", l.name, l.party.Path())
	}
	return nil
}

// Watch returns a function that reports whether ctx is done, or the party shut,
// since the call.
func (l *Lock) Watch(ctx context.Context) (over func() bool) {
	opening := l.party.opening()
	return func() bool { return ctx.Err() != nil || l.party.over(opening) != nil }
}
