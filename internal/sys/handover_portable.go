//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"bytes"
	"encoding/binary"
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
// The bytes beside them say which file it is. They wait there until then, or until that end is
// closed everywhere. No other descriptor of the socket exists. The error is an *fs.PathError.
// It never blocks.
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
			return unix.Sendmsg(ends[1], handoverText(keyOf(&st)), unix.UnixRights(fd, lease), nil, unix.MSG_DONTWAIT)
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

// handoverText is what Send sends beside the descriptors of the file of a key.
func handoverText(key Key) []byte {
	b := binary.NativeEndian.AppendUint64([]byte("SHMHANDS"), key.Dev)
	return binary.NativeEndian.AppendUint64(b, key.Ino)
}

// Receive takes from a socket the descriptors that Send has put there, under the name
// path, and closes the socket, which has the number fd. It is for a process to which
// its parent has passed the socket. No child inherits the descriptors.
//
// If anything but what Send has sent for the key waits there, Receive leaves everything as
// it is: the number may be another file's by now. The error wraps fs.ErrNotExist then. It is
// not an *fs.PathError. It never blocks.
func Receive(fd int, key Key, path string) (*os.File, error) {
	// The bytes decide. With MSG_PEEK some systems return numbers that are no descriptors
	// of this process: 0 on macOS, and addresses of the kernel on FreeBSD.
	text := handoverText(key)
	var n int
	got := make([]byte, len(text)+1)
	err := retry(func() (err error) {
		n, _, _, _, err = unix.Recvmsg(fd, got, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err
	})
	if err != nil || !bytes.Equal(got[:n], text) {
		return nil, errors.Join(fmt.Errorf("%w: in descriptor %d wait no descriptors of the segment", fs.ErrNotExist, fd), err)
	}
	room, standard, err := roomForTwo(fd)
	defer closeAll(standard)
	closeAll(room)
	if err != nil {
		return nil, err
	}
	own, lease, err := receive(fd, key, len(text))
	if err != nil { // another process that has the socket was faster
		return nil, err
	}
	_ = unix.Close(fd) // It is the socket, and what it was for is done.
	if p := adoptPlace(lease, path); p != nil {
		places.Lock()
		places.of[key] = p
		places.Unlock()
	}
	return os.NewFile(uintptr(own), path), nil
}

// roomForTwo returns two duplicates of a descriptor, to be closed before two others come:
// ones that cannot be had when a message is taken are lost. It also returns descriptors that
// take the free numbers below 3 until then, for the reason that beyondStandard has.
func roomForTwo(fd int) (room, standard []int, err error) {
	for len(room) < 2 {
		var one int
		err = retry(func() (err error) {
			one, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return room, standard, err
		}
		if one < 3 {
			standard = append(standard, one)
		} else {
			room = append(room, one)
		}
	}
	return room, standard, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // They are duplicates, or nothing was done with them.
	}
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

// receive takes a message of so many bytes from a socket, and returns the descriptors that
// came with it: of the file of the key, and of a lease file.
func receive(socket int, key Key, size int) (fd, lease int, err error) {
	text := make([]byte, size)
	rights := make([]byte, unix.CmsgSpace(3*4))
	var n, got int
	fds := []int{}
	err = retry(func() error {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		var length int
		n, length, got, _, err = unix.Recvmsg(socket, text, rights, unix.MSG_DONTWAIT)
		if err != nil {
			return err
		}
		fds = descriptorsIn(rights[:length])
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
		return nil
	})
	var st unix.Stat_t
	if err == nil && n == size && len(fds) == 2 && got&unix.MSG_CTRUNC == 0 && unix.Fstat(fds[0], &st) == nil {
		mode, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0)
		if err == nil && mode&unix.O_ACCMODE == unix.O_RDWR && keyOf(&st) == key && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return fds[0], fds[1], nil
		}
	}
	closeAll(fds)
	return 0, 0, errors.Join(fmt.Errorf("%w: with the message in descriptor %d came no descriptors of the segment", fs.ErrNotExist, socket), err)
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
