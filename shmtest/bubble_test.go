package shmtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm"
	"example.org/shm/shmtest"
)

// The kit can be used in a bubble, whose clock the other process does not see.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shmtest.Segment(t, nil)
		n := must(shm.NewValue[int64](s, "n", 0))
		time.AfterFunc(time.Minute, func() { n.Add(1) })
		begin := time.Now()
		must(n.Await(t.Context(), func(x int64) bool { return x == 1 }))
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("a minute took %v", d)
		}
		shmtest.Process(t, s, add).Wait()
		shmtest.Process(t, s, addMany)
		must(n.Await(t.Context(), func(x int64) bool { return x > 10 }))
		if states := shmtest.States(t, nil, add, func(*shm.Segment) error { return nil }); states < 10 {
			t.Errorf("only %d states", states)
		}
	})
}
