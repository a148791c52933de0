//go:build linux && !shmportable && !(386 || arm)

package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const sysFutex = unix.SYS_FUTEX

// futexWaitUntil is FutexWait with a time-out on Monotonic's clock.
func futexWaitUntil(word unsafe.Pointer, value, bits uint32, until int64) {
	t := unix.NsecToTimespec(until)
	// SAFETY: see FutexWait; t outlives the call.
	_, _, _ = unix.Syscall6(sysFutex, uintptr(word), futexWaitBitset, uintptr(value), uintptr(unsafe.Pointer(&t)), 0, uintptr(bits))
}
