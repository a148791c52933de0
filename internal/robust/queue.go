package robust

import (
	"context"
	"sync"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// queueAfter is a wait in the queue after which the lock is handed on.
const queueAfter = int64(time.Millisecond)

// waiter is a goroutine that waits for a Lock.
type waiter struct {
	next, prev *waiter
	wake       chan struct{} // one token; it may be stale, so the receiver looks at the state again
	since      int64
	opening    uint32 // of the party when the wait began, or goesOn
	granted    bool   // the word was kept for it, and it is out of the queue; guarded by queue.mu
	slept      bool   // in the kernel, or with a watch instead: others may be there still
	first      uint32 // the owner for which it has first slept, 0 if there was none
	changed    bool   // the lock has had another owner since
	outlasted  uint32 // the owner at the beginning of its last sleep, if the time of that one ended
	timer      *time.Timer
	bubbled    *wait.Bubbled // in a bubble of testing/synctest, in place of wake and timer
}

// waiters has waiters for use outside of bubbles.
var waiters = sync.Pool{New: func() any { return &waiter{wake: make(chan struct{}, 1)} }}

// takeWaiter returns a waiter for this goroutine.
func takeWaiter(opening uint32) *waiter {
	now, bubbled := sys.Clock()
	if bubbled {
		return &waiter{bubbled: wait.InBubble(), since: now, opening: opening}
	}
	w := waiters.Get().(*waiter)
	w.granted, w.slept, w.since, w.opening = false, false, now, opening
	w.first, w.changed, w.outlasted = 0, false, 0
	select {
	case <-w.wake: // a token of its last use
	default:
	}
	return w
}

// discard ends the use of a waiter that is in no queue.
func (w *waiter) discard() {
	w.prev, w.next = nil, nil
	if w.bubbled == nil {
		waiters.Put(w)
	}
}

func (w *waiter) signal() {
	if w.bubbled != nil {
		w.bubbled.Signal()
		return
	}
	wait.Signal(w.wake)
}

// park sleeps in Go until a token comes, ctx is done or the time is over.
func (w *waiter) park(ctx context.Context, d time.Duration) {
	if w.bubbled != nil {
		w.bubbled.Sleep(ctx)
		return
	}
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	select {
	case <-w.wake:
	case <-ctx.Done():
	case <-w.timer.C:
	}
	w.timer.Stop()
}

// mark is the bit that a waiter that has slept must leave in the word: the process
// that woke it may have cleared the bit and woken no other waiter.
func (w *waiter) mark() uint32 {
	if w.slept {
		return format.KernelWaiters
	}
	return 0
}

// meets notes for which owner w is about to sleep, or has slept.
func (w *waiter) meets(owner uint32) {
	switch {
	case owner == 0:
	case w.first == 0:
		w.first = owner
	case owner != w.first:
		w.changed = true
	}
}

// turned returns how long w has waited while the lock passed from owner to owner; 0 if
// that was below wait.Short.
func (w *waiter) turned() time.Duration {
	waited := time.Duration(sys.Monotonic() - w.since)
	if !w.changed || waited < wait.Short {
		return 0
	}
	return waited
}

// waitsLong reports whether w has waited so long that the lock is to be handed
// to it.
func (w *waiter) waitsLong() bool { return sys.Monotonic()-w.since > queueAfter }

// queue has the goroutines of this process that wait for one Lock, first come
// first served.
type queue struct {
	mu         sync.Mutex
	head, tail *waiter
	starving   bool // the head waits too long: the next unlock hands over
	handed     int  // hand-overs in a row; guarded by the Lock itself
}

// join appends w and reports whether it is the head.
func (q *queue) join(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.prev, w.next, q.tail = q.tail, nil, w
	if w.prev == nil {
		q.head = w
		return true
	}
	w.prev.next = w
	return false
}

// remove takes w out, and reports whether it was the head. q.mu is held.
func (q *queue) remove(w *waiter) (wasHead bool) {
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	if w.prev != nil {
		w.prev.next = w.next
		return false
	}
	q.head = w.next
	q.starving = q.head != nil && q.head.waitsLong()
	return true
}

// drop takes w out, if it is there still, and wakes the new head.
func (q *queue) drop(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for other := q.head; other != nil; other = other.next {
		if other == w {
			if q.remove(w) && q.head != nil {
				q.head.signal()
			}
			return
		}
	}
}

// signalOver signals the waiters that have to give up, because over returns an error for
// their opening, and reports whether there are any.
func (q *queue) signalOver(over func(opening uint32) error) (waiting bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for w := q.head; w != nil; w = w.next {
		if over(w.opening) != nil {
			waiting = true
			w.signal()
		}
	}
	return waiting
}

// turn reports whether w may compete for the word, and whether it owns the lock
// already.
func (q *queue) turn(w *waiter) (head, granted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head == w, w.granted
}

// askHandOff asks the next unlock to hand the lock to w, if w is still the head
// and has waited long: other goroutines of this process were quicker again and
// again.
func (q *queue) askHandOff(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.starving = q.starving || q.head == w && w.waitsLong()
}
