package shmtest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/shmtest"
)

// What a crash leaves of the types in which each process has a cell of its own.
func TestStatesOfCells(t *testing.T) {
	for name, test := range map[string]struct {
		setup, section func(*shm.Segment)
		check          func(*shm.Segment) error
		least          int
	}{
		"Counter": {
			setup: func(s *shm.Segment) { must(shm.NewCounter[int64](s, "c")).Add(5) },
			section: func(s *shm.Segment) {
				c := must(shm.NewCounter[int64](s, "c"))
				c.Add(1)
				c.Add(1)
			},
			check: func(s *shm.Segment) error {
				c := must(shm.NewCounter[int64](s, "c"))
				n := c.Load()
				if n < 5 || n > 7 {
					return fmt.Errorf("5 to 7 are counted, not %d", n)
				}
				if c.Add(1); c.Load() != n+1 {
					return fmt.Errorf("%d and 1 are %d", n, c.Load())
				}
				return nil
			},
			least: 4,
		},
		"Gauge": {
			setup: func(s *shm.Segment) { must(shm.NewGauge[int64](s, "g")).Set(5) },
			section: func(s *shm.Segment) {
				g := must(shm.NewGauge[int64](s, "g"))
				g.Set(1)
				g.Add(1)
			},
			check: func(s *shm.Segment) error {
				g := must(shm.NewGauge[int64](s, "g"))
				for end := time.Now().Add(patience); g.Load() != 0; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						return fmt.Errorf("dead processes show %d", g.Load())
					}
				}
				if g.Set(9); g.Load() != 9 {
					return fmt.Errorf("%d after Set of 9", g.Load())
				}
				return nil
			},
			least: 4,
		},
		"Histogram": {
			setup: func(s *shm.Segment) { must(shm.NewHistogram(s, "h", []float64{1, 10})).Observe(0) },
			section: func(s *shm.Segment) {
				h := must(shm.NewHistogram(s, "h", nil))
				h.Observe(5)
				h.Observe(50)
			},
			check: func(s *shm.Segment) error {
				h := must(shm.NewHistogram(s, "h", nil))
				before := h.Load()
				sums := map[float64][][]uint64{ // A kill may leave an observation in the sum alone.
					0:  {{1, 0, 0}},
					5:  {{1, 0, 0}, {1, 1, 0}},
					55: {{1, 1, 0}, {1, 1, 1}},
				}
				if !slices.ContainsFunc(sums[before.Sum], func(c []uint64) bool { return slices.Equal(c, before.Counts) }) {
					return fmt.Errorf("observations that nobody made: %v", before)
				}
				h.Observe(2)
				if after := h.Load(); after.Counts[1] != before.Counts[1]+1 || after.Sum != before.Sum+2 {
					return fmt.Errorf("%v and one of 2 are %v", before, after)
				}
				return nil
			},
			least: 6,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if states := shmtest.States(t, test.setup, test.section, test.check); states < test.least {
				t.Errorf("only %d states", states)
			} else {
				t.Logf("%d states", states)
			}
		})
	}
}
