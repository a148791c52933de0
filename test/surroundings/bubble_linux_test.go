package surroundings_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// Tests in a bubble of testing/synctest have a clock of their own, and what they make must not be used
// outside. Other processes know nothing of that.

// bubblePeer takes a lock, or stores a number, as it is told.
var bubblePeer = shmtest.Helper("bubblePeer", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	mu, err := shm.NewMutex(s, "mutex")
	if err != nil {
		return err
	}
	v, err := shm.NewValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "lock":
			mu.Lock()
		case "store":
			time.Sleep(20 * time.Millisecond)
			v.Store(1)
		}
		return "done", nil
	})
})

// bubbleSegment returns a segment with a lock and a number.
func bubbleSegment(t *testing.T) (string, *shm.Segment, *shm.Mutex, shm.Value[int64]) {
	t.Helper()
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	return name, s, shmtest.Must(shm.NewMutex(s, "mutex"))(t), shmtest.Must(shm.NewValue(s, "n", int64(0)))(t)
}

// finishes ends the whole test if what a bubble does takes minutes of the system's
// time: a bubble that hangs ends no other way.
func finishes(t *testing.T, do func(t *testing.T)) {
	t.Helper()
	watchdog := time.AfterFunc(2*time.Minute, func() { panic(t.Name() + ": a bubble hangs") })
	defer watchdog.Stop()
	synctest.Test(t, do)
}

func TestBubbleTakesOverFromTheDead(t *testing.T) {
	name, _, mu, _ := bubbleSegment(t)
	p := shmtest.Start(t, bubblePeer, name)
	p.Do("lock", "done")
	killed := time.AfterFunc(50*time.Millisecond, func() { _ = p.Cmd.Process.Kill() })
	defer killed.Stop()
	finishes(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := mu.LockContext(ctx); err != nil {
			t.Fatal(err)
		}
		if !mu.Abandoned() {
			t.Error("it was free")
		}
		mu.Unlock()
	})
}

// A time-out of the bubble's time ends a wait for another process.
func TestBubbleTimesOut(t *testing.T) {
	name, _, mu, v := bubbleSegment(t)
	p := shmtest.Start(t, bubblePeer, name)
	p.Do("lock", "done")
	finishes(t, func(t *testing.T) {
		for what, wait := range map[string]func(context.Context) error{
			"lock": mu.LockContext,
			"await": func(ctx context.Context) error {
				_, err := v.Await(ctx, func(n int64) bool { return n == 5 })
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", what, err)
			}
			cancel()
		}
	})
}

// contend lets goroutines take a lock again and again, and hold it for some time.
func contend(mu *shm.Mutex) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				mu.Lock()
				time.Sleep(time.Millisecond)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// Nothing that was made in a bubble is used outside, or the reverse, or in another
// bubble: Go would end the process.
func TestBubblesShareNothing(t *testing.T) {
	_, _, mu, _ := bubbleSegment(t)
	contend(mu) // the pool has what was made outside
	for range 2 {
		finishes(t, func(*testing.T) { contend(mu) })
		contend(mu)
	}
	// At once, so that each waits for the others.
	outside := make(chan struct{})
	go func() { contend(mu); close(outside) }()
	t.Run("bubbles", func(t *testing.T) {
		for i := range 2 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				finishes(t, func(*testing.T) { contend(mu) })
			})
		}
	})
	<-outside
}

// What a goroutine of the bubble does at a time of the bubble is seen at that time.
func TestBubbleSeesItsOwnChanges(t *testing.T) {
	_, _, mu, v := bubbleSegment(t)
	finishes(t, func(t *testing.T) {
		start := time.Now()
		go func() {
			time.Sleep(time.Hour)
			v.Store(1)
		}()
		if _, err := v.Await(t.Context(), func(n int64) bool { return n == 1 }); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Hour {
			t.Errorf("the change of an hour later is seen after %v", d)
		}
		mu.Lock()
		go func() {
			time.Sleep(time.Minute)
			mu.Unlock()
		}()
		start = time.Now()
		mu.Lock()
		if d := time.Since(start); d != time.Minute {
			t.Errorf("the lock of a minute is free after %v", d)
		}
		mu.Unlock()
	})
}

// A goroutine that waits for any of its own bubble's locks lets the bubble's clock go on, as
// one that waits for a certain lock does: else ten minutes would be ten minutes of the system.
func TestBubbleReleasesAnyOfItsLocks(t *testing.T) {
	_, s, _, _ := bubbleSegment(t)
	locks := shmtest.Must(shm.NewMutexes(s, "locks", 3))(t)
	for i := range locks.Len() {
		locks.At(i).Lock()
	}
	finishes(t, func(t *testing.T) {
		for i := range locks.Len() { // the change word of each ends the wait
			start := time.Now()
			time.AfterFunc(10*time.Minute, locks.At(i).Unlock)
			got, err := locks.LockAny(t.Context())
			if d := time.Since(start); got != i || err != nil || d != 10*time.Minute {
				t.Errorf("LockAny took %d with %v after %v, want %d after ten minutes", got, err, d, i)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if _, err := locks.LockAny(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a time-out of ten minutes: %v", err)
		}
	})
}

func TestBubbleSeesOtherProcesses(t *testing.T) {
	name, s, _, v := bubbleSegment(t)
	p := shmtest.Start(t, bubblePeer, name)
	if _, err := fmt.Fprintln(p.Stdin, "store"); err != nil {
		t.Fatal(err)
	}
	finishes(t, func(t *testing.T) {
		if n, err := v.Await(t.Context(), func(n int64) bool { return n == 1 }); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		done := make(chan error)
		go func() {
			_, err := v.Await(t.Context(), func(n int64) bool { return n == 2 })
			done <- err
		}()
		time.Sleep(time.Second)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, shm.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
	p.Expect("done")
}

// A goroutine outside holds the lock for which one in a bubble waits, and the reverse.
func TestBubbleAndOutside(t *testing.T) {
	_, _, mu, v := bubbleSegment(t)
	mu.Lock()
	awaited := make(chan error, 1)
	go func() {
		_, err := v.Await(context.Background(), func(n int64) bool { return n == 3 })
		awaited <- err
	}()
	release := time.AfterFunc(20*time.Millisecond, mu.Unlock)
	defer release.Stop()
	finishes(t, func(t *testing.T) {
		mu.Lock()
		v.Store(3)
		mu.Unlock()
	})
	if err := <-awaited; err != nil {
		t.Fatal(err)
	}
}
