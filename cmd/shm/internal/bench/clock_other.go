//go:build !windows

package bench

import "time"

// stopwatch returns a function that says how long ago stopwatch was called.
func stopwatch() (elapsed func() time.Duration) {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
