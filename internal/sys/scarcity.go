package sys

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A mapping is garbage once no segment and no handle reaches it. The collector sees
// only a few bytes of each, so it does not hurry.
var (
	idle     atomic.Int64 // mappings that the collector may release
	released atomic.Int64 // mappings that were ever unmapped
)

// MappingIdle adds delta to the number of mappings that the garbage collector
// may be able to release. It never blocks.
func MappingIdle(delta int64) { idle.Add(delta) }

// MappingReleased counts one mapping that has been unmapped. It does not change
// the number that MappingIdle keeps. It never blocks.
func MappingReleased() { released.Add(1) }

// Reclaim makes the garbage collector release mappings and descriptors of closed
// segments, and reports whether it released any. Callers use it when the system
// has run out of either, and try again if the answer is true. It may block for a
// garbage collection and some 10 ms more. It returns false at once if there is no
// mapping.
func Reclaim() bool {
	if idle.Load() == 0 {
		return false
	}
	before := released.Load()
	runtime.GC()
	// Cleanups run after the collection, in goroutines of their own.
	for range 100 {
		if released.Load() > before {
			return true
		}
		Pause(100 * time.Microsecond)
	}
	return false
}
