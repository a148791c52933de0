package robust

import (
	"context"
	"runtime"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// The slow paths of a Lock.
//
// Invariants:
//
//   - Only the head of a process's queue competes for the word, and any goroutine
//     on the fast path. The head leaves the queue before its lock returns.
//   - While goroutines queue, one of these holds. The head is awake, or about to
//     be woken. Or this process owns the word, LocalWaiters is set, and the head
//     is parked in Go. Or the head sleeps, and the word has KernelWaiters, or
//     another that slept in the kernel is awake in its place.
//   - So a release wakes one of the kernel's sleepers for all of them, and a
//     waiter that has slept there leaves KernelWaiters in the next word that it
//     takes, that it is granted, or that it sleeps on. A sleeper that gives up
//     wakes another one.
//   - A head to which the word is granted is never asleep in the kernel: heads
//     that park in Go, and their predecessors, set LocalWaiters.

const (
	handOvers   = 8                      // in a row, while another process waits
	localSpin   = 30                     // loads, while a goroutine of this process holds the lock
	firstPause  = 500                    // turns of an empty loop, between two looks at a lock of another process before the sleep; a turn takes about a third of a nanosecond
	lastPause   = 4000                   // each pause is twice the one before
	parkAtMost  = time.Second            // the head, in Go
	queueAtMost = time.Minute            // the rest of the queue; a goroutine that leaves wakes the next, so this only limits a faulty peer
	watchedWait = 4 * time.Second        // in the kernel, with a watch on the owner; where a file was cut off, no wake-up ends it
	turnAtMost  = 500 * time.Millisecond // in the kernel without a watch, while the lock passes from owner to owner
)

// lockWait is LockSlow without a way to give up.
//
//go:noinline
func (l *Lock) lockWait() {
	if l.lockedAtOnce() {
		return
	}
	// Without a context that ends, only a panic leaves it without the lock.
	_ = l.LockSlow(context.Background())
}

// lockedAtOnce is the fast path of a lock in an instrumented build.
func (l *Lock) lockedAtOnce() bool {
	if !instrumented || !l.cell.Word.CompareAndSwap(0, l.id) {
		return false
	}
	killpoint.At(killpoint.LockedUncontended)
	l.Token.Acquire()
	return true
}

// LockSlow takes the lock or returns ctx's error. It does not try the fast path
// first, and goes on after Shut.
func (l *Lock) LockSlow(ctx context.Context) error { return l.lockSlow(ctx, goesOn) }

// lockSlow is LockSlow that returns errs.Closed when the opening is over.
func (l *Lock) lockSlow(ctx context.Context, opening uint32) (err error) {
	if l.party.ReadOnly() {
		l.mustBeOpen()
	}
	defer func() {
		if err == nil {
			l.Token.Acquire()
		}
		runtime.KeepAlive(l)
	}()
	c := l.cell
	w := c.Word.Load()
	switch owner := w & format.OwnerMask; {
	case owner == l.id:
		for i := 0; i < localSpin && w != 0; i++ {
			w = c.Word.Load()
		}
	case owner != 0 && l.takeOver(w, probeEvery):
		return nil
	}
	if w == 0 && c.Word.CompareAndSwap(0, l.id) {
		killpoint.At(killpoint.LockedSlow)
		return nil
	}
	me := takeWaiter(opening)
	returned := false
	defer func() {
		if !returned { // an access of the word has panicked: see mem.Region.Guarded
			l.queue.drop(me)
		}
	}()
	err = l.wait(ctx, me)
	returned = true
	me.discard()
	return err
}

// stop returns the error with which a wait has to end, if it has to.
func (l *Lock) stop(ctx context.Context, me *waiter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.party.over(me.opening)
}

// wait queues, then competes.
func (l *Lock) wait(ctx context.Context, me *waiter) error {
	head := l.queue.join(me)
	for !head {
		me.park(ctx, queueAtMost)
		var granted bool
		if head, granted = l.queue.turn(me); granted {
			return nil
		}
		if err := l.stop(ctx, me); err != nil {
			return l.giveUp(me, err)
		}
	}
	for {
		if err := l.stop(ctx, me); err != nil {
			return l.giveUp(me, err)
		}
		w := l.cell.Word.Load()
		switch owner := w & format.OwnerMask; {
		case owner == 0 && (w == 0 || me.slept): // a reservation is for a waiter that slept in the kernel
			if l.acquire(me, w) {
				return nil
			}
		case owner == l.id:
			if told := w | format.LocalWaiters | me.mark(); told != w && !l.cell.Word.CompareAndSwap(w, told) {
				continue
			}
			killpoint.At(killpoint.LocalWaiterMarked)
			l.queue.askHandOff(me)
			me.park(ctx, parkAtMost)
			if _, granted := l.queue.turn(me); granted {
				return nil
			}
		default: // another process has it, or it is reserved
			if owner != 0 && l.takeOver(w, probeEvery) {
				l.leave(me)
				return nil
			}
			l.sleep(ctx, me, w)
		}
	}
}

// acquire takes a free or reserved word for the head of the queue.
func (l *Lock) acquire(me *waiter, w uint32) bool {
	if !l.cell.Word.CompareAndSwap(w, l.id|w&format.KernelWaiters|me.mark()) {
		return false
	}
	killpoint.At(killpoint.LockedAsHead)
	l.leave(me)
	return true
}

// leave takes the head, which has the lock, out of the queue, and makes sure
// that the unlock wakes the next one.
func (l *Lock) leave(me *waiter) {
	l.queue.mu.Lock()
	if me.slept {
		l.turned = me.turned()
	}
	l.queue.remove(me)
	next := l.queue.head
	l.queue.mu.Unlock()
	if next != nil {
		l.cell.Word.Or(format.LocalWaiters)
		killpoint.At(killpoint.NextWaiterMarked)
	}
}

// giveUp leaves the queue without the lock, unless the lock was handed over
// already. Whatever woke this goroutine, it passes on.
func (l *Lock) giveUp(me *waiter, err error) error {
	q := &l.queue
	q.mu.Lock()
	if me.granted {
		q.mu.Unlock()
		return nil
	}
	if q.remove(me) && q.head != nil {
		q.head.signal()
	}
	q.mu.Unlock()
	if me.slept {
		l.wakeKernel(l.cell.Starve.Load())
	}
	return err
}

// wakeKernel wakes one of the kernel's sleepers. If there is none, a reservation
// serves nobody, unless a waiter sleeps in Go because it found no slot.
func (l *Lock) wakeKernel(starve uint32) {
	word := &l.cell.Word
	if sys.FutexWake(word, 1, sys.AnyBit) == 0 && starve != format.StarveGo && word.CompareAndSwap(format.KernelWaiters, 0) {
		killpoint.At(killpoint.ReservationDropped)
		sys.FutexWake(word, 1, sys.AnyBit) // one that came meanwhile, and sleeps on the reservation
	}
}

// changesSoon looks at a word that another process owns for about three microseconds, and
// reports whether it changes. To sleep and to be woken costs both processes many times that. The
// pauses leave the cache line to the owner, which may take and release the lock in them a
// hundred times.
func (l *Lock) changesSoon(w uint32) bool {
	for pause := firstPause; pause <= lastPause; pause *= 2 {
		for range pause {
		}
		if l.cell.Word.Load() != w {
			return true
		}
	}
	return false
}

// sleep waits for a change of a word that another process owns, or that is
// reserved.
func (l *Lock) sleep(ctx context.Context, me *waiter, w uint32) {
	c := l.cell
	if l.changesSoon(w) {
		return
	}
	if w&format.KernelWaiters == 0 {
		if !c.Word.CompareAndSwap(w, w|format.KernelWaiters) {
			return
		}
		killpoint.At(killpoint.KernelWaiterMarked)
		w |= format.KernelWaiters
	}
	me.slept = true
	owner := w & format.OwnerMask
	me.meets(owner)
	began := sys.Monotonic()
	waited := time.Duration(began - me.since)
	if waited >= wait.Short {
		c.Starve.Store(format.StarveKernel)
		killpoint.At(killpoint.StarvingInKernel)
	}
	if me.bubbled != nil { // it looks again soon, without a watch
		me.bubbled.SleepRemote(ctx, &c.Word, w, l.party.WakeBit(), wait.Short)
		return
	}
	patience := wait.Short
	switch passes := l.turned > 0 || me.changed && waited >= wait.Short; {
	case owner == 0:
	case passes && me.outlasted != owner:
		// Each owner but the last gives a sign of life: its release. So there is nothing to
		// watch, and whoever sleeps longer than the wait should take looks who is the last.
		patience = max(hintedTick, min(2*max(l.turned, waited), turnAtMost))
	case waited >= wait.Short:
		defer l.party.watch(l, me, owner)()
		patience = watchedWait
	}
	if !wait.Kernel(ctx, &c.Word, w, l.party.WakeBit(), patience) {
		if patience > wait.Short {
			c.Starve.Store(format.StarveGo)
			killpoint.At(killpoint.StarvingInGo)
		}
		wait.Poll(ctx, &c.Word, w, me.wake, patience)
	}
	me.outlasted = 0
	if time.Duration(sys.Monotonic()-began) >= patience {
		me.outlasted = owner
	}
}

// unlockSlow releases a word that has LocalWaiters or KernelWaiters, or panics
// if this process does not own it.
func (l *Lock) unlockSlow() {
	c := l.cell
	starve := uint32(0)
	for {
		l.mustOwn("unlock")
		w := c.Word.Load()
		if w&format.LocalWaiters != 0 && l.grant(w) {
			return
		}
		free := uint32(0)
		if w&format.KernelWaiters != 0 {
			// The process that reserves clears starve. If the one that takes the lock
			// cleared it, it could clear the request of another that still starves.
			starve = max(starve, c.Starve.Swap(0))
			killpoint.At(killpoint.StarveCleared)
			if starve != 0 {
				free = format.KernelWaiters
			}
		}
		l.queue.handed = 0
		l.Token.Release()
		if !c.Word.CompareAndSwap(w, free) {
			continue
		}
		killpoint.At(killpoint.Unlocked)
		// Each bit needs its own wake-up, because the waiter of the other bit may
		// have given up.
		if w&format.KernelWaiters != 0 {
			l.wakeKernel(starve)
		}
		if w&format.LocalWaiters != 0 {
			l.wakeHead()
		}
		return
	}
}

// grant hands the word, as it is, to the head of a starving queue.
func (l *Lock) grant(w uint32) bool {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.starving || q.head == nil || w&format.KernelWaiters != 0 && q.handed >= handOvers {
		return false
	}
	q.handed++
	l.Token.Release()
	h := q.head
	h.granted = true
	q.remove(h)
	h.signal()
	return true
}

func (l *Lock) wakeHead() {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if h := l.queue.head; h != nil {
		h.signal()
	}
}
