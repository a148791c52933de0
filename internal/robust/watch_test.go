//go:build linux

package robust

import (
	"sync"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// owners returns how many owners a party watches.
func (p *party) owners() int {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	return len(p.watches.byOwner)
}

// waitFor has a goroutine wait for each of the first n locks until it sleeps with
// a watch. done returns when each has had its lock.
func (p *party) waitFor(t *testing.T, n int) (done func()) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		mu := p.lock(i)
		wg.Go(func() {
			mu.Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			mu.Unlock()
		})
	}
	for i := range n {
		cell, _ := p.segment.Cell(i)
		sleeping(t, cell, true)
	}
	return func() {
		t.Helper()
		shmtest.Within(t, "each has had its lock", wg.Wait)
	}
}

// A process has one watch for one owner, of however many locks, and the watch ends
// with the last that waits.
func TestOneWatchForOneOwner(t *testing.T) {
	s := memtest.New(t)
	p, one, two := newParty(t, s), newParty(t, s), newParty(t, s)
	const locks = 12
	hold := func(verb func(*Lock)) {
		for i := range locks {
			if i%4 == 0 {
				verb(one.lock(i))
			} else {
				verb(two.lock(i))
			}
		}
	}
	hold((*Lock).Lock)
	done := p.waitFor(t, locks)
	// The goroutines behind a head have no watch of their own.
	for range 5 {
		go func() {
			mu := p.lock(0)
			mu.Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			mu.Unlock()
		}()
	}
	parked(t, p.lock(0), 6)
	shmtest.Eventually(t, "two owners are watched, for each lock once", func() bool {
		p.watches.mu.Lock()
		defer p.watches.mu.Unlock()
		first, second := p.watches.byOwner[one.ID()], p.watches.byOwner[two.ID()]
		return len(p.watches.byOwner) == 2 && len(first.waiting) == locks/4 && len(second.waiting) == locks-locks/4
	})
	hold((*Lock).Unlock)
	done()
	parked(t, p.lock(0), 0)
	shmtest.Eventually(t, "nobody is watched any more", func() bool { return p.owners() == 0 })
}

// The locks of a dead process all go to those who wait: where only the watch finds
// the death, and where the system tells of it.
func TestDeathOfAHolderOfManyLocks(t *testing.T) {
	const locks = 20
	t.Run("found", func(t *testing.T) {
		s := memtest.New(t)
		p, holder := newParty(t, s), newParty(t, s)
		for i := range locks {
			holder.lock(i).Lock()
		}
		done := p.waitFor(t, locks)
		holder.die() // and its pid lives
		done()
	})
	t.Run("told", func(t *testing.T) {
		s := memtest.New(t)
		p := newParty(t, s)
		holder := startAgent(t, s)
		holder.Do("lock", "locked")
		done := p.waitFor(t, 1)
		holder.Stop() // which is no death
		if p.lock(0).TryLock() {
			t.Error("a stopped holder was robbed")
		}
		holder.Kill()
		done()
	})
}

// A waiter that sleeps with a watch learns of a word that has changed without a
// wake-up reaching it: the process that released it died before it could wake
// anybody.
func TestWatchFindsAFreeLock(t *testing.T) {
	s, p, _, cell := locked(t)
	holder := newParty(t, s)
	holder.lock(0).Lock()
	done := p.waitFor(t, 1)
	cell.Word.Store(0)
	done()
}

// A watch that leaves probing to others learns from a waiter that the owner is
// dead.
func TestWatchLearnsOfADeath(t *testing.T) {
	s, p, _, cell := locked(t)
	holder := newParty(t, s)
	holder.lock(0).Lock()
	done := p.waitFor(t, 1)
	stop, stamping := make(chan struct{}), make(chan struct{})
	go func() { // as another process would that probes all the time
		defer close(stamping)
		for {
			select {
			case <-stop:
				return
			default:
				cell.Probed.Store(sys.Monotonic() - int64(time.Millisecond)) // and not in the future
			}
		}
	}()
	holder.die()
	began := sys.Monotonic()
	if p.Alive(holder.ID()) {
		t.Error("the dead holder counts as alive")
	}
	done()
	if d := time.Duration(sys.Monotonic() - began); d >= watchedWait/2 {
		t.Errorf("only the end of the sleep has woken the waiter, after %v", d)
	}
	close(stop)
	<-stamping
}

