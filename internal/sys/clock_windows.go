package sys

import (
	"math/bits"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Monotonic returns the performance counter in nanoseconds. All processes of a system
// share that clock, also in a bubble of package testing/synctest. It never blocks.
func Monotonic() int64 {
	var count int64
	// SAFETY: the system writes the number before the call returns. It cannot fail.
	_, _, _ = procCounter.Call(uintptr(unsafe.Pointer(&count)))
	high, low := bits.Mul64(uint64(count), 1e9)
	n, _ := bits.Div64(high%frequency, low, frequency)
	return int64(n)
}

var (
	kernel32    = windows.NewLazySystemDLL("kernel32.dll")
	procCounter = kernel32.NewProc("QueryPerformanceCounter")
	procReOpen  = kernel32.NewProc("ReOpenFile")
)

var frequency = func() uint64 {
	var n uint64
	// SAFETY: as in Monotonic.
	_, _, _ = kernel32.NewProc("QueryPerformanceFrequency").Call(uintptr(unsafe.Pointer(&n)))
	return max(n, 1)
}()

// Clock returns Monotonic, and whether this goroutine is in a bubble.
func Clock() (now int64, bubbled bool) {
	return Monotonic(), inBubble(time.Since(monotonicStart))
}

// inBubble reports whether this goroutine is in a bubble of package testing/synctest, by
// what Go says has gone by since monotonicStart. Outside that is from 0 up to the age of
// the process. A bubble's clock begins in the year 2000, so inside it is decades off.
func inBubble(since time.Duration) bool {
	const tenYears = 10 * 365 * 24 * time.Hour
	return uint64(since) > uint64(tenYears)
}

var monotonicStart = time.Now()
