//go:build linux

package wait

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
)

// One sleeps for all, and a change wakes all.
func TestOneSleepsForAll(t *testing.T) {
	x := newNumber().patient()
	const sleepers = 100
	var wg sync.WaitGroup
	for range sleepers {
		wg.Go(func() {
			if err := x.await(t.Context(), readWrite, 1); err != nil {
				t.Error(err)
			}
		})
	}
	x.sleep(t, sleepers)
	if n := len(kernelSlots); n != 1 {
		t.Errorf("%d goroutines sleep in the kernel", n)
	}
	x.set(1)
	shmtest.Within(t, "all have seen the change", wg.Wait)
	x.rest(t)
}

// Whatever else is the case, who has what it waits for does not wait.
func TestWaitAsksFirst(t *testing.T) {
	x := newNumber().patient()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	mistake := errors.New("mistake")
	for what, c := range map[string]struct {
		ctx  context.Context
		ok   bool
		err  error
		want error
	}{
		"it is so":                  {t.Context(), true, nil, nil},
		"it is so, and too late":    {done, true, nil, nil},
		"it fails":                  {t.Context(), false, mistake, mistake},
		"it fails, and too late":    {done, false, mistake, mistake},
		"it is not so and too late": {done, false, nil, context.Canceled},
	} {
		asked := 0
		err := x.Wait(c.ctx, readWrite, x.word, x.n.Load, func() (bool, error) { asked++; return c.ok, c.err })
		if err != c.want || asked != 1 {
			t.Errorf("%s: %v, want %v, after %d questions", what, err, c.want, asked)
		}
		x.rest(t)
	}
}

// Each question is asked again after each change.
func TestWaitAsksAfterEachChange(t *testing.T) {
	x := newNumber()
	const changes = 200
	seen := make(chan uint64)
	go func() {
		_ = x.Wait(t.Context(), readWrite, x.word, x.n.Load, func() (bool, error) {
			n := x.n.Load()
			seen <- n
			return n == changes, nil
		})
		close(seen)
	}()
	for n := range uint64(changes + 1) {
		if n > 0 {
			x.set(n)
		}
		for <-seen != n { // A time-out may have made it ask once more before.
		}
	}
	for range seen {
	}
}

// pinger answers each odd number with the next even one, up to a last one.
var pinger = shmtest.Helper("pinger", func(args []string) error {
	x := sharedNumber(memtest.Open(shmtest.InHelper, args[0], false))
	last, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	return answer(x, last)
})

func answer(x number, last uint64) error {
	for n := uint64(1); n < last; n += 2 {
		if err := x.elsewhere().patient().await(context.Background(), readWrite, n); err != nil {
			return err
		}
		x.set(n + 1)
	}
	return nil
}

// No wake-up is lost between one who is about to sleep and one who changes
// something: here nothing else would wake anybody.
func TestNoWakeUpIsLost(t *testing.T) {
	last := 2 * uint64(shmtest.Rounds(2000))
	for what, start := range map[string]func(t *testing.T, x number, s *memtest.Segment) (wait func() error){
		"goroutine": func(_ *testing.T, x number, _ *memtest.Segment) func() error {
			ended := make(chan error)
			go func() { ended <- answer(x, last) }()
			return func() error { return <-ended }
		},
		"process": func(t *testing.T, _ number, s *memtest.Segment) func() error {
			return shmtest.Start(t, pinger, s.Path, strconv.FormatUint(last, 10)).End
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := memtest.New(t)
			x := sharedNumber(s)
			wait := start(t, x, s)
			shmtest.Within(t, "all answers", func() {
				for n := uint64(2); n <= last; n += 2 {
					x.set(n - 1)
					if err := x.elsewhere().patient().await(t.Context(), readWrite, n); err != nil {
						t.Error(err)
					}
				}
			})
			if err := wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// If the one in the kernel leaves, another takes its place.
func TestLeaverIsReplaced(t *testing.T) {
	x := newNumber().patient()
	const sleepers = 5
	var wg sync.WaitGroup
	var leave []context.CancelFunc
	for i := range sleepers {
		ctx, cancel := context.WithCancel(t.Context())
		leave = append(leave, cancel)
		wg.Go(func() {
			if err := x.await(ctx, readWrite, 1); err != nil && err != ctx.Err() {
				t.Error(err)
			}
		})
		x.sleep(t, i+1) // the first one is in the kernel
	}
	for i, cancel := range leave[:sleepers-1] {
		cancel()
		x.sleep(t, sleepers-1-i)
	}
	x.set(1)
	shmtest.Within(t, "the last one", wg.Wait)
	leave[sleepers-1]()
	x.rest(t)
}

// Many give up, the one in the kernel and those behind it, and nobody is left.
func TestWaitGivesUp(t *testing.T) {
	for _, m := range []mapping{readWrite, readOnly} {
		x := newNumber()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
				defer cancel()
				if err := x.await(ctx, m, 1); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
			})
		}
		shmtest.Within(t, "giving up", wg.Wait)
		x.rest(t)
	}
}

// A time-out finds a change of which nobody told, and all who wait learn of it.
func TestUntoldChange(t *testing.T) {
	x := newNumber()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := x.await(t.Context(), readWrite, 1); err != nil {
				t.Error(err)
			}
		})
	}
	x.sleep(t, 10)
	x.n.Store(1)
	shmtest.Within(t, "all have seen the change", wg.Wait)
	x.rest(t)
}

