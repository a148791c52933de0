//go:build linux && !(386 || arm)

package shm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const sysFutex = unix.SYS_FUTEX

func futexWaitUntil(word unsafe.Pointer, value, bits uint32, until int64) {
	t := unix.NsecToTimespec(until)
	// SAFETY: see futexWait; t outlives the call.
	_, _, _ = unix.Syscall6(sysFutex, uintptr(word), futexWaitBitset, uintptr(value), uintptr(unsafe.Pointer(&t)), 0, uintptr(bits))
}
