//go:build linux || darwin || freebsd

package sys

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic returns the clock systemClock in nanoseconds. All processes of a system
// share that clock, and Go's time.Since reads it too. It costs what time.Since costs and
// never blocks. In a bubble of package testing/synctest it is the same clock, and costs a
// system call.
func Monotonic() int64 {
	now, _ := Clock()
	return now
}

// Clock returns Monotonic, and whether this goroutine is in a bubble. It costs what
// Monotonic costs.
func Clock() (now int64, bubbled bool) {
	since := time.Since(monotonicStart)
	if !inBubble(since) {
		return monotonicBase + int64(since), false
	}
	var spec unix.Timespec
	// It cannot fail for this clock and a valid pointer.
	_ = unix.ClockGettime(systemClock, &spec)
	return spec.Nano(), true
}

// inBubble reports whether this goroutine is in a bubble of package testing/synctest, by
// what Go says has gone by since monotonicStart. Outside that is from 0 up to the age of
// the process. A bubble's clock begins in the year 2000 and has no monotonic reading, so
// inside it is decades less, or, before Go 1.26, decades more. Only a bubble that
// has gone on for just these decades is not recognised.
func inBubble(since time.Duration) bool {
	const tenYears = 10 * 365 * 24 * time.Hour
	return uint64(since) > uint64(tenYears)
}

// monotonicBase is systemClock at monotonicStart, which has Go's reading of
// the same clock.
var monotonicBase, monotonicStart = func() (base int64, start time.Time) {
	// The two clocks are read one after the other. The process may lose its
	// processor in between, so the closest of a few readings counts.
	closest := int64(math.MaxInt64)
	for range 8 {
		var before, after unix.Timespec
		// It cannot fail for this clock and a valid pointer.
		_ = unix.ClockGettime(systemClock, &before)
		now := time.Now()
		_ = unix.ClockGettime(systemClock, &after)
		if gap := after.Nano() - before.Nano(); gap < closest {
			closest, base, start = gap, before.Nano()+gap/2, now
		}
	}
	return base, start
}()
