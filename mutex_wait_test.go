//go:build linux

package shm_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// LockContext returns when its context is done, wherever it waits, and leaves
// nobody behind who waits for ever.
func TestLockContext(t *testing.T) {
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, "n")
	holder := agent.Start(t, s.Name())
	gaveUp := func(t *testing.T, ctx context.Context, want error) {
		t.Helper()
		shmtest.Within(t, "LockContext gives up", func() {
			if err := mu.LockContext(ctx); !errors.Is(err, want) || !strings.Contains(err.Error(), `"n"`) {
				t.Errorf("got %v, want %v and the name", err, want)
			}
		})
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	gaveUp(t, done, context.Canceled)
	if w := cell.Word.Load(); w != 0 {
		t.Fatalf("the word is %#x after a LockContext whose context was done before", w)
	}
	for _, at := range []time.Duration{0, time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond, 30 * time.Millisecond} {
		t.Run(fmt.Sprint("another process, ", at), func(t *testing.T) {
			holder.Do("lock", "locked")
			ctx, cancel := context.WithTimeout(t.Context(), at)
			defer cancel()
			gaveUp(t, ctx, context.DeadlineExceeded)
			holder.Do("unlock", "unlocked")
		})
		t.Run(fmt.Sprint("this process, ", at), func(t *testing.T) {
			mu.Lock()
			ctx, cancel := context.WithTimeout(t.Context(), at)
			defer cancel()
			gaveUp(t, ctx, context.DeadlineExceeded)
			mu.Unlock()
		})
	}
	// The head of the queue gives up. The next one gets the lock all the same.
	holder.Do("lock", "locked")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = mu.LockContext(ctx) })
	agent.Sleeping(t, cell, true)
	for range 3 {
		wg.Go(func() { v.Add(1) })
	}
	cancel()
	holder.Do("unlock", "unlocked")
	shmtest.Within(t, "those behind a head that gave up get the lock", wg.Wait)
	if got := v.Load(); got != 3 {
		t.Fatalf("3 additions counted %d", got)
	}
}

// Goroutines of several processes give up at every point of a wait. Afterwards all
// get the lock.
func TestGivingUpStrandsNobody(t *testing.T) {
	s, v := agent.Locked(t)
	const procs, ms = 3, 1500
	var all []*shmtest.Process
	for range procs {
		p := agent.Start(t, s.Name())
		p.Say(fmt.Sprint("fickle ", ms))
		all = append(all, p)
	}
	var want int64
	shmtest.Within(t, "those who give up return", func() { want = agent.Fickle(v, 8, ms*time.Millisecond) })
	for _, p := range all {
		var n int64
		if _, err := fmt.Sscanf(p.Line(), "added %d", &n); err != nil {
			t.Error(err)
		}
		want += n
	}
	if got := v.Load(); got != want {
		t.Fatalf("%d additions counted %d", want, got)
	}
	for _, p := range all {
		p.Say("crowd 8")
	}
	shmtest.Within(t, "the lock is free once more", func() { v.Add(1) })
	for _, p := range all {
		p.Expect("through")
	}
	if w := agent.Cell(t, s, "n").Word.Load(); w != 0 {
		t.Fatalf("the word of a lock at rest is %#x", w)
	}
}

