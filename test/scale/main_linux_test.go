// Package scale measures how speed and fairness change with the number of processes
// that use one number, and of goroutines that wait. Its tests hold loose bounds, so that
// they do not fail on a busy machine. With -scale 2s they measure whole curves, for as long
// as that at each point, and log them.
package scale

import (
	"flag"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

var (
	span   = flag.Duration("scale", 0, "measure for so long at each point of a curve, and log all points; 0: measure one point, and hold it to a loose bound")
	rounds = flag.Int("rounds", 3, "with -scale, how many times each point is measured; the log has the median")
	only   = flag.Int("at", 0, "with -scale, measure only at this point")
	pinned = flag.Bool("pinned", false, "tie each process to one core")
)

// points returns what to measure at, for how long and how often: all points with -scale,
// and else only the one that a bound is held at.
func points(t *testing.T, all []int, bound int) (at []int, d time.Duration, times int) {
	switch {
	case *span > 0 && *only > 0:
		return []int{*only}, *span, *rounds
	case *span > 0:
		return all, *span, *rounds
	case testing.Short():
		t.Skip("measures for seconds")
	}
	return []int{bound}, time.Second, 1
}
