package shm

import (
	"math"
	"sync"
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

// futexWake wakes up to n sleepers that wait for one of the bits, and returns
// how many. It does not block, so it may keep the processor that Go gave it.
func futexWake(word *atomic.Uint32, n int, bits uint32) (woken int) {
	// SAFETY: as above; a word that is no longer mapped is an error, which wakes
	// nobody.
	r, _, errno := unix.RawSyscall6(sysFutex, uintptr(unsafe.Pointer(word)), futexWakeBitset, uintptr(n), 0, 0, uintptr(bits))
	if errno != 0 {
		return 0
	}
	return int(r)
}

// futexWaitAny sleeps while each word is what was seen, for at most d, and reports
// whether that time was over. It returns early as it likes.
func futexWaitAny(words []awaitedWord, d time.Duration) (late bool, err error) {
	// struct futex_waitv and struct __kernel_timespec, the same on all systems.
	type futexWaitv struct {
		value, address uint64
		flags, _       uint32
	}
	const size32 = 2 // FUTEX2_SIZE_U32
	list := make([]futexWaitv, len(words))
	for i, w := range words {
		// SAFETY: the kernel only looks at the address: one that is no longer mapped is
		// an error.
		list[i] = futexWaitv{uint64(w.seen), uint64(uintptr(unsafe.Pointer(w.word))), size32, 0}
	}
	until := monotonic() + int64(d)
	spec := [2]int64{until / 1e9, until % 1e9}
	// SAFETY: the kernel reads list and spec before the call returns.
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(unsafe.SliceData(list))), uintptr(len(list)), 0, uintptr(unsafe.Pointer(&spec)), unix.CLOCK_MONOTONIC, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.EINTR:
		return false, nil
	case unix.ETIMEDOUT:
		return true, nil
	}
	return false, errno
}

// canWaitAny reports whether the system has FUTEX_WAITV, which came with Linux
// 5.16: it refuses to wait for no word at all, in its own way.
var canWaitAny = sync.OnceValue(func() bool {
	_, err := futexWaitAny(nil, 0)
	return err == unix.EINVAL
})

// monotonic returns CLOCK_MONOTONIC in nanoseconds, which all processes of a
// system share, at the price of Go's own clock.
func monotonic() int64 { return monotonicBase + int64(time.Since(monotonicStart)) }

var monotonicBase, monotonicStart = func() (base int64, start time.Time) {
	// Two clocks are read one after the other: the best of a few attempts is one
	// in which nobody came between.
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
