package shm

import (
	"context"
	"runtime"
	"time"
)

// The slow paths of a Mutex.
//
// Invariants:
//
//   - The word is changed only by atomic operations; an owner's id is put there
//     by its own process and taken away by it, or by a takeover after its death.
//   - Only the head of a process's queue competes for the word (and whoever
//     comes by on the fast path). It leaves the queue before its lock returns.
//   - While goroutines queue, one of these holds: the head is awake, or about to
//     be woken; this process owns the word with wordL set, and the head is parked
//     in Go; the head sleeps, and the word has wordW, or somebody who slept in
//     the kernel as well is awake in its stead.
//   - So a release wakes one of the kernel's sleepers for all of them, and
//     whoever has slept there leaves wordW wherever it goes next: in the word that
//     it takes, that it is granted, or that it sleeps on. Who gives up wakes
//     another instead.
//   - A head to which the word is granted is never asleep in the kernel: wordL is
//     set by heads that park in Go, and by their predecessors.

const (
	probeEvery   = 4 * time.Millisecond    // between two looks at an owner's lease, for all processes together
	queueAfter   = int64(time.Millisecond) // in the process's queue: then the lock is handed on
	handOvers    = 8                       // in a row, while another process waits
	localSpin    = 30                      // loads, while a goroutine of this process holds the lock
	remoteLooks  = 4                       // loads before sleeping on another process's
	parkAtMost   = time.Second             // the head, in Go
	queueAtMost  = time.Minute             // those behind it: who leaves sees to them, so this only bounds what a broken peer can do
	shortSleep   = 4 * time.Millisecond    // in the kernel; then the lock is to be reserved, and a watch asked
	watchedSleep = time.Minute
)

// What lockCell.starve says.
const (
	starveKernel = 1 // in the kernel
	starveGo     = 2 // in Go, since its process's slots are taken: no wake-up finds it
)

// lockWait is lockSlow without a way to give up.
//
//go:noinline
func (mu *Mutex) lockWait() {
	if instrumented && mu.cell.word.CompareAndSwap(0, mu.id) {
		killPoint(8)
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
		runtime.KeepAlive(mu)
	}()
	c := mu.cell
	w := c.word.Load()
	switch owner := w & ownerMask; {
	case owner == mu.id:
		for i := 0; i < localSpin && w != 0; i++ {
			w = c.word.Load()
		}
	case owner != 0 && mu.takeOver(w):
		return nil
	}
	if w == 0 && c.word.CompareAndSwap(0, mu.id) {
		killPoint(9)
		return nil
	}
	me := waiters.Get().(*waiter)
	me.granted, me.slept, me.since = false, false, monotonic()
	select {
	case <-me.wake: // a token from its last life
	default:
	}
	err = mu.wait(ctx, me)
	me.prev, me.next = nil, nil
	waiters.Put(me)
	return err
}

// wait queues up, then competes.
func (mu *Mutex) wait(ctx context.Context, me *waiter) error {
	head := mu.queue.join(me)
	for !head {
		me.park(ctx, queueAtMost)
		var granted bool
		if head, granted = mu.queue.turn(me); granted {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return mu.giveUp(me, err)
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return mu.giveUp(me, err)
		}
		w := mu.cell.word.Load()
		switch owner := w & ownerMask; {
		case owner == 0 && (w == 0 || me.slept): // a reservation is for who slept in the kernel
			if mu.acquire(me, w) {
				return nil
			}
		case owner == mu.id:
			if told := w | wordL | me.mark(); told != w && !mu.cell.word.CompareAndSwap(w, told) {
				continue
			}
			killPoint(10)
			mu.queue.press(me)
			me.park(ctx, parkAtMost)
			if _, granted := mu.queue.turn(me); granted {
				return nil
			}
		default: // another process's, or reserved
			if owner != 0 && mu.takeOver(w) {
				mu.leave(me)
				return nil
			}
			mu.sleep(ctx, me, w)
		}
	}
}

// mark is what a waiter that has slept must leave in the word: who woke it may
// have cleared the bit, and woken nobody else.
func (w *waiter) mark() uint32 {
	if w.slept {
		return wordW
	}
	return 0
}

