package shm

import (
	"context"
	"sync"
	"time"
)

// The slow paths of a Mutex.
//
// Invariants:
//
//   - The word is changed only by compare-and-swap; an owner's id is put there
//     by its own process and taken away by it, or by a takeover after its death.
//   - Only the head of a process's queue competes for the word (and whoever
//     comes by on the fast path). It leaves the queue before its lock returns.
//   - While goroutines queue, one of these holds: the word is free and the head
//     is awake or will be woken; this process owns the word with wordL set; the
//     head sleeps in the kernel or with a watch, with wordW set.
//   - Who stops waiting hands on what woke it.

const (
	probeEvery   = int64(4 * time.Millisecond) // between two looks at an owner's lease, for all processes together
	queueAfter   = int64(time.Millisecond)     // in the process's queue: then the lock is handed on
	handOvers    = 8                           // in a row, while another process waits
	localSpin    = 30                          // loads, while a goroutine of this process holds the lock
	remoteLooks  = 4                           // loads before sleeping on another process's
	parkAtMost   = time.Second
	shortSleep   = 4 * time.Millisecond // in the kernel; then the lock is to be reserved, and a watch asked
	watchedSleep = time.Minute
)

// waiter is a goroutine that waits for a Mutex.
type waiter struct {
	next    *waiter
	wake    chan struct{} // one token; it may be stale, so who takes it looks again
	since   int64
	granted bool // the word was kept for it, and it is out of the queue; guarded by queue.mu
	timer   *time.Timer
}

