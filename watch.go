package shm

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A watch is one goroutine for each owner, of whatever locks, that goroutines
// of this process wait for: so a stopped process that holds a thousand locks is
// looked at as often as one that holds a single one. It wakes its waiters when
// the owner is dead, and those whose word has changed without a wake-up
// reaching them.
type watch struct {
	waiting map[*waiter]*Mutex
}

type watchTable struct {
	mu         sync.Mutex
	byOwner    map[uint32]*watch
	blindUntil atomic.Int64 // a probe failed: till then others compete, who may see
}

const (
	hintedTick  = 20 * time.Millisecond // between probes, where the system tells of the death as well
	longestTick = time.Second           // of a watch that others are quicker than
	repeatTick  = time.Millisecond      // once there is something to wake for: a waiter may be on its way to sleep
	blindFor    = int64(time.Second)
)

// watch registers a waiter with the watch of an owner until leave is called.
func (m *mapping) watch(mu *Mutex, me *waiter, owner uint32) (leave func()) {
	t := &m.watches
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.byOwner[owner]
	if w == nil {
		if t.byOwner == nil {
			t.byOwner = map[uint32]*watch{}
		}
		w = &watch{waiting: map[*waiter]*Mutex{}}
		t.byOwner[owner] = w
		go m.runWatch(owner, w)
	}
	w.waiting[me] = mu
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(w.waiting, me)
	}
}

// runWatch ticks until nobody waits.
func (m *mapping) runWatch(owner uint32, w *watch) {
	hint := m.watchDeath(owner)
	every := probeEvery // between the probes of all watches like this one
	if hint != nil {
		every = hintedTick
	}
	pause := probeEvery
	dead := false
	for {
		fired := hint.wait(pause)
		lock := m.watched(owner, w)
		if lock == nil {
			hint.close()
			return
		}
		switch {
		case fired:
			// Dead, or it was another process, or a child of it keeps the lease until
			// it has exec'ed: in any case the hint has said all it knows.
			hint.close()
			hint, every = nil, probeEvery
			pause = every
			dead = !m.alive(owner)
		case lock.mayProbe(every - every/4): // timers are late, the winner's too
			pause = every
			dead = !m.alive(owner)
		default:
			pause = min(2*pause, longestTick)
			dead = m.dead.has(owner) // a waiter may have found out
		}
		if m.wakeChanged(owner, w, dead) {
			pause = repeatTick
		}
	}
}

// watched returns the lock at whose stamp all watches of this owner compete: the
// first in memory. It ends a watch that nobody needs by returning nil.
func (m *mapping) watched(owner uint32, w *watch) (first *Mutex) {
	m.watches.mu.Lock()
	defer m.watches.mu.Unlock()
	for _, mu := range w.waiting {
		if first == nil || mu.off < first.off {
			first = mu
		}
	}
	if first == nil {
		delete(m.watches.byOwner, owner)
	}
	return first
}

// wakeChanged wakes the waiters who have something to do: the owner is dead, or
// no longer the owner, or the word does not say that somebody sleeps. It reports
// whether there were any.
func (m *mapping) wakeChanged(owner uint32, w *watch, dead bool) (any bool) {
	m.watches.mu.Lock()
	defer m.watches.mu.Unlock()
	for me, mu := range w.waiting {
		if dead || mu.cell.word.Load()&^wordL != owner|wordW {
			any = true
			me.signal()
			futexWake(&mu.cell.word, math.MaxInt32, m.wakeBit())
		}
	}
	return any
}
