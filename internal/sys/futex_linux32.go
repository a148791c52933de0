//go:build linux && !shmportable && (386 || arm)

package sys

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysFutex is the number of the call. Before Linux 5.1 there was only the call
// with 32-bit times, and a system may be built without that one.
var sysFutex = func() uintptr {
	var word uint32
	// SAFETY: it wakes nobody on a word of ours.
	if _, _, err := unix.RawSyscall6(unix.SYS_FUTEX_TIME64, uintptr(unsafe.Pointer(&word)), futexWakeBitset, 0, 0, 0, uintptr(AnyBit)); err == unix.ENOSYS || err == unix.EPERM {
		return unix.SYS_FUTEX
	}
	return unix.SYS_FUTEX_TIME64
}()

// futexWaitUntil is FutexWait with a time-out on Monotonic's clock.
func futexWaitUntil(word unsafe.Pointer, value, bits uint32, until int64) {
	// struct __kernel_timespec, and the older one.
	wide, narrow := [2]int64{until / 1e9, until % 1e9}, unix.NsecToTimespec(until)
	t := unsafe.Pointer(&wide)
	if sysFutex == unix.SYS_FUTEX {
		t = unsafe.Pointer(&narrow)
	}
	// SAFETY: see FutexWait; wide and narrow outlive the call.
	_, _, _ = unix.Syscall6(sysFutex, uintptr(word), futexWaitBitset, uintptr(value), uintptr(t), 0, uintptr(bits))
	runtime.KeepAlive(&wide)
	runtime.KeepAlive(&narrow)
}
