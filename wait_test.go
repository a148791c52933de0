//go:build linux

package shm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var crowdSize = flag.Int("crowd", 60, "how many processes wait for one lock in TestManyProcessesWait")

// Waiting for a stopped process costs next to nothing, and ends with its death.
// With -crowd 500 the bounds are those of the README.
func TestManyProcessesWait(t *testing.T) {
	name, v := locked(t)
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	n := *crowdSize
	if raceEnabled {
		n /= 4
	}
	all := make([]*process, n)
	for i := range all {
		all[i] = startAgent(t, name)
	}
	for _, p := range all {
		p.say("add 1")
	}
	sleeping(t, v.Mutex(), true)
	holder.stop()
	time.Sleep(3 * time.Second) // let those settle who have just come
	const span = 2 * time.Second
	before := cpuOf(t, all...)
	time.Sleep(span)
	share := float64(cpuOf(t, all...)-before) / float64(span)
	t.Logf("%d processes wait with %.2f %% of a core", n, 100*share)
	if share > 0.1 && !raceEnabled {
		t.Errorf("%d processes wait with %.0f %% of a core", n, 100*share)
	}
	killed := time.Now()
	holder.kill()
	within(t, "all are through", func() {
		for _, p := range all {
			p.expect("added")
		}
	})
	t.Logf("all were through after %v", time.Since(killed))
	if got := v.Load(); got != int64(n) {
		t.Fatalf("%d additions counted %d", n, got)
	}
}

// However many goroutines wait, few threads do.
func TestManyGoroutinesWait(t *testing.T) {
	name, v := locked(t)
	s := open(t, name, nil)
	const locks = 1000
	crowd := 20_000
	if raceEnabled {
		crowd = 2000 // the detector allows 8,128 goroutines
	}
	all := make([]*Mutex, locks)
	for i := range all {
		all[i] = must(NewMutex(s, fmt.Sprint("mutex", i)))(t)
	}
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	holder.must(fmt.Sprint("lockAll ", locks), "locked")
	holder.stop()
	before := threads(t)
	var wg sync.WaitGroup
	for range crowd {
		wg.Go(func() { v.Add(1) })
	}
	for _, mu := range all {
		wg.Go(func() {
			mu.Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			mu.Unlock()
		})
	}
	sleeping(t, v.Mutex(), true)
	for _, mu := range all {
		sleeping(t, mu, true)
	}
	extra := threads(t) - before
	t.Logf("%d extra threads for %d goroutines", extra, crowd+locks)
	if extra >= 50 {
		t.Errorf("%d extra threads for %d goroutines", extra, crowd+locks)
	}
	holder.kill()
	within(t, "all are through", wg.Wait)
	if got := v.Load(); got != int64(crowd) {
		t.Errorf("%d additions counted %d", crowd, got)
	}
}

// LockContext returns when its context is done, wherever it waits, and strands
// nobody.
func TestLockContext(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	holder := startAgent(t, name)
	gaveUp := func(t *testing.T, ctx context.Context, want error) {
		t.Helper()
		within(t, "giving up", func() {
			if err := mu.LockContext(ctx); !errors.Is(err, want) || !strings.Contains(err.Error(), `"n"`) {
				t.Errorf("got %v, want %v and the name", err, want)
			}
		})
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	gaveUp(t, done, context.Canceled)
	if w := mu.cell.word.Load(); w != 0 {
		t.Fatalf("word %#x after a lock that was given up before it began", w)
	}
	for _, at := range []time.Duration{0, time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond, 30 * time.Millisecond} {
		t.Run(fmt.Sprint("another process, ", at), func(t *testing.T) {
			holder.must("lock", "locked")
			ctx, cancel := context.WithTimeout(t.Context(), at)
			defer cancel()
			gaveUp(t, ctx, context.DeadlineExceeded)
			holder.must("unlock", "unlocked")
		})
		t.Run(fmt.Sprint("this process, ", at), func(t *testing.T) {
			mu.Lock()
			ctx, cancel := context.WithTimeout(t.Context(), at)
			defer cancel()
			gaveUp(t, ctx, context.DeadlineExceeded)
			mu.Unlock()
		})
	}
	// The head gives up, and the next in the queue gets the lock all the same.
	holder.must("lock", "locked")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = mu.LockContext(ctx) })
	sleeping(t, mu, true)
	for range 3 {
		wg.Go(func() { v.Add(1) })
	}
	cancel()
	holder.must("unlock", "unlocked")
	within(t, "those behind a head that gave up", wg.Wait)
	if got := v.Load(); got != 3 {
		t.Fatalf("3 additions counted %d", got)
	}
}

