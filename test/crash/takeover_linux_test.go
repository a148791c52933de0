package crash_test

import (
	"slices"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// A holder is killed while this process waits for its lock, again and again. The log says how
// long it takes from the kill until the waiter has the lock. That depends on what else the
// machine does, so the bound is loose.
func TestTakeoverTimes(t *testing.T) {
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, agent.ValueName)
	var all []time.Duration
	for round := range shmtest.Rounds(200) {
		holder := agent.Start(t, s.Name())
		holder.Do("lock", "locked")
		got := make(chan time.Time)
		go func() {
			mu.Lock()
			got <- time.Now()
		}()
		agent.Sleeping(t, cell, round%2 == 1) // half of the waiters have waited for long
		if round%10 == 9 {
			time.Sleep(1100 * time.Millisecond) // and some for so long that they ask less often
		}
		killed := time.Now()
		holder.Kill()
		all = append(all, (<-got).Sub(killed))
		if !mu.Abandoned() {
			t.Fatal("the holder was not dead")
		}
		mu.Unlock()
	}
	slices.Sort(all)
	median, worst := all[len(all)/2], all[len(all)-1]
	t.Logf("%d holders killed: the lock is taken over after %v in the median, %v at worst", len(all), median, worst)
	if median > time.Second {
		t.Errorf("a takeover takes %v in the median", median)
	}
}
