//go:build linux

package wait

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func needsWaitAny(t *testing.T) {
	t.Helper()
	if !sys.CanWaitAny() {
		t.Skip("this system has no FUTEX_WAITV")
	}
}

// newWaiter returns who sleeps on a word of its own.
func newWaiter() *wordWaiter {
	return &wordWaiter{
		Word: sys.Word{Addr: new(atomic.Uint32)}, wake: make(chan struct{}, 1),
		missed: func() bool { return false }, every: lastLook,
	}
}

// crowd takes all room of all threads, until the caller calls leave.
func crowd(t *testing.T) (leave func()) {
	t.Helper()
	var all []*wordWaiter
	for i := range multiWaits {
		for len(all) < (i+1)*wordsPerThread {
			w := newWaiter()
			if !multiWaits[i].add(w) {
				t.Fatalf("no room for waiter %d", len(all))
			}
			all = append(all, w)
		}
	}
	return func() {
		for i, w := range all {
			multiWaits[i/wordsPerThread].remove(w)
		}
		threadsEnd(t)
	}
}

// threadsEnd returns when the goroutines that sleep for others have ended.
func threadsEnd(t *testing.T) {
	t.Helper()
	shmtest.Eventually(t, "the threads that sleep for many end", func() bool {
		for i := range multiWaits {
			m := &multiWaits[i]
			m.mu.Lock()
			running := m.running
			m.mu.Unlock()
			if running {
				return false
			}
		}
		return true
	})
}

func TestSleepWithOthers(t *testing.T) {
	needsWaitAny(t)
	others := make([]*wordWaiter, 5)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range others {
		others[i] = newWaiter()
		wg.Go(func() { sleepWithOthers(ctx, others[i]) })
	}
	for what, end := range map[string]func(w *wordWaiter, cancel func(), missed *atomic.Bool){
		"a token":            func(w *wordWaiter, _ func(), _ *atomic.Bool) { Signal(w.wake) },
		"the context":        func(_ *wordWaiter, cancel func(), _ *atomic.Bool) { cancel() },
		"an untold change":   func(w *wordWaiter, _ func(), _ *atomic.Bool) { w.Addr.Add(1) },
		"a change":           func(w *wordWaiter, _ func(), _ *atomic.Bool) { w.Addr.Add(1); sys.FutexWake(w.Addr, 1, sys.AnyBit) },
		"what it has missed": func(_ *wordWaiter, _ func(), missed *atomic.Bool) { missed.Store(true) },
	} {
		w, returned := newWaiter(), make(chan bool)
		var missed atomic.Bool
		w.missed = missed.Load
		ctx, cancel := context.WithCancel(t.Context())
		go func() { returned <- sleepWithOthers(ctx, w) }()
		shmtest.Eventually(t, "it sleeps with others", func() bool {
			multiWaits[0].mu.Lock()
			defer multiWaits[0].mu.Unlock()
			_, here := multiWaits[0].waiters[w]
			return here && len(multiWaits[0].waiters) == len(others)+1
		})
		end(w, cancel, &missed)
		shmtest.Within(t, "a sleep that ends by "+what, func() {
			if !<-returned {
				t.Errorf("%s: there was no room", what)
			}
		})
		cancel()
	}
	cancel()
	wg.Wait()
	threadsEnd(t)
}

// A word that has changed before anybody sleeps on it is noticed.
func TestSleepWithOthersOnAnOldWord(t *testing.T) {
	needsWaitAny(t)
	for range 50 {
		w := newWaiter()
		w.Addr.Store(w.Seen + 1)
		shmtest.Within(t, "it returns", func() { sleepWithOthers(t.Context(), w) })
	}
	threadsEnd(t)
}

// The thread learns of each waiter that comes, and that the last one has left.
func TestThreadIsTold(t *testing.T) {
	needsWaitAny(t)
	var m multiWait
	a, b := newWaiter(), newWaiter()
	for _, c := range []struct {
		what string
		step func()
		told bool
	}{
		{"the first one comes, for whom it starts", func() { m.add(a) }, false},
		{"another one comes", func() { m.add(b) }, true},
		{"one of two leaves", func() { m.remove(a) }, false},
		{"the last one leaves", func() { m.remove(b) }, true},
	} {
		before := m.bell.Load()
		c.step()
		if told := m.bell.Load() != before; told != c.told {
			t.Errorf("%s: the thread is told: %v, want %v", c.what, told, c.told)
		}
	}
	shmtest.Eventually(t, "the thread ends", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return !m.running
	})
}

func TestRoomForManyWords(t *testing.T) {
	needsWaitAny(t)
	leave := crowd(t)
	for i := range multiWaits {
		if multiWaits[i].add(newWaiter()) {
			t.Errorf("thread %d has more than %d words", i, wordsPerThread)
		}
	}
	if sleepWithOthers(t.Context(), newWaiter()) {
		t.Error("it slept where there is no room")
	}
	leave()
}

// Numbers awaited by more goroutines than may sleep in the kernel: by threads that
// sleep for many, and where there is no room with those or no call for them, by
// one goroutine that looks at all.
func TestAwaitManyValues(t *testing.T) {
	t.Run("multiWait", func(t *testing.T) {
		needsWaitAny(t)
		awaitMany(t, func() bool {
			poll.mu.Lock()
			defer poll.mu.Unlock()
			return len(poll.words) == 0
		})
		threadsEnd(t)
	})
	t.Run("poller", func(t *testing.T) {
		if sys.CanWaitAny() {
			defer crowd(t)()
		}
		awaitMany(t, func() bool {
			poll.mu.Lock()
			defer poll.mu.Unlock()
			return len(poll.words) > 0
		})
	})
}

// awaitMany checks while all sleep that they do where the test wants them.
func awaitMany(t *testing.T, where func() bool) {
	const n, quitters = 300, 20
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all [n]number
	var steady, fickle sync.WaitGroup
	before := shmtest.Threads(t)
	for i := range all {
		all[i] = newNumber()
		if i < n-quitters {
			steady.Go(func() {
				if err := all[i].await(t.Context(), readWrite, 1); err != nil {
					t.Error(err)
				}
			})
			continue
		}
		fickle.Go(func() {
			if err := all[i].await(ctx, readWrite, 1); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	for _, x := range all {
		x.sleep(t, 1)
	}
	shmtest.Eventually(t, "all sleep where there is room", where)
	if extra := shmtest.Threads(t) - before; extra >= 50 {
		t.Errorf("%d extra threads", extra)
	}
	shmtest.Eventually(t, "all slots of the kernel are taken", func() bool { return len(changeSlots) == cap(changeSlots) })
	cancel()
	shmtest.Within(t, "those who give up", fickle.Wait)
	for i, x := range all[:n-quitters] {
		if i%2 == 0 {
			x.n.Store(1) // tells nobody: a time-out finds it
		} else {
			x.set(1)
		}
	}
	shmtest.Within(t, "all values", steady.Wait)
	for _, x := range all {
		x.rest(t)
	}
}
