//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// Send puts a descriptor of f, and one of its lease file, into a new socket, for a process
// that this one starts, and returns the end of the socket from which Receive takes them.
// They wait there until then, or until that end is closed everywhere. No other descriptor
// of the socket exists. The error is an *fs.PathError. It never blocks.
func Send(f *os.File) (*os.File, error) {
	st, err := stat(f, f.Name())
	if err != nil {
		return nil, err
	}
	p := placeOf(keyOf(&st))
	if p == nil {
		return nil, errs.Path("sendmsg", f.Name(), unix.ENOLCK)
	}
	var ends [2]int
	err = attempt(callSocket, func() error {
		return retry(func() (err error) {
			syscall.ForkLock.RLock()
			defer syscall.ForkLock.RUnlock()
			if ends, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
				unix.CloseOnExec(ends[0])
				unix.CloseOnExec(ends[1])
			}
			return err
		})
	})
	if err != nil {
		return nil, errs.Path("socketpair", f.Name(), err)
	}
	end := os.NewFile(uintptr(ends[0]), f.Name())
	err = withDescriptor(f, func(fd int) error {
		return withDescriptor(p.file, func(lease int) error {
			return unix.Sendmsg(ends[1], []byte{0}, unix.UnixRights(fd, lease), nil, unix.MSG_DONTWAIT)
		})
	})
	if failed := unix.Close(ends[1]); err == nil {
		err = failed
	}
	if err != nil {
		return nil, CloseAfter(end, errs.Path("sendmsg", f.Name(), err))
	}
	return end, nil
}

// Receive takes from a socket the descriptors that Send has put there, under the name
// path, and closes the socket, which has the number fd. It is for a process to which
// its parent has passed the socket. No child inherits the descriptors.
//
// If anything but a descriptor for reading and writing of the regular file of the key
// waits there, Receive leaves everything as it is: the number may be another file's by
// now. The error wraps fs.ErrNotExist then. It is not an *fs.PathError. It never
// blocks.
func Receive(fd int, key Key, path string) (*os.File, error) {
	peeked, lease, err := receive(fd, key, unix.MSG_PEEK)
	if err != nil {
		return nil, err
	}
	// Their numbers are free for the next: ones that cannot be had then would be lost. No
	// process has locks in a file that it has just received, unless it is open already.
	_ = unix.Close(peeked)
	p := adoptPlace(lease, path)
	own, again, err := receive(fd, key, 0)
	if err != nil { // another process that has the socket was faster
		return nil, err
	}
	_ = unix.Close(fd) // It is the socket, and what it was for is done.
	places.Lock()
	defer places.Unlock()
	kept = append(kept, os.NewFile(uintptr(again), "lease file")) // a close would drop the locks
	if p != nil {
		places.of[key] = p
	}
	return os.NewFile(uintptr(own), path), nil
}

// adoptPlace keeps a received lease file.
func adoptPlace(fd int, path string) *place {
	places.Lock()
	defer places.Unlock()
	f := os.NewFile(uintptr(fd), "lease file of "+path)
	var mode fs.FileMode
	gid := 0
	if st, err := stat(f, f.Name()); err == nil {
		mode, gid = leaseMode(fs.FileMode(st.Mode)), int(st.Gid)
	}
	p, err := keepPlace(f, f.Name(), gid, mode, true)
	if err != nil {
		return nil
	}
	return p
}

// receive returns descriptors of the file of the key and of a lease file, which wait in a
// socket. With MSG_PEEK the message stays there.
func receive(socket int, key Key, flags int) (fd, lease int, err error) {
	var text [2]byte // a message of Send has one
	rights := make([]byte, unix.CmsgSpace(3*4))
	var n, length, got int
	fds := []int{}
	err = retry(func() error {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		n, length, got, _, err = unix.Recvmsg(socket, text[:], rights, flags|unix.MSG_DONTWAIT)
		if err != nil {
			return err
		}
		fds = descriptorsIn(rights[:length])
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
		if n == 1 && len(fds) < 2 && got&unix.MSG_CTRUNC != 0 {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			fds = nil
			return unix.EMFILE // The system does not say why it kept a descriptor.
		}
		return nil
	})
	if OutOfDescriptors(err) {
		return 0, 0, err
	}
	var st unix.Stat_t
	if err == nil && n == 1 && len(fds) == 2 && got&unix.MSG_CTRUNC == 0 && unix.Fstat(fds[0], &st) == nil {
		mode, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0)
		if err == nil && mode&unix.O_ACCMODE == unix.O_RDWR && keyOf(&st) == key && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return fds[0], fds[1], nil
		}
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return 0, 0, errors.Join(fmt.Errorf("%w: in descriptor %d wait no descriptors of the segment", fs.ErrNotExist, socket), err)
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
