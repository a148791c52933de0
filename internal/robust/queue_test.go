//go:build linux

package robust

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// newWaiter returns a waiter that began to wait so long ago.
func newWaiter(ago time.Duration) *waiter {
	return &waiter{wake: make(chan struct{}, 1), since: sys.Monotonic() - int64(ago)}
}

// A queue is first come first served, whoever leaves it. It is compared with a
// slice.
func TestQueue(t *testing.T) {
	var q queue
	var want []*waiter
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		if len(want) < 2 || len(want) < 8 && random.IntN(2) == 0 {
			w := newWaiter(0)
			if head := q.join(w); head != (len(want) == 0) {
				t.Fatalf("it is the head: %v, behind %d others", head, len(want))
			}
			want = append(want, w)
		} else {
			i := random.IntN(len(want))
			q.mu.Lock()
			wasHead := q.remove(want[i])
			q.mu.Unlock()
			if wasHead != (i == 0) {
				t.Fatalf("number %d was the head: %v", i, wasHead)
			}
			want = slices.Delete(want, i, i+1)
		}
		if got := q.all(); !slices.Equal(got, want) {
			t.Fatalf("the queue is %v, want %v", got, want)
		}
		var last *waiter
		if len(want) > 0 {
			last = want[len(want)-1]
		}
		if q.tail != last {
			t.Fatal("the tail is another")
		}
		for i, w := range want {
			if head, granted := q.turn(w); head != (i == 0) || granted {
				t.Fatalf("number %d is the head: %v, and has the lock: %v", i, head, granted)
			}
		}
	}
}

// The next unlock hands over if the head has waited long: it says so itself, or
// it becomes the head so late.
func TestWhoAsksForAHandOff(t *testing.T) {
	var q queue
	long := 2 * time.Duration(queueAfter)
	first, second, third, fresh := newWaiter(0), newWaiter(long), newWaiter(0), newWaiter(long)
	first.since += int64(time.Hour) // so that the test may take its time
	third.since += int64(time.Hour)
	for _, w := range []*waiter{first, second, third} {
		q.join(w)
	}
	ask := func(w *waiter, want bool, what string) {
		t.Helper()
		if q.askHandOff(w); q.starving != want {
			t.Errorf("%s: the next unlock hands over: %v", what, q.starving)
		}
	}
	remove := func(w *waiter, want bool, what string) {
		t.Helper()
		q.mu.Lock()
		q.remove(w)
		q.mu.Unlock()
		if q.starving != want {
			t.Errorf("%s: the next unlock hands over: %v", what, q.starving)
		}
	}
	ask(first, false, "a head that has just come")
	ask(second, false, "one that has waited long and is not the head")
	remove(first, true, "one that has waited long has become the head")
	ask(second, true, "a head that has waited long")
	ask(third, true, "one that is not the head, which has waited long")
	remove(second, false, "one that has just come has become the head")
	remove(third, false, "nobody is left")
	q.join(fresh)
	ask(fresh, true, "a head that has waited long")
	remove(fresh, false, "nobody is left again")
}

func TestPark(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWaiter(0)
	for range 3 { // A waiter is used again, with its timer.
		w.signal()
		w.signal()
		shmtest.Within(t, "it parks until a token comes", func() { w.park(t.Context(), time.Hour) })
		if len(w.wake) != 0 {
			t.Error("two tokens")
		}
		shmtest.Within(t, "it parks until the context is done", func() { w.park(done, time.Hour) })
		begin := sys.Monotonic()
		shmtest.Within(t, "it parks until the time is over", func() { w.park(t.Context(), time.Millisecond) })
		if d := sys.Monotonic() - begin; d < int64(time.Millisecond) {
			t.Errorf("it parked for %v", time.Duration(d))
		}
	}
	if w.mark() != 0 {
		t.Error("one that has not slept leaves a mark")
	}
	if w.slept = true; w.mark() != format.KernelWaiters {
		t.Error("one that has slept leaves no mark")
	}
}
