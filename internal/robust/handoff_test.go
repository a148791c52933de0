//go:build linux

package robust

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// starve makes the next unlock hand over to the head, if there is one.
func (q *queue) starve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.starving = q.head != nil
}

// A hand-over leaves the word as it is: the lock is never free in between.
func TestUnlockHandsOver(t *testing.T) {
	_, p, mu, cell := locked(t)
	mu.Lock()
	first, second := newWaiter(0), newWaiter(0)
	second.since += int64(time.Hour) // it has just come, however long the test takes
	mu.queue.join(first)
	mu.queue.join(second)
	cell.Word.Or(format.LocalWaiters)
	mu.Unlock() // not starving yet
	if w := cell.Word.Load(); w != 0 || first.granted || len(first.wake) != 1 {
		t.Fatalf("after a normal unlock the word is %#x, granted: %v, woken: %v", w, first.granted, len(first.wake) == 1)
	}
	<-first.wake
	mu.Lock()
	cell.Word.Or(format.LocalWaiters)
	mu.queue.starve()
	mu.Unlock()
	head, granted := mu.queue.turn(first)
	if w := cell.Word.Load(); w != p.ID()|format.LocalWaiters || head || !granted || len(first.wake) != 1 || len(second.wake) != 0 {
		t.Errorf("after a hand-over the word is %#x, the head: %v, granted: %v, woken: %v and %v", w, head, granted, len(first.wake) == 1, len(second.wake) == 1)
	}
	if mu.TryLock() {
		t.Error("the lock was free in between")
	}
	mu.Unlock() // of the first one; the second one has not waited long
	if w := cell.Word.Load(); w != 0 || second.granted || len(second.wake) != 1 {
		t.Errorf("then the word is %#x, granted: %v, woken: %v", w, second.granted, len(second.wake) == 1)
	}
	if err := mu.giveUp(second, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A head that other goroutines of its process overtake asks for a hand-over once it
// has waited long.
func TestHeadAsksForTheHandOff(t *testing.T) {
	_, p, mu, cell := locked(t)
	mu.Lock()
	got := make(chan struct{})
	go func() { mu.Lock(); close(got) }()
	parked(t, mu, 1)
	shmtest.Eventually(t, "the head asks", func() bool {
		mu.wakeHead() // and finds the lock taken again
		mu.queue.mu.Lock()
		defer mu.queue.mu.Unlock()
		return mu.queue.starving
	})
	mu.Unlock()
	if w := cell.Word.Load(); w != p.ID()|format.LocalWaiters {
		t.Errorf("after a hand-over the word is %#x", w)
	}
	<-got
	mu.Unlock()
}

// Goroutines of one process hand the lock on among them only so often while
// another process waits.
func TestHandOversAreBounded(t *testing.T) {
	_, p, mu, cell := locked(t)
	for _, elsewhere := range []bool{false, true} {
		mu.Lock()
		cell.Word.Or(format.LocalWaiters)
		handed := 0
		for ; handed < 3*handOvers; handed++ {
			if elsewhere {
				cell.Word.Or(format.KernelWaiters)
				cell.Starve.Store(format.StarveGo) // so that it is reserved, although nobody sleeps
			}
			w := newWaiter(time.Second)
			mu.queue.join(w)
			mu.queue.starve()
			if mu.Unlock(); !w.granted {
				if err := mu.giveUp(w, context.Canceled); err == nil {
					t.Error("it has the lock, which was not handed over")
				}
				break
			}
		}
		w := cell.Word.Load()
		if elsewhere {
			if handed != handOvers || w != format.KernelWaiters || cell.Starve.Load() != 0 {
				t.Errorf("beside another process: %d hand-overs, then the word is %#x and Starve is %d", handed, w, cell.Starve.Load())
			}
			cell.Word.Store(0)
			// From then on it begins anew.
			mu.Lock()
			cell.Word.Or(format.LocalWaiters | format.KernelWaiters)
			next := newWaiter(time.Second)
			mu.queue.join(next)
			mu.queue.starve()
			if mu.Unlock(); !next.granted {
				t.Error("after a release no hand-over")
			}
			mu.Unlock()
			continue
		}
		if handed != 3*handOvers || w != p.ID()|format.LocalWaiters {
			t.Errorf("within one process: %d hand-overs, then the word is %#x", handed, w)
		}
		mu.Unlock()
	}
}

// A head that takes the lock leaves a mark for the goroutine behind it, so that
// the unlock wakes that one.
func TestHeadMarksTheNext(t *testing.T) {
	_, p, mu, cell := locked(t)
	for _, n := range []int{1, 2} {
		var all []*waiter
		for range n {
			all = append(all, newWaiter(0))
			mu.queue.join(all[len(all)-1])
		}
		if !mu.acquire(all[0], 0) {
			t.Fatal("the free lock was not taken")
		}
		want := p.ID()
		if n > 1 {
			want |= format.LocalWaiters
		}
		if w := cell.Word.Load(); w != want {
			t.Errorf("of %d that queue the first one has the lock: the word is %#x, want %#x", n, w, want)
		}
		mu.Unlock()
		for _, w := range all[1:] {
			shmtest.Within(t, "the next one is woken", func() { <-w.wake })
			_ = mu.giveUp(w, context.Canceled)
		}
	}
	if w := newWaiter(0); mu.queue.join(w) {
		cell.Word.Store(format.KernelWaiters)
		if !mu.acquire(w, format.KernelWaiters) || cell.Word.Load() != p.ID()|format.KernelWaiters {
			t.Errorf("it took a reserved lock, and the word is %#x", cell.Word.Load())
		}
		mu.Unlock()
	}
	if w := newWaiter(0); mu.queue.join(w) {
		if cell.Word.Store(9); mu.acquire(w, 0) || cell.Word.Load() != 9 || len(mu.queue.all()) != 1 {
			t.Error("it took a lock that is not free, or left the queue")
		}
	}
}

// A granted waiter whose context ends at that very moment has the lock, or has
// left it to the next.
func TestGrantedAndCancelled(t *testing.T) {
	_, _, mu, cell := locked(t)
	for range shmtest.Rounds(400) {
		mu.Lock()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if mu.LockContext(ctx) == nil {
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			mu.Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			mu.Unlock()
		})
		for cell.Word.Load()&format.LocalWaiters == 0 {
			runtime.Gosched()
		}
		mu.queue.starve()
		go cancel()
		mu.Unlock()
		shmtest.Within(t, "the last one", wg.Wait)
		cancel()
	}
	if w := cell.Word.Load(); w != 0 || len(mu.queue.all()) > 0 {
		t.Errorf("at rest the word is %#x, and %d queue", w, len(mu.queue.all()))
	}
}

// Whoever gives up at the very moment that the lock is handed over has it.
func TestGivingUpWhatWasGranted(t *testing.T) {
	_, _, mu, cell := locked(t)
	mu.Lock()
	me := &waiter{wake: make(chan struct{}, 1), since: sys.Monotonic()}
	mu.queue.join(me)
	cell.Word.Or(format.LocalWaiters)
	mu.queue.starve()
	mu.Unlock()
	if mu.TryLock() {
		t.Fatal("handed over, and free")
	}
	if err := mu.giveUp(me, context.Canceled); err != nil {
		t.Errorf("it has the lock, and gives up: %v", err)
	}
	mu.Unlock()
	if w := cell.Word.Load(); w != 0 || mu.queue.head != nil || mu.queue.tail != nil {
		t.Errorf("at rest the word is %#x, the queue %v to %v", w, mu.queue.head, mu.queue.tail)
	}
}
