package robust

import (
	"math"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

const (
	probeEvery   = 4 * time.Millisecond  // between two probes of an owner's lease, by all processes together
	hintedTick   = 20 * time.Millisecond // between probes, if the system reports the death too, or after patientAfter
	patientAfter = time.Second           // of probes every probeEvery, without a hint; then every hintedTick
	longestTick  = time.Second           // of a watch, if watches of other processes probe first
	repeatTick   = time.Millisecond      // once there is something to wake for: a waiter may be on its way to sleep
)

// watch registers a waiter with the watch of an owner until the caller calls
// leave.
func (p *Party) watch(l *Lock, me *waiter, owner uint32) (leave func()) {
	t := &p.watches
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.byOwner[owner]
	if w == nil {
		if t.byOwner == nil {
			t.byOwner = map[uint32]*watch{}
		}
		w = &watch{waiting: map[*waiter]*Lock{}}
		t.byOwner[owner] = w
		go p.runWatch(owner, w)
	}
	w.waiting[me] = l
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(w.waiting, me)
	}
}

// runWatch ticks until nobody waits.
func (p *Party) runWatch(owner uint32, w *watch) {
	var hint *sys.Death
	unlessCutOff(func() { hint = p.WatchDeath(owner) })
	began := sys.Monotonic()
	interval := func() time.Duration { // between the probes of all watches of this owner
		if hint != nil || sys.Monotonic()-began > int64(patientAfter) {
			return hintedTick
		}
		return probeEvery
	}
	pause := probeEvery
	dead := false
	for {
		fired := hint.Wait(pause)
		lock := p.watched(owner, w)
		if lock == nil {
			hint.Close()
			return
		}
		looked := false
		unlessCutOff(func() {
			probed := false
			switch {
			case fired:
				// The owner is dead, or it was another process, or a child of it keeps
				// the lease until it has called exec. The hint has said all it knows.
				hint.Close()
				hint, began = nil, sys.Monotonic()
				pause = probeEvery
				dead = !p.Alive(owner)
			case p.MayProbe(&lock.cell.Probed, interval()*3/4): // a quarter less, because timers are late, also that of the process that probed last
				pause = interval()
				dead = !p.Alive(owner)
				probed = true
			default:
				pause = min(2*pause, longestTick)
				dead = p.Dead(owner) // a waiter may have found out
			}
			if p.settle(owner, w, dead, probed) {
				pause = repeatTick
			}
			looked = true
		})
		if !looked { // the waiters find that out by themselves, when their sleep is over
			pause = longestTick
		}
	}
}

// watched returns the lock at whose stamp all watches of this owner compete: the
// first one in memory. If nobody waits it ends the watch and returns nil.
func (p *Party) watched(owner uint32, w *watch) (first *Lock) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	for _, l := range w.waiting {
		if first == nil || l.off < first.off {
			first = l
		}
	}
	if first == nil {
		delete(p.watches.byOwner, owner)
	}
	return first
}

// settle wakes the waiters of a dead owner, and those whose locks have other owners by now:
// there is nothing to watch for them any more. It reports whether there were any. probed
// says that no other process looks after free locks at this moment.
func (p *Party) settle(owner uint32, w *watch, dead, probed bool) (woken bool) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	for me, l := range w.waiting {
		switch now := l.mark(); {
		case now == owner && dead, now != 0 && now != owner:
			woken = true
			l.wakeWaiter(me)
		case now == 0 && probed:
			l.wakeOne()
		}
	}
	return woken
}

// mark sees to it that the owner's release wakes a sleeper: the process that should have
// left the bit in the word may be dead. It returns the owner, 0 if there is none.
func (l *Lock) mark() (owner uint32) {
	for {
		w := l.cell.Word.Load()
		if owner = w & format.OwnerMask; owner == 0 || w&format.KernelWaiters != 0 {
			return owner
		}
		if l.cell.Word.CompareAndSwap(w, w|format.KernelWaiters) {
			return owner
		}
	}
}

// wakeOne wakes a sleeper of a free lock, in case the process that released it died
// before it could.
func (l *Lock) wakeOne() { sys.FutexWake(&l.cell.Word, 1, sys.AnyBit) }

// wakeWaiter wakes a waiter of this process, wherever it sleeps.
func (l *Lock) wakeWaiter(me *waiter) {
	me.signal()
	sys.FutexWake(&l.cell.Word, math.MaxInt32, l.party.WakeBit())
}
