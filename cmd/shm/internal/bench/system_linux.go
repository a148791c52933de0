package bench

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attributes has a child end with this process, however that ends, and keeps a
// Ctrl-C of the terminal from it: this process ends it in order. SIGTERM, since
// CPython may be about to unlink a file.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}

// terminateGroup ends a child and its children.
func terminateGroup(pid int) error { return unix.Kill(-pid, unix.SIGTERM) }

// monotonic returns the time in nanoseconds by a clock that all processes of
// this system share.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return time.Now().UnixNano() // no Linux is without; a step of the clock is the lesser evil
	}
	return t.Nano()
}

// kernel names the operating system's version.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