// A process, or a goroutine, that unlocks and locks again at once keeps nobody
// waiting.
func TestHogsDoNotStarve(t *testing.T) {
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, "n")
	check := func(t *testing.T) {
		t.Helper()
		var worst time.Duration
		shmtest.Within(t, "the lock is got beside a hog", func() {
			for range 40 {
				for cell.Word.Load()&format.OwnerMask == 0 {
					runtime.Gosched()
				}
				begin := time.Now()
				mu.Lock()
				worst = max(worst, time.Since(begin))
				mu.Unlock()
			}
		})
		t.Logf("the longest wait took %v", worst)
		if worst > time.Second {
			t.Errorf("waited for %v", worst)
		}
	}
	for _, procs := range []int{2, 1} {
		t.Run(fmt.Sprint("another process, GOMAXPROCS=", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			hog := agent.Start(t, s.Name())
			hog.Say("hog")
			check(t)
			hog.Kill()
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
	t.Run("TryLock of another process", func(t *testing.T) {
		p := agent.Start(t, s.Name())
		p.Say("tryForever")
		check(t)
		p.Kill()
	})
}

var crowdSize = flag.Int("crowd", 60, "how many processes wait for one lock in TestManyProcessesWait")

// To wait for a stopped process costs next to nothing, and its death ends the wait.
// With -crowd 500 the bounds are those of the README.
func TestManyProcessesWait(t *testing.T) {
	s, v := agent.Locked(t)
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	n := *crowdSize
	if race.Enabled {
		n /= 4
	}
	all := make([]*shmtest.Process, n)
	for i := range all {
		all[i] = shmtest.Start(t, agent.Program, s.Name())
	}
	for _, p := range all {
		p.Expect("ready")
		p.Say("add 1")
	}
	agent.Sleeping(t, agent.Cell(t, s, "n"), true)
	holder.Stop()
	// Those that have just come still settle. Two quiet seconds in a row must come
	// within five.
	const span, bound = time.Second, 0.1
	quiet := 0
	for range 5 {
		before := shmtest.CPU(t, all...)
		time.Sleep(span) // the measurement itself
		share := float64(shmtest.CPU(t, all...)-before) / float64(span)
		t.Logf("%d processes wait with %.2f %% of a core", n, 100*share)
		if quiet++; share > bound {
			quiet = 0
		}
		if quiet == 2 {
			break
		}
	}
	if quiet < 2 && !race.Enabled {
		t.Errorf("%d processes wait with more than %.0f %% of a core", n, 100*bound)
	}
	killed := time.Now()
	holder.Kill()
	for _, p := range all {
		p.Expect("added")
	}
	t.Logf("all had the lock after %v", time.Since(killed))
	if got := v.Load(); got != int64(n) {
		t.Fatalf("%d additions counted %d", n, got)
	}
}

// However many goroutines wait, few threads do.
func TestManyGoroutinesWait(t *testing.T) {
	s, v := agent.Locked(t)
	const locks = 1000
	crowd := 20_000
	if race.Enabled {
		crowd = 2000 // the detector allows 8,128 goroutines
	}
	all := make([]*shm.Mutex, locks)
	for i := range all {
		all[i] = shmtest.Must(shm.NewMutex(s, fmt.Sprint("mutex", i)))(t)
	}
	cells := []*format.LockCell{agent.Cell(t, s, "n")}
	for i := range all {
		cells = append(cells, agent.Cell(t, s, fmt.Sprint("mutex", i)))
	}
	holder := agent.Start(t, s.Name())
	holder.Do("lock", "locked")
	holder.Do(fmt.Sprint("lockAll ", locks), "locked")
	holder.Stop()
	before := shmtest.Threads(t)
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
	for _, cell := range cells {
		agent.Sleeping(t, cell, true)
	}
	extra := shmtest.Threads(t) - before
	t.Logf("%d extra threads for %d goroutines", extra, crowd+locks)
	if extra >= 50 {
		t.Errorf("%d extra threads for %d goroutines", extra, crowd+locks)
	}
	holder.Kill()
	shmtest.Within(t, "all get the lock", wg.Wait)
	if got := v.Load(); got != int64(crowd) {
		t.Errorf("%d additions counted %d", crowd, got)
	}
}

// Processes that contend for a lock get about as much of it each. The test demands
// that none starves, also on a busy machine, and logs the shares.
func TestProcessesShareTheLock(t *testing.T) {
	d := 500 * time.Millisecond
	if *shmtest.StormLength > 10*time.Second {
		d = 2 * time.Second
	}
	for _, procs := range []int{2, 4, 8, 16} {
		s, v := agent.Locked(t)
		counts := shmtest.Must(shm.NewRawArray[int64](s, "counts", procs))(t)
		var all []*shmtest.Process
		for i := range procs {
			all = append(all, shmtest.Start(t, sharer, s.Name(), strconv.Itoa(i)))
		}
		// Nobody counts while this process has the lock.
		look := func() []int64 {
			v.Mutex().Lock()
			defer v.Mutex().Unlock()
			return slices.Clone(counts.Slice())
		}
		var before []int64
		shmtest.Eventually(t, "all processes take part", func() bool {
			before = look()
			return !slices.Contains(before, 0)
		})
		time.Sleep(d) // the measurement itself
		each, sum := look(), int64(0)
		for i := range each {
			each[i] -= before[i]
			sum += each[i]
		}
		least := float64(slices.Min(each)) * float64(procs) / float64(sum)
		t.Logf("%d processes: %v, the least has %.0f %% of the mean", procs, each, 100*least)
		if least < 0.05 && !race.Enabled {
			t.Errorf("one of %d processes has %.1f %% of the mean", procs, 100*least)
		}
		for _, p := range all {
			p.Kill()
		}
	}
}

// sharer takes the lock in two goroutines as often as it can, and counts in its
// element of an array.
var sharer = shmtest.Helper("sharer", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	counts, err := shm.NewRawArray[int64](s, "counts", 0)
	if err != nil {
		return err
	}
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	count := func() {
		v.Mutex().Lock()
		counts.Set(i, counts.Get(i)+1)
		v.Mutex().Unlock()
	}
	go func() {
		for {
			count()
		}
	}()
	for {
		count()
		if v.Mutex().TryLock() {
			v.Mutex().Unlock()
		}
	}
})