var waiters = sync.Pool{New: func() any { return &waiter{wake: make(chan struct{}, 1)} }}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// park sleeps in Go until a token comes, ctx is done or the time is over.
func (w *waiter) park(ctx context.Context, d time.Duration) {
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

// queue has the goroutines of this process that wait for one Mutex, first come
// first served.
type queue struct {
	mu         sync.Mutex
	head, tail *waiter
	starving   bool // the head waits too long: the next unlock hands over
	handed     int  // hand-overs in a row; guarded by the Mutex itself
}

// join appends w and reports whether it is the head.
func (q *queue) join(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == nil {
		q.head, q.tail = w, w
		return true
	}
	q.tail.next = w
	q.tail = w
	return false
}

// pop removes the head and returns the next one. q.mu is held.
func (q *queue) pop() *waiter {
	q.head = q.head.next
	if q.head == nil {
		q.tail = nil
	}
	q.starving = q.head != nil && monotonic()-q.head.since > queueAfter
	return q.head
}

// remove takes w out wherever it is, and reports whether it was the head.
// q.mu is held.
func (q *queue) remove(w *waiter) bool {
	if q.head == w {
		q.pop()
		return true
	}
	for p := q.head; p != nil; p = p.next {
		if p.next == w {
			if p.next = w.next; p.next == nil {
				q.tail = p
			}
			break
		}
	}
	return false
}

// turn reports whether w may compete, and whether it owns the lock already.
func (q *queue) turn(w *waiter) (head, granted bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head == w, w.granted
}

// lockWait is lockSlow without a way to give up.
//
//go:noinline
func (mu *Mutex) lockWait() {
	if raceEnabled && mu.cell.word.CompareAndSwap(0, mu.id) {
		mu.token.acquire()
		return
	}
	// Without a context that ends, only a panic leaves it without the lock.
	_ = mu.lockSlow(context.Background())
}

// lockSlow takes the lock or returns ctx's error.
func (mu *Mutex) lockSlow(ctx context.Context) (err error) {
	if mu.m.readOnly {
		mu.mustBeOpen()
	}
	defer func() {
		if err == nil {
			mu.token.acquire()
		}
	}()
	c := mu.cell
	w := c.word.Load()
	if owner := w & ownerMask; owner == mu.id {
		for range localSpin {
			if w = c.word.Load(); w == 0 && c.word.CompareAndSwap(0, mu.id) {
				return nil
			}
		}
	} else if owner != 0 && mu.takeOver(w) {
		return nil
	}
	me := waiters.Get().(*waiter)
	me.next, me.granted, me.since = nil, false, monotonic()
	select {
	case <-me.wake: // a token from its last life
	default:
	}
	err = mu.wait(ctx, me)
	waiters.Put(me)
	return err
}

// wait queues up, then competes.
func (mu *Mutex) wait(ctx context.Context, me *waiter) error {
	head := mu.queue.join(me)
	for !head {
		me.park(ctx, parkAtMost)
		var granted bool
		if head, granted = mu.queue.turn(me); granted {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return mu.giveUp(me, false, err)
		}
	}
	slept := false  // in the kernel, ever: others may be there still
	waited := false // at all: then a reservation is for us as for anybody
	for {
		err := ctx.Err()
		if err != nil {
			return mu.giveUp(me, slept, err)
		}
		w := mu.cell.word.Load()
		switch owner := w & ownerMask; {
		case owner == 0 && (w == 0 || waited):
			if mu.acquire(me, w, slept) {
				return nil
			}
		case owner == mu.id:
			if w&wordL == 0 && !mu.cell.word.CompareAndSwap(w, w|wordL) {
				continue
			}
			me.park(ctx, parkAtMost)
			waited = true
			if _, granted := mu.queue.turn(me); granted {
				return nil
			}
		default: // another process's, or reserved
			if owner != 0 && mu.takeOver(w) {
				mu.leave(me)
				return nil
			}
			slept = mu.sleep(ctx, me, w) || slept
			waited = true
		}
	}
}

// acquire takes a free or reserved word for the head of the queue. What it
// knows of sleepers in the kernel it leaves in the word.
func (mu *Mutex) acquire(me *waiter, w uint32, slept bool) bool {
	mine := mu.id | w&wordW
	if slept {
		mine |= wordW
	}
	if !mu.cell.word.CompareAndSwap(w, mine) {
		return false
	}
	if slept {
		mu.cell.starve.Store(0)
	}
	mu.leave(me)
	return true
}

// leave takes the head, which has the lock, out of the queue, and makes sure
// that the unlock thinks of the next.
func (mu *Mutex) leave(me *waiter) {
	mu.queue.mu.Lock()
	next := mu.queue.pop()
	mu.queue.mu.Unlock()
	if next != nil {
		mu.cell.word.Or(wordL)
	}
}

// giveUp leaves the queue without the lock, unless it was handed over already.
// Whatever woke this goroutine, it passes on.
func (mu *Mutex) giveUp(me *waiter, slept bool, err error) error {
	mu.queue.mu.Lock()
	if me.granted {
		mu.queue.mu.Unlock()
		return nil
	}
	wasHead := mu.queue.remove(me)
	next := mu.queue.head
	mu.queue.mu.Unlock()
	if wasHead && next != nil {
		next.signal()
	}
	if slept {
		futexWake(&mu.cell.word, 1, anyBit)
	}
	return err
}

// sleep waits for a word that another process owns, or that is reserved, to
// change. It reports whether it told others, by wordW, that it sleeps.
func (mu *Mutex) sleep(ctx context.Context, me *waiter, w uint32) bool {
	c := mu.cell
	for range remoteLooks {
		if c.word.Load() != w {
			return false
		}
	}
	if w&wordW == 0 {
		if !c.word.CompareAndSwap(w, w|wordW) {
			return false
		}
		w |= wordW
	}
	patience := shortSleep
	if monotonic()-me.since >= int64(shortSleep) {
		c.starve.Store(1)
		if w&ownerMask != 0 {
			leave := mu.m.watch(mu, me, w&ownerMask)
			defer leave()
			patience = watchedSleep
		}
	}
	mu.sleepOn(ctx, me, w, patience)
	return true
}

// sleepOn sleeps in the kernel, or in Go where too many do so already: then the
// watch wakes it.
func (mu *Mutex) sleepOn(ctx context.Context, me *waiter, w uint32, d time.Duration) {
	select {
	case kernelSlots <- struct{}{}:
		stop := wakeWhenDone(ctx, &mu.cell.word, mu.m.wakeBit())
		futexWait(&mu.cell.word, w, mu.m.wakeBit(), d)
		stop()
		<-kernelSlots
	default:
		me.park(ctx, d)
	}
}

// unlockSlow releases a word that has wordL or wordW, or panics if it is not
// ours.
func (mu *Mutex) unlockSlow() {
	c := mu.cell
	for {
		mu.mustOwn()
		w := c.word.Load()
		if w&wordL != 0 && mu.grant(w) {
			return
		}
		free := uint32(0)
		if w&wordW != 0 && c.starve.Load() != 0 {
			// The stamp lets TryLock tell a reservation that nobody comes for.
			c.probed.Store(monotonic())
			free = wordW
		}
		mu.queue.handed = 0
		mu.token.release()
		if !c.word.CompareAndSwap(w, free) {
			continue
		}
		// Both, each for its own bit: whoever is woken may find the other gone.
		if w&wordW != 0 {
			futexWake(&c.word, 1, anyBit)
		}
		if w&wordL != 0 {
			mu.wakeHead()
		}
		return
	}
}

// grant hands the word, as it is, to the head of a starving queue.
func (mu *Mutex) grant(w uint32) bool {
	q := &mu.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.starving || q.head == nil || w&wordW != 0 && q.handed >= handOvers {
		return false
	}
	q.handed++
	mu.token.release()
	h := q.head
	h.granted = true
	q.pop()
	h.signal()
	return true
}

func (mu *Mutex) wakeHead() {
	mu.queue.mu.Lock()
	defer mu.queue.mu.Unlock()
	if h := mu.queue.head; h != nil {
		h.signal()
	}
}

// takeOver replaces a dead owner: by a compare-and-swap from the very word that
// was seen before the owner's lease was found free, so that nobody who has got
// it since is robbed. wordW is set, since nobody knows who sleeps.
func (mu *Mutex) takeOver(w uint32) bool {
	owner := w & ownerMask
	if _, dead := mu.m.dead.Load(owner); !dead {
		if !mu.mayProbe() {
			return false
		}
		if alive, _ := mu.m.alive(owner); alive {
			return false
		}
	}
	if !mu.cell.word.CompareAndSwap(w, mu.id|wordW) {
		return false
	}
	mu.cell.abandoned.Store(1)
	mu.cell.takeovers.Add(1)
	// The dead one may have changed something and told nobody.
	mu.cell.change.wakeAll()
	return true
}

// mayProbe says whether this goroutine is the one to look at the owner's lease:
// one of all processes, every few milliseconds. A stamp from the future is
// somebody's error, and as good as an old one.
func (mu *Mutex) mayProbe() bool {
	last, now := mu.cell.probed.Load(), monotonic()
	return (now-last >= probeEvery || last > now) && mu.cell.probed.CompareAndSwap(last, now)
}

// tryLockSlow is what is left of TryLock when the word is not free: a dead
// owner, or a reservation that nobody came for.
func (mu *Mutex) tryLockSlow() bool {
	w := mu.cell.word.Load()
	switch owner := w & ownerMask; {
	case w == 0:
		return mu.cell.word.CompareAndSwap(0, mu.id)
	case owner == 0:
		return mu.mayProbe() && mu.cell.word.CompareAndSwap(w, mu.id|wordW)
	case owner == mu.id:
		return false
	}
	return mu.takeOver(w)
}
