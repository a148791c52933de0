package shm

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operations of futex(2). Never the private flag: the words are shared.
const (
	futexWaitBitset = 9
	futexWakeBitset = 10
	anyBit          = ^uint32(0)
)

// futexWait sleeps while *word is value, for at most d, or until somebody wakes
// one of the bits. It returns early for signals as it likes: callers look again.
func futexWait(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	// The time-out of FUTEX_WAIT_BITSET is absolute, so what a signal interrupts
	// does not start again.
	until := monotonic() + int64(d)
	// SAFETY: word is in a mapping that the caller keeps alive; the kernel reads
	// the timespec before the call returns.
	futexWaitUntil(unsafe.Pointer(word), value, bits, until)
}

// futexWake wakes up to n sleepers that wait for one of the bits. It does not
// block, so it may keep the processor that Go gave it.
func futexWake(word *atomic.Uint32, n int, bits uint32) {
	// SAFETY: as above. An error would be a word that is not mapped.
	_, _, _ = unix.RawSyscall6(sysFutex, uintptr(unsafe.Pointer(word)), futexWakeBitset, uintptr(n), 0, 0, uintptr(bits))
}

// monotonic returns CLOCK_MONOTONIC in nanoseconds, which all processes of a
// system share, at the price of Go's own clock.
func monotonic() int64 { return monotonicBase + int64(time.Since(monotonicStart)) }

var monotonicBase, monotonicStart = func() (int64, time.Time) {
	var t unix.Timespec
	start := time.Now()
	// It cannot fail for this clock and a valid pointer.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano(), start
}()
