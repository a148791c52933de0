//go:build linux

package robust

import (
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// The lookout lets waiters sleep whose lock passes from owner to owner. One that has had
// the same owner at two looks goes on to the watch of that one. If the owner is dead, its
// waiters are woken.
func TestLookAround(t *testing.T) {
	s := memtest.New(t)
	p, one, two, dead := newParty(t, s), newParty(t, s), newParty(t, s), newParty(t, s)
	gone := dead.ID()
	dead.die()
	for _, c := range []struct {
		what         string
		word, marked uint32
		seen         uint32 // the owner of the last look
		stamped      bool   // somebody has just probed
		wakes        bool   // all
		wakesOne     bool
		watched      bool
	}{
		{"another owner", two.ID(), two.ID() | format.KernelWaiters, one.ID(), false, false, false, false},
		{"another owner, marked", two.ID() | format.KernelWaiters, two.ID() | format.KernelWaiters, one.ID(), true, false, false, false},
		{"the same owner", one.ID(), one.ID() | format.KernelWaiters, one.ID(), false, false, false, true},
		{"free", 0, 0, one.ID(), false, false, true, false},
		{"free, and somebody has just probed", 0, 0, one.ID(), true, false, false, false},
		{"reserved", format.KernelWaiters, format.KernelWaiters, one.ID(), false, false, true, false},
		{"a dead owner", gone, gone | format.KernelWaiters, one.ID(), false, true, false, false},
		{"an owner known to be dead", gone, gone | format.KernelWaiters, gone, true, true, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			cell, _ := s.Cell(0)
			mu := p.lock(0)
			cell.Word.Store(c.word)
			cell.Probed.Store(0)
			if c.stamped {
				cell.Probed.Store(sys.Monotonic())
			}
			me := newWaiter(0)
			p.watches.mu.Lock()
			p.watches.lookout = lookout{running: true} // and no goroutine of it disturbs
			p.postLookout(mu, me, c.seen, 0)
			p.watches.mu.Unlock()
			first, second := memtest.Sleeper(t, &cell.Word, p.WakeBit()), stranger(t, p, cell)
			pause := p.lookAround()
			awake := 2 - sys.FutexWake(&cell.Word, 2, sys.AnyBit)
			<-first
			<-second
			wantAwake, wantPause := 0, hintedTick
			switch {
			case c.wakes:
				wantAwake, wantPause = 1, repeatTick
			case c.wakesOne:
				wantAwake = 1
			}
			if awake != wantAwake || (len(me.wake) == 1) != c.wakes || pause != wantPause {
				t.Errorf("%d are awake in the kernel, want %d; in Go: %v; the next look is after %v, want %v", awake, wantAwake, len(me.wake) == 1, pause, wantPause)
			}
			if w := cell.Word.Load(); w != c.marked {
				t.Errorf("the word %#x has become %#x, want %#x", c.word, w, c.marked)
			}
			p.watches.mu.Lock()
			_, out := p.watches.lookout.waiting[me]
			w := p.watches.byOwner[c.seen]
			watched := w != nil && w.waiting[me] == mu
			p.watches.mu.Unlock()
			if watched != c.watched || out == c.watched {
				t.Errorf("with the lookout: %v, with the watch: %v", out, watched)
			}
			p.unwatch(me)
			if pause := p.lookAround(); pause != 0 || p.watches.lookout.running {
				t.Errorf("nobody waits, and the next look is after %v", pause)
			}
			cell.Word.Store(0)
		})
	}
}

// Whoever has waited long for a lock that passes from owner to owner sleeps long the next
// time at once, on the lookout, and is woken when the last owner dies, or dies between
// its unlock and the wake-up.
func TestLookoutFindsTheLastOwner(t *testing.T) {
	for _, c := range []struct {
		how string
		end func(p *party, cell *format.LockCell)
	}{
		{"dies", func(p *party, _ *format.LockCell) { p.die() }},
		{"releases and wakes nobody", func(_ *party, cell *format.LockCell) { cell.Word.Store(0) }},
		{"unlocks", func(p *party, _ *format.LockCell) { p.lock(0).Unlock() }},
	} {
		t.Run(c.how, func(t *testing.T) {
			s := memtest.New(t)
			p, first, last := newParty(t, s), newParty(t, s), newParty(t, s)
			cell, _ := s.Cell(0)
			mu := p.lock(0)
			mu.turned = 20 * time.Millisecond
			first.lock(0).Lock()
			got := make(chan struct{})
			go func() { mu.Lock(); close(got) }()
			shmtest.Eventually(t, "the waiter is on the lookout", func() bool {
				p.watches.mu.Lock()
				defer p.watches.mu.Unlock()
				return len(p.watches.lookout.waiting) == 1
			})
			sleeping(t, cell, true)
			cell.Word.Store(last.ID()) // which has taken it since, and knows of nobody who sleeps
			began := sys.Monotonic()
			c.end(last, cell)
			shmtest.Within(t, "the lock", func() { <-got })
			if d := time.Duration(sys.Monotonic() - began); d >= watchedWait/2 {
				t.Errorf("only the end of the sleep has woken the waiter, after %v", d)
			}
			mu.Unlock()
		})
	}
}
