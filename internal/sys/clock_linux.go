package sys

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic returns CLOCK_MONOTONIC in nanoseconds. All processes of a system
// share that clock. It costs what time.Since costs and never blocks.
func Monotonic() int64 { return monotonicBase + int64(time.Since(monotonicStart)) }

// monotonicBase is CLOCK_MONOTONIC at monotonicStart, which has Go's reading of
// the same clock.
var monotonicBase, monotonicStart = func() (base int64, start time.Time) {
	// The two clocks are read one after the other. The process may lose its
	// processor in between, so the closest of a few readings counts.
	closest := int64(math.MaxInt64)
	for range 8 {
		var before, after unix.Timespec
		// It cannot fail for this clock and a valid pointer.
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
		now := time.Now()
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
		if gap := after.Nano() - before.Nano(); gap < closest {
			closest, base, start = gap, before.Nano()+gap/2, now
		}
	}
	return base, start
}()