// Many give up at every point, in several processes; then all get through.
func TestGivingUpStrandsNobody(t *testing.T) {
	name, v := locked(t)
	const procs, ms = 3, 1500
	var all []*process
	for range procs {
		p := startAgent(t, name)
		p.say(fmt.Sprint("fickle ", ms))
		all = append(all, p)
	}
	want := fickle(v, 8, ms*time.Millisecond)
	within(t, "who gives up returns", func() {
		for _, p := range all {
			var n int64
			if _, err := fmt.Sscanf(p.line(), "added %d", &n); err != nil {
				t.Error(err)
			}
			want += n
		}
	})
	if got := v.Load(); got != want {
		t.Fatalf("%d additions counted %d", want, got)
	}
	within(t, "all lock once more", func() {
		for _, p := range all {
			p.say("crowd 8")
		}
		v.Add(1)
		for _, p := range all {
			p.expect("through")
		}
	})
	if w := v.Mutex().cell.word.Load(); w != 0 {
		t.Fatalf("word %#x at rest", w)
	}
}

// A granted waiter whose context ends at that very moment has the lock, or has
// left it to the next.
func TestGrantedAndCancelled(t *testing.T) {
	_, v := locked(t)
	mu := v.Mutex()
	for range rounds(400) {
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
		wg.Go(func() { v.Add(1) })
		for mu.cell.word.Load()&wordL == 0 {
			runtime.Gosched()
		}
		mu.queue.mu.Lock()
		mu.queue.starving = mu.queue.head != nil // the unlock hands over
		mu.queue.mu.Unlock()
		go cancel()
		mu.Unlock()
		within(t, "the last one", wg.Wait)
		cancel()
	}
}

// Nobody is kept waiting by who unlocks and locks again at once: elsewhere, or
// in this process.
func TestHogsDoNotStarve(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	worst := func() (worst time.Duration) {
		for range 40 {
			for mu.cell.word.Load()&ownerMask == 0 {
				runtime.Gosched()
			}
			begin := time.Now()
			mu.Lock()
			worst = max(worst, time.Since(begin))
			mu.Unlock()
		}
		return worst
	}
	check := func(t *testing.T) {
		var w time.Duration
		within(t, "the lock behind a hog", func() { w = worst() })
		t.Logf("worst wait %v", w)
		if w > time.Second {
			t.Errorf("waited for %v", w)
		}
	}
	for _, procs := range []int{2, 1} {
		t.Run(fmt.Sprint("another process, GOMAXPROCS=", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			hog := startAgent(t, name)
			hog.say("hog")
			check(t)
			hog.kill()
		})
		t.Run(fmt.Sprint("this process, GOMAXPROCS=", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					mu.Lock()
					for t := time.Now(); time.Since(t) < time.Millisecond; {
					}
					mu.Unlock()
				}
			})
			check(t)
			close(stop)
			wg.Wait()
		})
	}
	t.Run("TryLock elsewhere", func(t *testing.T) {
		p := startAgent(t, name)
		p.say("tryForever")
		check(t)
		p.kill()
	})
}

