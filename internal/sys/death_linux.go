//go:build linux && !shmportable

package sys

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Death tells without delay that a process has exited, by a pidfd in Go's
// poller. It is only a hint: a pid may have been reused before the watch began,
// and the table that named the process may be wrong.
type Death struct {
	file *os.File
	conn syscall.RawConn
}

// WatchPid begins to watch the process that has the pid in the pid namespace. It
// returns nil if the namespace is 0 or not this process's own, if there is no
// such process, or if the system cannot watch it. It never blocks.
func WatchPid(pid int, namespace uint64) *Death {
	if namespace == 0 || namespace != PidNamespace() || pid <= 0 {
		return nil
	}
	var fd int
	err := attempt(callPidfd, func() (err error) {
		fd, err = unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		return err
	})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil || f.SetReadDeadline(time.Time{}) != nil { // a poller without pidfds
		_ = f.Close()
		return nil
	}
	return &Death{f, conn}
}

// Wait sleeps for d, or until the process has exited, and reports whether it has.
// It sleeps in Go and keeps no thread. On a nil *Death it sleeps for d and
// returns false. After Close it does the same.
func (h *Death) Wait(d time.Duration) (exited bool) {
	if h == nil {
		time.Sleep(d)
		return false
	}
	if h.file.SetReadDeadline(time.Now().Add(d)) != nil {
		time.Sleep(d)
		return false
	}
	err := h.conn.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
	return err == nil
}

// Exited sleeps until the process has exited, and returns true, or until Close, and
// returns false. It sleeps in Go and keeps no thread.
func (h *Death) Exited() bool {
	_ = h.file.SetReadDeadline(time.Time{}) // that of the last Wait; it fails after Close, as Read does
	err := h.conn.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
	return err == nil
}

// Close ends the watch. It does nothing on a nil *Death, and never blocks.
func (h *Death) Close() {
	if h != nil {
		_ = h.file.Close()
	}
}
