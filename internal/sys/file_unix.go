//go:build linux || darwin || freebsd

package sys

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// withDescriptor calls do with f's descriptor until no signal interrupts it.
// The descriptor stays open until then even if f is closed meanwhile: otherwise
// its number might already be another file's.
func withDescriptor(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if conn.Control(func(fd uintptr) { err = retry(func() error { return do(int(fd)) }) }) != nil {
		return fs.ErrClosed // the only reason for which Control does not call its function
	}
	return err
}

// OpenExisting opens the file of a path for attaching. It follows no symbolic
// link and does not wait for the other end of a FIFO. The error is an
// *fs.PathError, which wraps errs.Insecure if the path is that of a symbolic link
// or of what cannot be opened as a file. Callers must still ask Identify or
// CheckNamed what the file is.
func OpenExisting(path string, readOnly bool) (*os.File, error) {
	flags := unix.O_RDWR
	if readOnly {
		flags = unix.O_RDONLY
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = beyondStandard(unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0))
		return err
	})
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), path), nil
	case linkErrno:
		return nil, errs.Path("open", path, fmt.Errorf("%w: a symbolic link", errs.Insecure))
	case unix.EISDIR, unix.ENXIO, unix.ENODEV, unix.EOPNOTSUPP: // the last for sockets, on macOS and FreeBSD
		return nil, errs.Path("open", path, fmt.Errorf("%w: not a regular file (%w)", errs.Insecure, err))
	}
	return nil, errs.Path("open", path, err)
}

// Identify returns the identity of a regular file and its size in bytes. The
// error is an *fs.PathError, which wraps errs.Insecure if the file is not a
// regular file. It never blocks.
func Identify(f *os.File, path string) (Key, int64, error) {
	st, err := stat(f, path)
	return keyOf(&st), st.Size, err
}

// FileSize returns the size in bytes of a regular file. Its errors are those of
// Identify. It never blocks.
func FileSize(f *os.File, path string) (int64, error) {
	st, err := stat(f, path)
	return st.Size, err
}

// stat returns what the system knows of a regular file, and an error for any
// other file.
func stat(f *os.File, path string) (st unix.Stat_t, err error) {
	if err := withDescriptor(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return st, errs.Path("stat", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return st, errs.Path("open", path, fmt.Errorf("%w: not a regular file", errs.Insecure))
	}
	return st, nil
}

func keyOf(st *unix.Stat_t) Key { return Key{uint64(st.Dev), uint64(st.Ino)} }

// Remove removes the name of a file. Processes that have the file open or mapped
// keep it. The error is an *fs.PathError.
func Remove(path string) error {
	if err := retry(func() error { return unix.Unlink(path) }); err != nil {
		return errs.Path("remove", path, err)
	}
	return nil
}
