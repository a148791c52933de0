package bench

import (
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tie makes a child process end when this process ends, however that happens. The child
// gets SIGTERM, since CPython may be about to unlink a file. A Ctrl-C at the terminal does
// not reach the child: this process ends it.
func tie(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	return nil
}

// endWithParent does nothing: tie has told the system to end this worker.
func endWithParent() {}

// terminateGroup sends SIGTERM to a child and its children.
func terminateGroup(pid int) error { return unix.Kill(-pid, unix.SIGTERM) }

// monotonic returns the time in nanoseconds of a clock that all processes of the system
// share.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return time.Now().UnixNano() // every Linux has the clock; a clock that may be set is better than none
	}
	return t.Nano()
}

// kernel returns the name and the version of the operating system.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}
