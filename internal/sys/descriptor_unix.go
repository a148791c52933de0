//go:build linux || darwin || freebsd

package sys

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// Duplicate returns a descriptor of the same open file that no child inherits.
// The error is an *fs.PathError; it wraps fs.ErrPermission if f permits only
// reading and readOnly is false. It never blocks.
func Duplicate(f *os.File, readOnly bool) (*os.File, error) {
	var fd int
	err := withDescriptor(f, func(old int) (err error) {
		fd, err = duplicate(old, readOnly)
		return err
	})
	if err != nil {
		return nil, errs.Path("dup", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Adopt returns a duplicate of a descriptor that a parent passed, under the name
// path. It keeps the original, which from now on no child inherits. The error
// wraps fs.ErrNotExist if the descriptor is not open or is not that of the
// regular file of the key, and fs.ErrPermission as in Duplicate. It is not an
// *fs.PathError. It never blocks.
func Adopt(fd int, key Key, path string, readOnly bool) (*os.File, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil || keyOf(&st) != key || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%w: descriptor %d is not the segment that was passed", fs.ErrNotExist, fd)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, err
	}
	var own int
	err := retry(func() (err error) {
		own, err = duplicate(fd, readOnly)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), path), nil
}

// duplicate duplicates a descriptor if it permits what is asked for. That is
// not left to mmap: this process may have the file mapped already.
func duplicate(old int, readOnly bool) (fd int, err error) {
	flags, err := unix.FcntlInt(uintptr(old), unix.F_GETFL, 0)
	if err == nil && !readOnly && flags&unix.O_ACCMODE == unix.O_RDONLY {
		err = unix.EACCES
	}
	if err != nil {
		return 0, err
	}
	return unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 3)
}
