//go:build linux && (386 || arm)

package shm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The call that takes 64-bit times came with Linux 5.1; there is none older
// that this package could run on (it needs O_TMPFILE and OFD locks, not that).
const sysFutex = unix.SYS_FUTEX_TIME64

func futexWaitUntil(word unsafe.Pointer, value, bits uint32, until int64) {
	t := [2]int64{until / 1e9, until % 1e9} // struct __kernel_timespec
	// SAFETY: see futexWait; t outlives the call.
	_, _, _ = unix.Syscall6(sysFutex, uintptr(word), futexWaitBitset, uintptr(value), uintptr(unsafe.Pointer(&t)), 0, uintptr(bits))
}
