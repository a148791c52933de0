//go:build linux

package shm_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// NewMutexes attaches by number, or by the number found.
func TestMutexes(t *testing.T) {
	s, ms := places(t, 5)
	found := shmtest.Must(shm.NewMutexes(s, "places", 0))(t)
	if ms.Len() != 5 || found.Len() != 5 || ms.At(3) != found.At(3) || ms.At(3) == ms.At(4) {
		t.Errorf("%d and %d locks, or lock 3 is not one Mutex", ms.Len(), found.Len())
	}
	ms.At(3).Lock()
	for i := range 5 {
		if got := ms.At(i).TryLock(); got != (i != 3) {
			t.Errorf("lock %d was free: %v", i, got)
		}
	}
	single := shmtest.Must(shm.NewMutex(s, "single"))(t)
	single.Lock()
	for what, c := range map[string]struct {
		n    int
		name string
		want error
	}{
		"negative":        {-1, "x", fs.ErrInvalid},
		"beyond MaxSize":  {1 << 30, "x", shm.ErrFull},
		"beyond all":      {math.MaxInt, "x", map[bool]error{true: fs.ErrInvalid, false: shm.ErrFull}[math.MaxInt > math.MaxInt32]},
		"none to find":    {0, "x", fs.ErrNotExist},
		"another number":  {6, "places", nil},
		"a single Mutex":  {1, "single", nil},
		"a Mutex, number": {0, "single", nil},
	} {
		_, err := shm.NewMutexes(s, c.name, c.n)
		var mismatch *shm.LayoutError
		if c.want == nil && !errors.As(err, &mismatch) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := shm.NewMutex(s, "places"); err == nil || !strings.Contains(err.Error(), "Mutexes") {
		t.Errorf("a Mutex of that name: %v", err)
	}
	for _, i := range []int{-1, 5} {
		for what, f := range map[string]func(){"At": func() { ms.At(i) }, "Owner": func() { ms.Owner(i) }} {
			if got, ok := shmtest.Panic(f).(error); !ok || !strings.Contains(got.Error(), "out of range") {
				t.Errorf("%s(%d): panic %v", what, i, got)
			}
		}
	}
}

// LockAny takes the lowest lock that is free, or whose owner is dead.
func TestLockAnyTakesTheLowest(t *testing.T) {
	s, ms := places(t, 4)
	a, b := shmtest.Start(t, worker, s.Name()), shmtest.Start(t, worker, s.Name())
	take := func(want int, abandoned bool) {
		t.Helper()
		i, err := ms.LockAny(t.Context())
		if err != nil || i != want || ms.At(i).Abandoned() != abandoned {
			t.Fatalf("lock %d, %v, want %d; abandoned: %v", i, err, want, ms.At(i).Abandoned())
		}
	}
	take(0, false)
	a.Do("any", "1")
	b.Do("any", "2")
	a.Kill()
	take(1, true)
	take(3, false)
	b.Do("unlock 2", "unlocked")
	ms.At(0).Unlock()
	take(0, false)
	take(2, false)
	ms.At(1).Unlock()
	take(1, false) // whoever asked has cleared the mark
}

// Whoever waits gets a lock when any is released, or when any owner dies.
func TestLockAnyWaits(t *testing.T) {
	const n = 3
	s, ms := places(t, n)
	holders := make([]*shmtest.Process, n)
	for i := range holders {
		holders[i] = shmtest.Start(t, worker, s.Name())
		holders[i].Do("any", string(rune('0'+i)))
	}
	type taken struct {
		i   int
		err error
	}
	got := make(chan taken, 1)
	wait := func() {
		go func() { i, err := ms.LockAny(t.Context()); got <- taken{i, err} }()
		select {
		case g := <-got:
			t.Fatalf("lock %d of a process that lives: %v", g.i, g.err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	expect := func(want int) {
		t.Helper()
		shmtest.Within(t, "LockAny", func() {
			if g := <-got; g.i != want || g.err != nil {
				t.Errorf("lock %d, %v, want %d", g.i, g.err, want)
			}
		})
	}
	wait()
	holders[1].Do("unlock 1", "unlocked")
	expect(1)
	wait()
	holders[2].Signal(os.Kill)
	expect(2)
	if !ms.At(2).Abandoned() {
		t.Error("the lock of a dead process is not abandoned")
	}
	wait()
	ms.At(1).Unlock()
	expect(1)
}

// Goroutines get the locks one by one, and no lock has two holders.
func TestLockAnyAmongGoroutines(t *testing.T) {
	const locks, goroutines = 3, 40
	rounds := shmtest.Rounds(40)
	_, ms := places(t, locks)
	var holders [locks]atomic.Int32
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				i, err := ms.LockAny(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders[i].Add(1); n != 1 {
					t.Errorf("lock %d has %d holders", i, n)
				}
				time.Sleep(10 * time.Microsecond)
				holders[i].Add(-1)
				ms.At(i).Unlock()
			}
		})
	}
	shmtest.Within(t, "all get a lock", wg.Wait)
}

// More locks than one thread can sleep for.
func TestLockAnyOfMany(t *testing.T) {
	for _, n := range []int{200, 1500} {
		_, ms := places(t, n)
		for i := range n {
			ms.At(i).Lock()
		}
		for _, i := range []int{0, n / 2, n - 1} {
			got := make(chan int, 1)
			go func() { i, _ := ms.LockAny(t.Context()); got <- i }()
			time.Sleep(5 * time.Millisecond)
			ms.At(i).Unlock()
			shmtest.Within(t, "LockAny", func() {
				if g := <-got; g != i {
					t.Errorf("lock %d of %d, want %d", g, n, i)
				}
			})
		}
	}
}

// Whoever gives up, or is ended by Close, has no lock, and the others go on.
func TestLockAnyGivesUp(t *testing.T) {
	s, ms := places(t, 2)
	for i := range 2 {
		ms.At(i).Lock()
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ms.LockAny(done); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "places") {
		t.Errorf("with a context that is done: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	head, next := make(chan error, 1), make(chan int, 1)
	go func() { _, err := ms.LockAny(ctx); head <- err }()
	time.Sleep(5 * time.Millisecond)
	go func() { i, _ := ms.LockAny(t.Context()); next <- i }()
	time.Sleep(5 * time.Millisecond)
	cancel()
	shmtest.Within(t, "the first one gives up", func() {
		if err := <-head; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	})
	ms.At(1).Unlock()
	shmtest.Within(t, "the second one gets a lock", func() {
		if i := <-next; i != 1 {
			t.Errorf("lock %d", i)
		}
	})
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() { _, err := ms.LockAny(context.Background()); ended <- err }()
	}
	time.Sleep(5 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	shmtest.Within(t, "Close ends all", func() {
		for range cap(ended) {
			if err := <-ended; !errors.Is(err, shm.ErrClosed) {
				t.Errorf("Close meanwhile: %v", err)
			}
		}
	})
	if got, ok := shmtest.Panic(func() { _, _ = ms.LockAny(t.Context()) }).(error); !ok || !errors.Is(got, shm.ErrClosed) {
		t.Errorf("after Close: panic %v", got)
	}
	ms.At(0).Unlock() // works after Close
	readOnly := shmtest.Must(shm.NewMutexes(open(t, s.Name(), &shm.Options{ReadOnly: true}), "places", 2))(t)
	if got, ok := shmtest.Panic(func() { _, _ = readOnly.LockAny(t.Context()) }).(error); !ok || !errors.Is(got, shm.ErrReadOnly) {
		t.Errorf("read-only: panic %v", got)
	}
	if owner, held := readOnly.Owner(1); !held || !owner.Alive() {
		t.Errorf("read-only: the owner is %+v", owner)
	}
}
