package scale

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

// contender adds to a Value from when the Atomic "run" is 1 until it is 2. Then it prints
// how often, and how many nanoseconds the longest batch took.
var contender = shmtest.Helper("contender", func(args []string) error {
	if core, err := strconv.Atoi(args[1]); err != nil {
		return err
	} else if core >= 0 {
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(core)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return err
		}
	}
	s, err := shm.Open(args[0], &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	run, err := shm.NewAtomic[int32](s, "run", 0)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for run.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	const batch = 100
	n, longest := 0, time.Duration(0)
	for at := time.Now(); run.Load() == 1; n += batch {
		for range batch {
			v.Add(1)
		}
		now := time.Now()
		longest, at = max(longest, now.Sub(at)), now
	}
	fmt.Println(n, longest.Nanoseconds())
	return nil
})

// contention is what processes did that added to one number.
type contention struct {
	millions float64       // of additions a second, all together
	least    float64       // the additions of the process with the fewest, of the mean
	longest  time.Duration // that a batch of 100 additions took
}

// contend lets processes add to one number for a while.
func contend(t *testing.T, procs int, d time.Duration) (c contention) {
	t.Helper()
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	v := shmtest.Must(shm.NewValue[int64](s, "n", 0))(t)
	run := shmtest.Must(shm.NewAtomic[int32](s, "run", 0))(t)
	all := make([]*shmtest.Process, procs)
	for i := range all {
		core := -1
		if *pinned {
			core = i % runtime.NumCPU()
		}
		all[i] = shmtest.Start(t, contender, name, strconv.Itoa(core))
	}
	for _, p := range all {
		p.Expect("ready")
	}
	begin := time.Now()
	run.Store(1)
	time.Sleep(d) // the measurement itself
	run.Store(2)
	took := time.Since(begin)
	sum, fewest := int64(0), int64(0)
	for i, p := range all {
		var n, longest int64
		if _, err := fmt.Sscan(p.Line(), &n, &longest); err != nil {
			t.Fatal(err)
		}
		p.Wait()
		if sum += n; i == 0 || n < fewest {
			fewest = n
		}
		c.longest = max(c.longest, time.Duration(longest))
	}
	if got := v.Load(); got != sum {
		t.Fatalf("%d additions counted %d", sum, got)
	}
	c.millions = float64(sum) / took.Seconds() / 1e6
	c.least = float64(fewest) * float64(procs) / float64(sum)
	return c
}

// Many processes that add to one number lose no addition, and do not stand still.
func TestManyProcessesAdd(t *testing.T) {
	at, d, times := points(t, []int{1, 2, 4, 8, 16, 32, 64}, 64)
	for _, procs := range at {
		all := make([]contention, times)
		for i := range all {
			all[i] = contend(t, procs, d)
		}
		millions := median(all, func(c contention) float64 { return c.millions })
		least := median(all, func(c contention) float64 { return c.least })
		longest := median(all, func(c contention) float64 { return c.longest.Seconds() * 1e3 })
		t.Logf("%d processes: %.1f million additions a second, the least share is %.2f of the mean, the longest wait %.1f ms", procs, millions, least, longest)
		// Beside other programs the shares of a short time say more about the system.
		if *span == 0 && !race.Enabled && millions < 1 {
			t.Errorf("%d processes: %.1f million additions a second", procs, millions)
		}
	}
}

// median returns the median of one of the figures.
func median[T any](all []T, figure func(T) float64) float64 {
	figures := make([]float64, len(all))
	for i, x := range all {
		figures[i] = figure(x)
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
