//go:build unix

// Package socket passes a listening socket to another process.
package socket

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// File returns a duplicate of a listener's socket for exec.Cmd.ExtraFiles. The
// listener's own method File does not serve: os/exec calls the method Fd of its
// result, which makes the socket blocking in all processes that share it. Close
// does not end an Accept that blocks in the kernel.
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

// Listener returns a listener for a socket that this process has inherited as a
// descriptor.
func Listener(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close() // FileListener makes a duplicate, which children do not inherit
	return net.FileListener(f)
}
