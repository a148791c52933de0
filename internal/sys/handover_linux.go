//go:build linux && !shmportable

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// Send puts a descriptor of f's description into a new socket, for a process that this
// one starts, and returns the end of the socket from which Receive takes it. The
// descriptor waits there until then, or until that end is closed everywhere. No other
// descriptor of the socket exists. The error is an *fs.PathError. It never blocks.
func Send(f *os.File) (*os.File, error) {
	var ends [2]int
	err := attempt(callSocket, func() error {
		return retry(func() (err error) {
			ends, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			return err
		})
	})
	if err != nil {
		return nil, errs.Path("socketpair", f.Name(), err)
	}
	end := os.NewFile(uintptr(ends[0]), f.Name())
	err = withDescriptor(f, func(fd int) error {
		return unix.Sendmsg(ends[1], []byte{0}, unix.UnixRights(fd), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if failed := unix.Close(ends[1]); err == nil {
		err = failed
	}
	if err != nil {
		return nil, CloseAfter(end, errs.Path("sendmsg", f.Name(), err))
	}
	return end, nil
}

// Receive takes from a socket the descriptor that Send has put there, under the name
// path, and closes the socket, which has the number fd. It is for a process to which
// its parent has passed the socket. No child inherits the descriptor.
//
// If anything but a descriptor for reading and writing of the regular file of the key
// waits there, Receive leaves everything as it is: the number may be another file's by
// now. The error wraps fs.ErrNotExist then. It is not an *fs.PathError. It never
// blocks.
func Receive(fd int, key Key, path string) (*os.File, error) {
	peeked, err := receive(fd, key, unix.MSG_PEEK)
	if err != nil {
		return nil, err
	}
	// Its number is free for the next: one that cannot be had then would be lost.
	_ = unix.Close(peeked)
	own, err := beyondStandard(receive(fd, key, 0))
	if err != nil { // another process that has the socket was faster
		return nil, err
	}
	_ = unix.Close(fd) // It is the socket, and what it was for is done.
	return os.NewFile(uintptr(own), path), nil
}

// receive returns a descriptor of the file of the key that waits in a socket. With
// MSG_PEEK the message stays there.
func receive(socket int, key Key, flags int) (fd int, err error) {
	var text [2]byte // a message of Send has one
	rights := make([]byte, unix.CmsgSpace(2*4))
	var n, length, got int
	fds := []int{}
	err = retry(func() error {
		n, length, got, _, err = unix.Recvmsg(socket, text[:], rights, flags|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return err
		}
		fds = descriptorsIn(rights[:length])
		if n == 1 && len(fds) == 0 && got&unix.MSG_CTRUNC != 0 {
			return unix.EMFILE // The system does not say why it kept the descriptor.
		}
		return nil
	})
	if OutOfDescriptors(err) {
		return 0, err
	}
	var st unix.Stat_t
	if err == nil && n == 1 && len(fds) == 1 && got&unix.MSG_CTRUNC == 0 && unix.Fstat(fds[0], &st) == nil {
		mode, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0)
		if err == nil && mode&unix.O_ACCMODE == unix.O_RDWR && keyOf(&st) == key && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return fds[0], nil
		}
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return 0, errors.Join(fmt.Errorf("%w: socket %d has no message with a descriptor of the segment", fs.ErrNotExist, socket), err)
}

// descriptorsIn returns the descriptors that came with a message.
func descriptorsIn(control []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if some, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, some...)
		}
	}
	return fds
}
