package scale

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// crowd awaits one number in many goroutines. Whoever changes the number sets it to the
// time. When all have seen it, the helper prints how many nanoseconds later the first and the last
// goroutine were awake, and awaits the next number.
var crowd = shmtest.Helper("crowd", func(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, "time", 0)
	if err != nil {
		return err
	}
	late := make([]int64, n)
	return shmtest.Replies(func([]string) (string, error) {
		var wg, began sync.WaitGroup
		old := v.Load()
		for i := range n {
			began.Add(1)
			wg.Go(func() {
				began.Done()
				x, err := v.Await(context.Background(), func(x int64) bool { return x != old })
				late[i] = sys.Monotonic() - x
				if err != nil {
					panic(err)
				}
			})
		}
		began.Wait()
		time.Sleep(500 * time.Millisecond) // until all of them sleep
		fmt.Println("asleep")
		wg.Wait()
		first, last := late[0], late[0]
		for _, ns := range late {
			first, last = min(first, ns), max(last, ns)
		}
		return fmt.Sprint(first, last), nil
	})
})

// Many goroutines that await one number are awake soon after it has changed.
func TestManyAwaitOne(t *testing.T) {
	at, _, times := points(t, []int{1, 10, 100, 1000, 10_000, 20_000}, 10_000)
	times *= 3 // it is short
	type wakeUp struct{ first, last int64 }
	for _, goroutines := range at {
		if race.Enabled {
			goroutines = min(goroutines, 4000) // the detector allows 8,128
		}
		name := shmtest.Name(t)
		s := shmtest.Opened(shm.Open(name, nil))(t)
		v := shmtest.Must(shm.NewValue[int64](s, "time", 0))(t)
		p := shmtest.Start(t, crowd, name, strconv.Itoa(goroutines))
		all := make([]wakeUp, times)
		for i := range all {
			p.Do("await", "asleep")
			v.Store(sys.Monotonic())
			if _, err := fmt.Sscan(p.Line(), &all[i].first, &all[i].last); err != nil {
				t.Fatal(err)
			}
		}
		first := median(all, func(w wakeUp) float64 { return float64(w.first) / 1e6 })
		last := median(all, func(w wakeUp) float64 { return float64(w.last) / 1e6 })
		t.Logf("%d goroutines await one number: the first is awake after %.2f ms, all after %.2f ms", goroutines, first, last)
		if *span == 0 && !race.Enabled && last > 300 {
			t.Errorf("%d goroutines await one number: all are awake only after %.2f ms", goroutines, last)
		}
		p.Kill()
	}
}

// each awaits many numbers, each in a goroutine of its own.
var each = shmtest.Helper("each", func(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	for i := range n {
		v, err := shm.NewValue[int64](s, fmt.Sprint("each", i), 0)
		if err != nil {
			return err
		}
		go func() {
			x, err := v.Await(context.Background(), func(x int64) bool { return x != 0 })
			fmt.Println(sys.Monotonic()-x, err)
		}()
	}
	return shmtest.Replies(func([]string) (string, error) { return "awaiting", nil })
})

// Many goroutines that await a number each cost little while nothing changes, and are awake
// soon after a change.
func TestManyAwaitEach(t *testing.T) {
	at, d, times := points(t, []int{10, 100, 1000, 2000, 5000, 10_000}, 10_000)
	for _, goroutines := range at {
		if race.Enabled {
			goroutines = min(goroutines, 4000) // the detector allows 8,128
		}
		name := shmtest.Name(t)
		s := shmtest.Opened(shm.Open(name, nil))(t)
		p := shmtest.Start(t, each, name, strconv.Itoa(goroutines))
		p.Do("are you there", "awaiting")
		time.Sleep(2 * time.Second) // the first looks come soon after each other
		all := make([]time.Duration, times)
		for i := range all {
			before := shmtest.CPU(t, p)
			time.Sleep(d) // the measurement itself
			all[i] = shmtest.CPU(t, p) - before
		}
		changes := min(20, goroutines)
		late := make([]int64, changes)
		for i := range late {
			v := shmtest.Must(shm.NewValue[int64](s, fmt.Sprint("each", goroutines/changes*i), 0))(t)
			v.Store(sys.Monotonic())
			var failed string
			if _, err := fmt.Sscan(p.Line(), &late[i], &failed); err != nil || failed != "<nil>" {
				t.Fatal(err, failed)
			}
		}
		used := median(all, func(used time.Duration) float64 { return used.Seconds() / d.Seconds() * 1e3 })
		woken := median(late, func(ns int64) float64 { return float64(ns) / 1e6 })
		t.Logf("%d goroutines await a number each: %.2f ms of CPU a second, awake %.2f ms after a change", goroutines, used, woken)
		if *span == 0 && !race.Enabled && used > 60 {
			t.Errorf("%d goroutines await a number each: %.2f ms of CPU a second", goroutines, used)
		}
		p.Kill()
	}
}
