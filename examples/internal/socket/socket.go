//go:build unix

// Package socket hands a listening socket to another process.
package socket

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// File returns a duplicate of a listener's socket for exec.Cmd.ExtraFiles. It is
// not what the listener's own method File returns: os/exec calls Fd of that,
// which makes the socket blocking for all who share it, and an Accept that blocks
// in the kernel is not ended by Close.
func File(ln net.Listener) (*os.File, error) {
	conn, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := conn.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}

// Listener returns the listener that this process inherited as a descriptor.
func Listener(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close() // FileListener has a duplicate, which is not inherited in turn
	return net.FileListener(f)
}
