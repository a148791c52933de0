//go:build linux && !shmportable

package sys

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FutexWait sleeps while *word is value, for at most d, or until FutexWake names
// one of the bits. It returns early for signals or for no reason, so callers look
// at the word again. It returns at once if *word is not value. It blocks the
// thread.
//
// Preconditions: word is in memory that stays mapped during the call. It is private to
// this process, or in what Map returned.
func FutexWait(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	// The time-out of FUTEX_WAIT_BITSET is absolute, so what a signal interrupts
	// does not start again.
	until := Monotonic() + int64(d)
	// SAFETY: word is in a mapping that the caller keeps alive; the kernel reads
	// the timespec before the call returns.
	futexWaitUntil(unsafe.Pointer(word), value, bits, until)
}

// FutexWaitChange is FutexWait for a word all of whose sleepers FutexWakeChanged wakes.
func FutexWaitChange(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	FutexWait(word, value, bits, d)
}

// FutexWakeChanged wakes all who sleep on a word by FutexWaitChange or FutexWaitAny and
// have seen one of the values, in all processes; it may wake others. It is called after
// the word has changed. It does not block. If word is no longer mapped, it wakes nobody.
func FutexWakeChanged(word *atomic.Uint32, _ ...uint32) { FutexWake(word, math.MaxInt32, AnyBit) }

// FutexWake wakes up to n sleepers of FutexWait that wait for one of the bits, and
// returns 0 only if certainly nobody sleeps there. With AnyBit they may be in any process.
// With other bits it reaches all sleepers of this process that have one of them, also
// those of FutexWaitChange, and may reach others. It may wake more than n. It does not
// block, so it may keep the processor that Go gave it. If word is no longer mapped, it
// wakes nobody.
func FutexWake(word *atomic.Uint32, n int, bits uint32) (woken int) {
	// SAFETY: the kernel uses the address only to find the sleepers. If nothing is
	// mapped there, the call returns an error and wakes nobody.
	r, _, errno := unix.RawSyscall6(sysFutex, uintptr(unsafe.Pointer(word)), futexWakeBitset, uintptr(n), 0, 0, uintptr(bits))
	if errno != 0 {
		return 0
	}
	return int(r)
}

// FutexWaitAny sleeps while each word is what was seen, for at most d, and reports
// whether that time was over. It returns early for signals or for no reason. It
// takes at most 128 words. It blocks the thread. The error is the system's own:
// for no words, for too many, for a word that is not mapped, and for a system
// without the call.
func FutexWaitAny(words []Word, d time.Duration) (late bool, err error) {
	// struct futex_waitv and struct __kernel_timespec, the same on all systems.
	type futexWaitv struct {
		value, address uint64
		flags, _       uint32
	}
	const size32 = 2 // FUTEX2_SIZE_U32
	list := make([]futexWaitv, len(words))
	for i, w := range words {
		// SAFETY: the kernel only looks at the address. If nothing is mapped there,
		// the call returns an error.
		list[i] = futexWaitv{uint64(w.Seen), uint64(uintptr(unsafe.Pointer(w.Addr))), size32, 0}
	}
	until := Monotonic() + int64(d)
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

// CanAsk reports whether a process that may only read can tell others that it waits, by
// TryShared.
func CanAsk() bool { return true }

// CanWaitAny reports whether the system has the call behind FutexWaitAny,
// FUTEX_WAITV, which came with Linux 5.16. It never blocks.
func CanWaitAny() bool { return canWaitAny() }

var canWaitAny = sync.OnceValue(func() bool {
	if Avoided(callWaitAny) {
		return false
	}
	// The call refuses a list of no words with an error of its own.
	_, err := FutexWaitAny(nil, 0)
	return err == unix.EINVAL
})
