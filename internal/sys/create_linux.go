package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// CreateNamed creates a file at path with size reserved bytes, of which the first
// are header and the others zeros. It builds the file under no name and links it
// into place, so nobody ever sees a part of one. The permission bits are mode,
// whatever the umask. It may block as Reserve may. The error is an *fs.PathError.
// It wraps fs.ErrExist if the path exists, and then nothing is changed.
func CreateNamed(path string, mode fs.FileMode, header []byte, size int64) (*os.File, error) {
	dir := filepath.Dir(path)
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		return err
	})
	temp := ""
	if err == unix.EOPNOTSUPP || err == unix.EISDIR || err == unix.EINVAL {
		// A filesystem without O_TMPFILE: a temporary name beside the real one.
		temp = filepath.Join(dir, fmt.Sprintf(".%.200s.%08x", filepath.Base(path), rand.Uint32()))
		err = retry(func() (err error) {
			fd, err = unix.Open(temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
			return err
		})
	}
	if err != nil {
		return nil, errs.Path("create", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err = build(f, path, mode, header, size); err == nil {
		err = publish(fd, temp, path)
	}
	if err != nil {
		if temp != "" {
			if failed := Remove(temp); failed != nil {
				err = errors.Join(err, failed)
			}
		}
		return nil, CloseAfter(f, err)
	}
	return f, nil
}

// publish gives the file in fd its name. If temp is not empty, the file has that
// name already, and loses it.
func publish(fd int, temp, path string) error {
	err := retry(func() error {
		if temp != "" {
			return unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		}
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err == unix.ENOENT && temp == "" {
		// Without /proc the kernel links the descriptor itself for a process that
		// may do that: one with CAP_DAC_READ_SEARCH, and since Linux 6.10 the one
		// that opened it.
		err = retry(func() error { return unix.Linkat(fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH) })
	}
	if err != nil {
		return errs.Path("create", path, err)
	}
	return nil
}

// build gives an empty file its mode, its space and its header.
func build(f *os.File, path string, mode fs.FileMode, header []byte, size int64) error {
	// The process's umask does not apply: Mode says who may attach.
	if err := withDescriptor(f, func(fd int) error { return unix.Fchmod(fd, uint32(mode)) }); err != nil {
		return errs.Path("chmod", path, err)
	}
	return layDown(f, path, header, size)
}

// layDown gives an empty file its space and its header.
func layDown(f *os.File, path string, header []byte, size int64) error {
	if err := Reserve(f, path, 0, size); err != nil {
		return err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		return errs.Path("write", path, errors.Unwrap(err))
	}
	return nil
}

// CreateAnonymous creates a file without a name, with the contents that
// CreateNamed gives one. On Linux it is a memfd, sealed against shrinking. It may
// block as Reserve may. The error is an *fs.PathError.
func CreateAnonymous(header []byte, size int64) (*os.File, error) {
	const label = "shm"
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.MemfdCreate(label, flags|unix.MFD_NOEXEC_SEAL)
		if err == unix.EINVAL { // before Linux 6.3
			fd, err = unix.MemfdCreate(label, flags)
		}
		return err
	})
	if err != nil {
		return nil, errs.Path("memfd_create", AnonymousPath, err)
	}
	f := os.NewFile(uintptr(fd), AnonymousPath)
	if err = layDown(f, AnonymousPath, header, size); err == nil {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
			err = errs.Path("seal", AnonymousPath, err)
		}
	}
	if err != nil {
		return nil, CloseAfter(f, err)
	}
	return f, nil
}
