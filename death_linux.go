package shm

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// deathHint tells at once that a process has exited, by a pidfd in Go's poller.
// Only a hint: the table that names the process may be wrong; the lease decides.
type deathHint struct {
	file *os.File
	conn syscall.RawConn
}

// watchDeath returns a hint for the process behind an id, or nil.
func (m *mapping) watchDeath(owner uint32) *deathHint {
	entry := &m.table[owner%tableLen]
	if entry.id.Load() != owner || entry.namespace == 0 || entry.namespace != pidNamespace() {
		return nil
	}
	pid := int(entry.pid)
	if entry.id.Load() != owner || pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil || f.SetReadDeadline(time.Time{}) != nil { // a poller without pidfds
		_ = f.Close()
		return nil
	}
	return &deathHint{f, conn}
}

// wait sleeps for d, or until the process has exited. A nil hint only sleeps.
func (h *deathHint) wait(d time.Duration) (exited bool) {
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

func (h *deathHint) close() {
	if h != nil {
		_ = h.file.Close()
	}
}
