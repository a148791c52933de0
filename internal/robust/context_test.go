//go:build linux

package robust

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
)

// LockContext returns when its context is done, wherever it waits, and strands
// nobody.
func TestLockContext(t *testing.T) {
	s, _, mu, cell := locked(t)
	holder := newParty(t, s).lock(0)
	gaveUp := func(t *testing.T, ctx context.Context, want error) {
		t.Helper()
		shmtest.Within(t, "giving up", func() {
			if err := mu.LockContext(ctx); !errors.Is(err, want) || !strings.Contains(err.Error(), `"n"`) {
				t.Errorf("got %v, want %v and the name", err, want)
			}
		})
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	gaveUp(t, done, context.Canceled)
	if w := cell.Word.Load(); w != 0 {
		t.Fatalf("the word is %#x after a lock that was given up before it began", w)
	}
	for _, at := range []time.Duration{0, time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond, 30 * time.Millisecond} {
		for what, holder := range map[string]*Lock{"another process": holder, "this process": mu} {
			t.Run(fmt.Sprint(what, ", ", at), func(t *testing.T) {
				holder.Lock()
				ctx, cancel := context.WithTimeout(t.Context(), at)
				defer cancel()
				gaveUp(t, ctx, context.DeadlineExceeded)
				holder.Unlock()
			})
		}
	}
	// The head gives up, and the next in the queue gets the lock all the same.
	holder.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = mu.LockContext(ctx) })
	sleeping(t, cell, true)
	added := 0
	for range 3 {
		wg.Go(func() { mu.Lock(); added++; mu.Unlock() })
	}
	parked(t, mu, 4)
	cancel()
	holder.Unlock()
	shmtest.Within(t, "those behind a head that gave up", wg.Wait)
	if added != 3 || len(mu.queue.all()) != 0 {
		t.Fatalf("3 additions counted %d, and %d queue", added, len(mu.queue.all()))
	}
}

// Those in the middle and at the end of a queue give up and leave the others
// where they are.
func TestGivingUpInTheQueue(t *testing.T) {
	_, _, mu, cell := locked(t)
	mu.Lock()
	const n = 6
	var cancels []context.CancelFunc
	ended := make([]chan error, n)
	for i := range n {
		ctx, cancel := context.WithCancel(t.Context())
		cancels, ended[i] = append(cancels, cancel), make(chan error)
		go func() {
			err := mu.LockContext(ctx)
			if err == nil {
				mu.Unlock()
			}
			ended[i] <- err
		}()
		parked(t, mu, i+1)
	}
	for left, i := range []int{5, 2, 0, 3} {
		cancels[i]()
		shmtest.Within(t, fmt.Sprintf("number %d gives up", i), func() {
			if err := <-ended[i]; !errors.Is(err, context.Canceled) {
				t.Errorf("number %d: %v", i, err)
			}
		})
		if q := len(mu.queue.all()); q != n-1-left {
			t.Errorf("after number %d gave up %d queue", i, q)
		}
	}
	mu.Unlock()
	for _, i := range []int{1, 4} {
		shmtest.Within(t, fmt.Sprintf("number %d has had the lock", i), func() {
			if err := <-ended[i]; err != nil {
				t.Errorf("number %d: %v", i, err)
			}
		})
		cancels[i]()
	}
	if w := cell.Word.Load(); w != 0 {
		t.Errorf("at rest the word is %#x", w)
	}
}
