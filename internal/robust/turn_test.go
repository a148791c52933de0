//go:build linux

package robust

import (
	"context"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// A waiter that expects its lock to pass from owner to owner sleeps without a watch, so
// that the owners' releases are all that wakes it. It finds out by itself if the last owner
// has died, also between its release and the wake-up.
func TestLockThatPassesFromOwnerToOwner(t *testing.T) {
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
			mu.turned = turnAtMost
			first.lock(0).Lock()
			got := make(chan struct{})
			go func() { mu.Lock(); close(got) }()
			sleeping(t, cell, false)
			if n := p.owners(); n != 0 {
				t.Errorf("%d owners are watched", n)
			}
			cell.Word.Store(last.ID()) // which has taken it since, and knows of nobody who sleeps
			began := sys.Monotonic()
			c.end(last, cell)
			shmtest.Within(t, "the lock", func() { <-got })
			if d := time.Duration(sys.Monotonic() - began); d >= watchedWait/2 {
				t.Errorf("the waiter has the lock after %v", d)
			}
			mu.Unlock()
		})
	}
}

// A waiter that has slept for the time in which its lock should have passed to it, and
// finds the owner of before, watches that owner: its death is noticed at once.
func TestOwnerThatKeepsAPassingLockIsWatched(t *testing.T) {
	s := memtest.New(t)
	p, owner := newParty(t, s), newParty(t, s)
	mu := p.lock(0)
	mu.turned = time.Millisecond
	owner.lock(0).Lock()
	got := make(chan struct{})
	go func() { mu.Lock(); close(got) }()
	shmtest.Eventually(t, "the owner is watched", func() bool { return p.owners() == 1 })
	owner.die()
	shmtest.Within(t, "the lock", func() { <-got })
	if mu.turned != 0 {
		t.Errorf("the lock, which had one owner, is expected to pass to the next waiter after %v", mu.turned)
	}
	mu.Unlock()
}

// Whoever is about to sleep looks at the word for a moment.
func TestChangesSoon(t *testing.T) {
	s := memtest.New(t)
	p, owner := newParty(t, s), newParty(t, s)
	mu := p.lock(0)
	owner.lock(0).Lock()
	if w := mu.cell.Word.Load(); mu.changesSoon(w) {
		t.Error("the word of a lock that is held has changed")
	}
	if w := mu.cell.Word.Load(); !mu.changesSoon(w | format.KernelWaiters) {
		t.Error("a word that is another has not changed")
	}
	owner.lock(0).Unlock()
	if err := mu.LockSlow(context.Background()); err != nil {
		t.Error(err)
	}
	mu.Unlock()
}