// All watches of an owner, in all processes, compete for the stamp of one lock:
// the first in memory.
func TestWatchedIsTheFirstLock(t *testing.T) {
	_, p, _, _ := locked(t)
	const owner = 77
	w := &watch{waiting: map[*waiter]*Lock{}}
	p.watches.byOwner = map[uint32]*watch{owner: w}
	for _, i := range []int{5, 3, 9} {
		w.waiting[newWaiter(0)] = p.lock(i)
	}
	if first := p.watched(owner, w); first != p.lock(3) || p.owners() != 1 {
		t.Error("it is not the first one, or the watch has ended")
	}
	clear(w.waiting)
	if first := p.watched(owner, w); first != nil || p.owners() != 0 {
		t.Error("nobody waits, and the watch goes on")
	}
}

// A watch wakes the waiters of a dead owner, and those whose lock has another owner. It lets
// all others sleep, and marks their words. It wakes one sleeper of a free lock, if this
// process may probe.
func TestSettle(t *testing.T) {
	s, p, _, _ := locked(t)
	const owner, other = 77, 78
	words := map[int]struct{ word, marked uint32 }{
		0: {owner | format.KernelWaiters, owner | format.KernelWaiters},
		1: {owner | format.KernelWaiters | format.LocalWaiters, owner | format.KernelWaiters | format.LocalWaiters},
		2: {owner, owner | format.KernelWaiters},
		3: {owner | format.LocalWaiters, owner | format.KernelWaiters | format.LocalWaiters},
		4: {other | format.KernelWaiters, other | format.KernelWaiters},
		5: {other, other | format.KernelWaiters},
		6: {format.KernelWaiters, format.KernelWaiters},
		7: {0, 0},
	}
	for _, passed := range []bool{false, true} {
		for _, dead := range []bool{false, true} {
			for _, probed := range []bool{false, true} {
				w := &watch{waiting: map[*waiter]*Lock{}}
				asleep := map[int]*waiter{}
				for i, c := range words {
					if c.word&format.OwnerMask == other && !passed {
						continue
					}
					cell, _ := s.Cell(i)
					cell.Word.Store(c.word)
					me := newWaiter(0)
					asleep[i], w.waiting[me] = me, p.lock(i)
					memtest.Sleeper(t, &cell.Word, p.WakeBit())
				}
				if woken := p.settle(owner, w, dead, probed); woken != (dead || passed) {
					t.Errorf("dead %v, passed %v: somebody was woken: %v", dead, passed, woken)
				}
				for i, me := range asleep {
					cell, _ := s.Cell(i)
					c := words[i]
					inGo, inKernel := len(me.wake) == 1, sys.FutexWake(&cell.Word, 1, sys.AnyBit) == 0
					now := c.word & format.OwnerMask
					all := now == other || now == owner && dead
					if inGo != all || inKernel != (all || now == 0 && probed) {
						t.Errorf("the word %#x, its owner dead: %v, may probe: %v; woken: in Go %v, in the kernel %v", c.word, dead, probed, inGo, inKernel)
					}
					if w := cell.Word.Load(); w != c.marked {
						t.Errorf("the word %#x has become %#x, want %#x", c.word, w, c.marked)
					}
				}
			}
		}
	}
}

// A watch of an owner of whose death nobody tells probes less often after a while.
func TestWatchBecomesPatient(t *testing.T) {
	s, p, _, cell := locked(t)
	holder := newParty(t, s)
	s.Header.Table[holder.ID()%format.TableLen].Pid = 0 // which is no process to watch
	if p.WatchDeath(holder.ID()) != nil {
		t.Fatal("the holder's death would be told of")
	}
	holder.lock(0).Lock()
	done := p.waitFor(t, 1)
	// count returns how many probes there are in a time.
	count := func(d time.Duration) (n int) {
		last := cell.Probed.Load()
		for end := sys.Monotonic() + int64(d); sys.Monotonic() < end; time.Sleep(200 * time.Microsecond) {
			if now := cell.Probed.Load(); now != last {
				last, n = now, n+1
			}
		}
		return n
	}
	time.Sleep(patientAfter)
	const span = 20
	if n := count(span * hintedTick); n > span*5/3 {
		t.Errorf("%d probes in %v", n, span*hintedTick)
	}
	began := sys.Monotonic()
	holder.die()
	done()
	if d := time.Duration(sys.Monotonic() - began); d > longestTick {
		t.Errorf("the lock was got %v after the death", d)
	}
}