// acquire takes a free or reserved word for the head of the queue.
func (mu *Mutex) acquire(me *waiter, w uint32) bool {
	if !mu.cell.word.CompareAndSwap(w, mu.id|w&wordW|me.mark()) {
		return false
	}
	killPoint(11)
	mu.leave(me)
	return true
}

// leave takes the head, which has the lock, out of the queue, and makes sure
// that the unlock thinks of the next.
func (mu *Mutex) leave(me *waiter) {
	mu.queue.mu.Lock()
	mu.queue.remove(me)
	next := mu.queue.head
	mu.queue.mu.Unlock()
	if next != nil {
		mu.cell.word.Or(wordL)
		killPoint(12)
	}
}

// giveUp leaves the queue without the lock, unless it was handed over already.
// Whatever woke this goroutine, it passes on.
func (mu *Mutex) giveUp(me *waiter, err error) error {
	q := &mu.queue
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
		mu.wakeKernel(mu.cell.starve.Load())
	}
	return err
}

// wakeKernel wakes one of the kernel's sleepers. Where there is none, a
// reservation is for nobody, unless somebody sleeps in Go for lack of a slot.
func (mu *Mutex) wakeKernel(starve uint32) {
	word := &mu.cell.word
	if futexWake(word, 1, anyBit) == 0 && starve != starveGo && word.CompareAndSwap(wordW, 0) {
		killPoint(13)
		futexWake(word, 1, anyBit) // one who came meanwhile, and sleeps on the reservation
	}
}

// sleep waits for a word that another process owns, or that is reserved, to
// change.
func (mu *Mutex) sleep(ctx context.Context, me *waiter, w uint32) {
	c := mu.cell
	for range remoteLooks {
		if c.word.Load() != w {
			return
		}
	}
	if w&wordW == 0 {
		if !c.word.CompareAndSwap(w, w|wordW) {
			return
		}
		killPoint(14)
		w |= wordW
	}
	me.slept = true
	patience := shortSleep
	if monotonic()-me.since >= int64(shortSleep) {
		c.starve.Store(starveKernel)
		killPoint(15)
		if w&ownerMask != 0 {
			defer mu.m.watch(mu, me, w&ownerMask)()
			patience = watchedSleep
		}
	}
	if !kernelSleep(ctx, &c.word, w, mu.m.wakeBit(), patience) {
		if patience == watchedSleep {
			c.starve.Store(starveGo)
			killPoint(16)
		}
		patrols.sleep(ctx, &post{awaitedWord: awaitedWord{&c.word, w}, wake: me.wake}, patience)
	}
}

// unlockSlow releases a word that has wordL or wordW, or panics if it is not
// ours.
func (mu *Mutex) unlockSlow() {
	c := mu.cell
	starve := uint32(0)
	for {
		mu.mustOwn("unlock")
		w := c.word.Load()
		if w&wordL != 0 && mu.grant(w) {
			return
		}
		free := uint32(0)
		if w&wordW != 0 {
			// Cleared by who reserves, not by who takes: then others may starve still.
			starve = max(starve, c.starve.Swap(0))
			killPoint(17)
			if starve != 0 {
				free = wordW
			}
		}
		mu.queue.handed = 0
		mu.token.release()
		if !c.word.CompareAndSwap(w, free) {
			continue
		}
		killPoint(18)
		// Both, each for its own bit: whoever is woken may find the other gone.
		if w&wordW != 0 {
			mu.wakeKernel(starve)
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
	q.remove(h)
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

// tryLockSlow is what is left of TryLock when the word is not free: a dead
// owner, or a reservation that nobody came for.
func (mu *Mutex) tryLockSlow() bool {
	w := mu.cell.word.Load()
	switch owner := w & ownerMask; {
	case owner == 0 && (w == 0 || mu.mayProbe(probeEvery)):
		taken := mu.cell.word.CompareAndSwap(w, mu.id|w)
		killPoint(23)
		return taken
	case owner == 0 || owner == mu.id:
		return false
	}
	return mu.takeOver(w)
}
