//go:build linux

package robust

import (
	"context"
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// The time-outs and the watch heal a wake-up that is missing, so no test that
// waits sees it. These tests look at each wake-up itself.

// stranger is a sleeper that hears no wake-up that is only for p's own sleepers.
func stranger(t *testing.T, p *party, cell *format.LockCell) (woken <-chan struct{}) {
	t.Helper()
	return memtest.Sleeper(t, &cell.Word, bits.RotateLeft32(p.WakeBit(), 1))
}

func TestUnlockWakesForEachBit(t *testing.T) {
	_, p, mu, cell := locked(t)
	for _, starve := range []uint32{0, format.StarveKernel, format.StarveGo} {
		mu.Lock()
		head := &waiter{wake: make(chan struct{}, 1), since: sys.Monotonic()}
		mu.queue.join(head)
		cell.Word.Or(format.LocalWaiters | format.KernelWaiters)
		cell.Starve.Store(starve)
		woken := stranger(t, p, cell)
		mu.Unlock()
		shmtest.Within(t, "the sleeper's wake-up", func() { <-woken })
		shmtest.Within(t, "the head's wake-up", func() { <-head.wake })
		want := uint32(0)
		if starve != 0 {
			want = format.KernelWaiters
		}
		if w := cell.Word.Load(); w != want || cell.Starve.Load() != 0 {
			t.Errorf("with Starve %d the word is %#x afterwards, want %#x; Starve is %d", starve, w, want, cell.Starve.Load())
		}
		if err := mu.giveUp(head, context.Canceled); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		cell.Word.Store(0) // the reservation, if it was one
	}
}

// A lock is reserved for waiters in the kernel. If nobody sleeps there, and no
// waiter has said that it sleeps in Go instead, the reservation is dropped.
func TestReservationForNobody(t *testing.T) {
	_, p, mu, cell := locked(t)
	for _, c := range []struct{ starve, word, want uint32 }{
		{0, format.KernelWaiters, 0},
		{format.StarveKernel, format.KernelWaiters, 0},
		{format.StarveGo, format.KernelWaiters, format.KernelWaiters},
		{format.StarveKernel, 0, 0},
		{format.StarveKernel, 77 | format.KernelWaiters, 77 | format.KernelWaiters}, // somebody has taken it
		{format.StarveKernel, format.LocalWaiters | format.KernelWaiters, format.LocalWaiters | format.KernelWaiters},
	} {
		cell.Word.Store(c.word)
		if mu.wakeKernel(c.starve); cell.Word.Load() != c.want {
			t.Errorf("Starve %d: the word %#x has become %#x, want %#x", c.starve, c.word, cell.Word.Load(), c.want)
		}
		cell.Word.Store(c.word)
		woken := stranger(t, p, cell)
		if mu.wakeKernel(c.starve); cell.Word.Load() != c.word {
			t.Errorf("Starve %d: beside a sleeper the word %#x has become %#x", c.starve, c.word, cell.Word.Load())
		}
		shmtest.Within(t, "the sleeper's wake-up", func() { <-woken })
	}
	// By an unlock.
	for starve, want := range map[uint32]uint32{0: 0, format.StarveKernel: 0, format.StarveGo: format.KernelWaiters} {
		cell.Word.Store(0)
		mu.Lock()
		cell.Word.Or(format.KernelWaiters)
		cell.Starve.Store(starve)
		if mu.Unlock(); cell.Word.Load() != want {
			t.Errorf("Starve %d: after an unlock that wakes nobody the word is %#x, want %#x", starve, cell.Word.Load(), want)
		}
	}
}

// Nobody sleeps on a reservation that was dropped in that moment.
func TestReservationIsDroppedUnderASleeper(t *testing.T) {
	_, _, mu, cell := locked(t)
	begin, awake := make(chan struct{}), make(chan struct{})
	go func() {
		for range begin {
			sys.FutexWait(&cell.Word, format.KernelWaiters, sys.AnyBit, time.Hour)
			awake <- struct{}{}
		}
	}()
	for i := range shmtest.Rounds(4000) {
		cell.Word.Store(format.KernelWaiters)
		begin <- struct{}{}
		for range i % 400 { // so that the two meet at each point
			_ = cell.Starve.Load()
		}
		mu.wakeKernel(format.StarveKernel)
		shmtest.Within(t, "the sleeper is awake", func() { <-awake })
	}
	close(begin)
	cell.Word.Store(0)
}

// A waiter for which there is no slot in the kernel says so, and finds a lock that
// is reserved for it although no wake-up reaches it.
func TestWaiterWithoutASlot(t *testing.T) {
	s, _, mu, cell := locked(t)
	var word atomic.Uint32
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var others sync.WaitGroup
	slept := make(chan struct{}, 1000)
	const tooMany = 64
	for range tooMany {
		others.Go(func() {
			for ctx.Err() == nil && wait.Kernel(ctx, &word, 0, 1, time.Hour) {
			}
			slept <- struct{}{} // at once, but for those that have taken all slots
		})
	}
	shmtest.Eventually(t, "some got no slot", func() bool { return len(slept) > 0 })
	holder := newParty(t, s).lock(0)
	holder.Lock()
	got := make(chan struct{})
	go func() { mu.Lock(); close(got) }()
	shmtest.Eventually(t, "the waiter says so", func() bool { return cell.Starve.Load() == format.StarveGo })
	holder.Unlock()
	shmtest.Within(t, "the reserved lock", func() { <-got })
	mu.Unlock()
	cancel()
	others.Wait()
}

// A wake-up reaches one sleeper, which passes it on when it is done.
func TestOneWakeUpForAnUnlock(t *testing.T) {
	_, p, mu, cell := locked(t)
	mu.Lock()
	cell.Word.Or(format.KernelWaiters)
	const sleepers = 3
	woken := make(chan struct{}, sleepers)
	for range sleepers {
		one := stranger(t, p, cell)
		go func() { <-one; woken <- struct{}{} }()
	}
	mu.Unlock()
	shmtest.Within(t, "a sleeper's wake-up", func() { <-woken })
	if n := sys.FutexWake(&cell.Word, sleepers, sys.AnyBit); n != sleepers-1 {
		t.Errorf("after an unlock %d of %d sleep still", n, sleepers)
	}
	for range sleepers - 1 {
		<-woken
	}
}

// Whoever has slept in the kernel and goes without the lock may have taken the
// wake-up that was another's.
func TestGivingUpPassesTheWakeUpOn(t *testing.T) {
	s, p, mu, cell := locked(t)
	holder := newParty(t, s).lock(0)
	holder.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { gaveUp <- mu.LockContext(ctx) }()
	sleeping(t, cell, true)
	woken := stranger(t, p, cell)
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	shmtest.Within(t, "the other sleeper's wake-up", func() { <-woken })
}

// Whoever was woken, and whoever took over, leaves the bit for others who sleep.
func TestWhoHasSleptLeavesTheBit(t *testing.T) {
	s, p, mu, cell := locked(t)
	for _, dies := range []bool{false, true} {
		holder := newParty(t, s)
		holder.lock(0).Lock()
		got := make(chan struct{})
		go func() { mu.Lock(); close(got) }()
		sleeping(t, cell, true)
		cell.Starve.Store(0) // so that nothing is reserved, and the word becomes 0
		if dies {
			holder.die()
		} else {
			holder.lock(0).Unlock()
		}
		shmtest.Within(t, "the lock", func() { <-got })
		if w := cell.Word.Load(); w&format.KernelWaiters == 0 {
			t.Errorf("the holder died: %v; the word is %#x", dies, w)
		}
		mu.Unlock()
	}
	// In its own process, where the next unlock wakes it in Go.
	holder := newParty(t, s)
	holder.lock(0).Lock()
	got := make(chan struct{})
	go func() { mu.Lock(); close(got) }()
	sleeping(t, cell, true)
	cell.Word.Store(p.ID()) // as a goroutine that was quicker does
	shmtest.Eventually(t, "the bit is there again", func() bool {
		sys.FutexWake(&cell.Word, 1, sys.AnyBit)
		return cell.Word.Load() == p.ID()|format.LocalWaiters|format.KernelWaiters
	})
	mu.Unlock()
	shmtest.Within(t, "the lock", func() { <-got })
	mu.Unlock()
	// Late, without having slept.
	cell.Word.Store(0)
	holder = newParty(t, s)
	holder.lock(0).Lock()
	holder.die()
	shmtest.Eventually(t, "the lock of a dead holder", mu.TryLock)
	if w := cell.Word.Load(); w&format.KernelWaiters == 0 {
		t.Errorf("taken over with the word %#x", w)
	}
	mu.Unlock()
}