// One that takes its time over a value keeps nobody else from the next change,
// also where only a time-out has made it look.
func TestAwaitBesideASlowLook(t *testing.T) {
	x := newNumber()
	other := number{new(atomic.Uint64), x.word, x.Group} // under the same lock
	var armed atomic.Bool
	inside, done := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = x.Wait(ctx, readWrite, x.word, x.n.Load, func() (bool, error) {
			if armed.CompareAndSwap(true, false) {
				close(inside)
				<-ctx.Done()
			}
			return false, nil
		})
	}()
	x.sleep(t, 1)
	go func() {
		defer close(done)
		_ = other.await(ctx, readWrite, 1)
	}()
	x.sleep(t, 2)
	armed.Store(true)
	x.n.Store(7) // which tells nobody
	shmtest.Within(t, "the first one looks again", func() { <-inside })
	other.set(1)
	shmtest.Within(t, "the second one sees its number", func() { <-done })
}

// WakeAll makes all look, for a reason that the word does not know.
func TestRouse(t *testing.T) {
	x := newNumber().patient()
	x.WakeAll(readWrite, x.word) // nobody
	var closed atomic.Bool
	mistake := errors.New("closed")
	const sleepers = 8
	returned := make(chan error, sleepers)
	for range sleepers {
		go func() {
			returned <- x.Wait(t.Context(), readWrite, x.word, x.n.Load, func() (bool, error) {
				if closed.Load() {
					return false, mistake
				}
				return false, nil
			})
		}()
	}
	x.sleep(t, sleepers)
	closed.Store(true)
	// The one that sleeps may only be about to.
	shmtest.Eventually(t, "all have looked", func() bool {
		x.WakeAll(readWrite, x.word)
		return len(returned) == sleepers
	})
	for range sleepers {
		if err := <-returned; err != mistake {
			t.Errorf("%v", err)
		}
	}
	x.rest(t)
	if w := x.word.Word.Load(); w != format.Awaited {
		t.Errorf("the word is %#x: WakeAll has changed it", w)
	}
}

// A sleeper in a read-only mapping writes nothing. It looks from time to time, and
// is woken if somebody else has announced itself.
func TestReadOnlySleeper(t *testing.T) {
	x := newNumber()
	got := make(chan error)
	go func() { got <- x.await(t.Context(), readOnly, 1) }()
	x.sleep(t, 1)
	if w := x.word.Word.Load(); w != 0 {
		t.Errorf("the word is %#x", w)
	}
	x.set(1)
	shmtest.Within(t, "a change is found", func() {
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
	if lastUnannouncedLook > 300*time.Millisecond || lastLook < 10*lastUnannouncedLook {
		t.Errorf("a sleeper looks each %v, one that nobody has announced each %v", lastLook, lastUnannouncedLook)
	}

	announced, y := x.elsewhere().patient(), x.elsewhere()
	Announce(x.word)
	y.patient()
	go func() { got <- y.await(t.Context(), readOnly, 2) }()
	go func() { got <- announced.await(t.Context(), readWrite, 2) }()
	y.sleep(t, 1)
	announced.sleep(t, 1)
	x.set(2)
	shmtest.Within(t, "both are woken", func() {
		if err := errors.Join(<-got, <-got); err != nil {
			t.Error(err)
		}
	})
}

// awaiter awaits each number that it is told.
var awaiter = shmtest.Helper("awaiter", func(args []string) error {
	ro := args[1] == "ro"
	x := sharedNumber(memtest.Open(shmtest.InHelper, args[0], ro))
	m := readWrite
	if ro {
		m = readOnly
	}
	return shmtest.Replies(func(words []string) (string, error) {
		n, err := strconv.ParseUint(words[0], 10, 64)
		if err == nil {
			err = x.await(context.Background(), m, n)
		}
		return fmt.Sprint("saw ", x.n.Load()), err
	})
})

// maker changes the number when it is told to, and tells or is killed before.
var maker = shmtest.Helper("maker", func(args []string) error {
	x := sharedNumber(memtest.Open(shmtest.InHelper, args[0], false))
	return shmtest.Replies(func(words []string) (string, error) {
		n, err := strconv.ParseUint(words[1], 10, 64)
		if words[0] == "set" {
			x.set(n)
		} else {
			x.n.Store(n)
		}
		return "made", err
	})
})

// A change in one process wakes those who wait in others, and a time-out finds
// the change of a process that was killed before it could tell.
func TestWaitForAnotherProcess(t *testing.T) {
	s := memtest.New(t)
	x := sharedNumber(s)
	rw, ro := shmtest.Start(t, awaiter, s.Path, "rw"), shmtest.Start(t, awaiter, s.Path, "ro")
	for n := uint64(1); n <= 4; n++ {
		for _, p := range []*shmtest.Process{rw, ro} {
			p.Say(fmt.Sprint(n))
		}
		got := make(chan error)
		go func() { got <- x.await(t.Context(), readWrite, n) }()
		shmtest.Eventually(t, "somebody waits", func() bool { return x.word.Word.Load()&format.Awaited != 0 })
		p := shmtest.Start(t, maker, s.Path)
		if n%2 == 0 {
			p.Do(fmt.Sprint("set ", n), "made")
		} else {
			p.Do(fmt.Sprint("store ", n), "made")
		}
		p.Kill()
		shmtest.Within(t, "all see it", func() {
			if err := <-got; err != nil {
				t.Error(err)
			}
		})
		for _, p := range []*shmtest.Process{rw, ro} {
			p.Expect(fmt.Sprint("saw ", n))
		}
	}
}