// Await is woken by every way to change a value, in this process and in others.
func TestAwaitWakes(t *testing.T) {
	name, v := locked(t)
	readOnly := must(NewValue[int64](open(t, name, &Options{ReadOnly: true}), "n", 0))(t)
	p := startAgent(t, name)
	next := int64(0)
	for _, c := range []struct {
		how    string
		change func(to int64)
	}{
		{"Store", v.Store},
		{"Add", func(to int64) { v.Add(to - v.Load()) }},
		{"Swap", func(to int64) { v.Swap(to) }},
		{"CompareAndSwap", func(to int64) { v.CompareAndSwap(v.Load(), to) }},
		{"Update", func(to int64) { v.Update(func(int64) int64 { return to }) }},
		{"raw under the lock", func(to int64) { v.Mutex().Lock(); v.Raw().Set(to); v.Mutex().Unlock() }},
		{"another process's Add", func(to int64) { p.must(fmt.Sprint("add ", to-v.Load()), "added") }},
		{"another process, raw", func(to int64) {
			p.must("lock", "locked")
			p.must(fmt.Sprint("set ", to), "set")
			p.must("unlock", "unlocked")
		}},
		{"a process that dies in the lock", func(to int64) {
			q := startAgent(t, name)
			q.must("lock", "locked")
			q.must(fmt.Sprint("set ", to), "set")
			q.kill()
			v.Mutex().Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			v.Mutex().Unlock()
		}},
		{"a process that dies in the lock, which nobody wants", func(to int64) {
			q := startAgent(t, name)
			q.must("lock", "locked")
			q.must(fmt.Sprint("set ", to), "set")
			q.kill()
		}},
		{"a storer that dies before it can wake", func(to int64) {
			v.mu.Lock()
			v.raw.Set(to)
			v.mu.unlock() // and no notify
		}},
	} {
		t.Run(c.how, func(t *testing.T) {
			next += 10
			from, to := next-10, next
			other := startAgent(t, name)
			other.say(fmt.Sprint("await ", to))
			var wg sync.WaitGroup
			for _, v := range []Value[int64]{v, v, readOnly} {
				wg.Go(func() {
					got, err := v.Await(t.Context(), func(x int64) bool { return x > from })
					if err != nil || got <= from {
						t.Errorf("awaited %d: %d, %v", to, got, err)
					}
				})
			}
			eventually(t, "somebody awaits", func() bool { return v.mu.change.word.Load()&awaited != 0 })
			c.change(to)
			within(t, "those who await", wg.Wait)
			within(t, "the process that awaits", func() { other.expect(fmt.Sprint("saw ", to, " <nil>")) })
		})
	}
}

func TestAwaitGivesUp(t *testing.T) {
	name, v := locked(t)
	readOnly := must(NewValue[int64](open(t, name, &Options{ReadOnly: true}), "n", 0))(t)
	for _, v := range []Value[int64]{v, readOnly} {
		var wg sync.WaitGroup
		for i := range 20 { // the one in the kernel, and those behind it
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
				defer cancel()
				if x, err := v.Await(ctx, func(int64) bool { return false }); !errors.Is(err, context.DeadlineExceeded) || x != 0 || !strings.Contains(err.Error(), `"n"`) {
					t.Errorf("got %d, %v", x, err)
				}
			})
		}
		within(t, "giving up", wg.Wait)
	}
	if n := len(v.mu.lobby.guests); n != 0 {
		t.Errorf("%d are left in the lobby", n)
	}
}

// Who takes its time over a value keeps nobody else from the next change, also
// where only a time-out has made it look.
func TestAwaitBesideASlowLook(t *testing.T) {
	name, v := locked(t)
	other := Synchronized(must(NewRawValue[int64](open(t, name, nil), "other", 0))(t), v.Mutex())
	var armed atomic.Bool
	inside, done := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, _ = v.Await(ctx, func(int64) bool {
			if armed.CompareAndSwap(true, false) {
				close(inside)
				<-ctx.Done()
			}
			return false
		})
	}()
	asleep := func(guests int) func() bool {
		return func() bool {
			l := &v.mu.lobby
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.sleeping && len(l.guests) == guests
		}
	}
	eventually(t, "one sleeps", asleep(1))
	go func() {
		defer close(done)
		_, _ = other.Await(ctx, func(x int64) bool { return x == 1 })
	}()
	eventually(t, "two wait", asleep(2))
	armed.Store(true)
	v.Raw().Set(7) // which tells nobody
	within(t, "the first one looks again", func() { <-inside })
	other.Store(1)
	within(t, "the second one's value", func() { <-done })
}

// Who awaits what does not come costs nothing.
func TestAwaitingIsIdle(t *testing.T) {
	span := 2 * time.Second
	if *stormLength > 10*time.Second {
		span = *stormLength
	}
	name, _ := locked(t)
	crowds := []string{"goAwait 1000"}
	if canWaitAny() { // else somebody looks, a hundred times a second
		crowds = append(crowds, "goAwaitEach 1000")
	}
	for _, what := range crowds {
		p := startAgent(t, name)
		p.must(what, "awaiting")
		time.Sleep(time.Second) // the first looks are short
		before := cpuOf(t, p)
		time.Sleep(span)
		used := cpuOf(t, p) - before
		t.Logf("%s: %v of CPU in %v", what, used, span)
		if used > span/20 {
			t.Errorf("%s: %v of CPU in %v", what, used, span)
		}
		p.kill()
	}
}
