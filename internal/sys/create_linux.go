//go:build linux && !shmportable

package sys

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// createUnnamed is CreateNamed by a file without a name, which ends with this
// process unless it gets one. If that way is refused, the error says so to refused.
func createUnnamed(path string, mode fs.FileMode, header []byte, size int64) (*os.File, error) {
	f, err := openUnnamed(filepath.Dir(path), path)
	if err != nil {
		return nil, err
	}
	if err = build(f, path, mode, header, size); err == nil {
		if err = link(f, path); err != nil {
			err = errs.Path("create", path, err)
		}
	}
	if err != nil {
		return nil, CloseAfter(f, err)
	}
	return f, nil
}

// link gives a file without a name its name, and fails if that exists.
func link(f *os.File, path string) error {
	err := withDescriptor(f, func(fd int) error {
		return attempt(callLinkat, func() error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		})
	})
	if err != unix.ENOENT && !refused(err) {
		return err
	}
	// Without /proc the kernel links the descriptor itself for a process that may
	// do that: one with CAP_DAC_READ_SEARCH, and since Linux 6.10 the one that opened
	// it.
	again := withDescriptor(f, func(fd int) error {
		return attempt(callLinkat, func() error {
			return unix.Linkat(fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH)
		})
	})
	if again == unix.ENOENT {
		return unix.EPERM // it means that this process may not, or else that the directory is gone; the second way finds out
	}
	return again
}

// openUnnamed opens a new file without a name in a directory. Messages call it
// path. If that way is refused, the error says so to refused.
func openUnnamed(dir, path string) (*os.File, error) {
	var fd int
	err := retry(func() error {
		return attempt(callTmpfile, func() (err error) {
			fd, err = beyondStandard(unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600))
			return err
		})
	})
	if err != nil {
		return nil, errs.Path("create", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// CreateAnonymous creates a file without a name, with the contents that
// CreateNamed gives one. On Linux it is a memfd, sealed against shrinking. Where
// the system refuses memfds, it is a file in the directory of POSIX shared memory
// objects, without a name, and where it refuses seals, there are none: then a
// process that has the descriptor can shrink the file. It may block as Reserve may. The
// error is an *fs.PathError.
func CreateAnonymous(header []byte, size int64) (*os.File, error) {
	f, err := openMemory()
	if err != nil {
		return nil, err
	}
	if err := layDown(f, AnonymousPath, header, size); err != nil {
		return nil, CloseAfter(f, err)
	}
	err = withDescriptor(f, func(fd int) error {
		return attempt(callSeal, func() error {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
			return err
		})
	})
	if err != nil && !refused(err) {
		return nil, CloseAfter(f, errs.Path("seal", AnonymousPath, err))
	}
	return f, nil
}

// openMemory opens a new file without a name, in memory.
func openMemory() (*os.File, error) {
	const label = "shm"
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	var fd int
	err := retry(func() error {
		return attempt(callMemfd, func() (err error) {
			fd, err = unix.MemfdCreate(label, flags|unix.MFD_NOEXEC_SEAL)
			if err == unix.EINVAL { // before Linux 6.3
				fd, err = unix.MemfdCreate(label, flags)
			}
			fd, err = beyondStandard(fd, err)
			return err
		})
	})
	if err == nil {
		return os.NewFile(uintptr(fd), AnonymousPath), nil
	}
	first := errs.Path("memfd_create", AnonymousPath, err)
	if !refused(err) {
		return nil, first
	}
	f, err := openUnnamed(sharedDir, AnonymousPath)
	if refused(err) {
		var temp string
		if f, temp, err = openBeside(sharedDir+"anonymous", AnonymousPath); err == nil {
			if err = Remove(temp); err != nil {
				err = CloseAfter(f, err)
			}
		}
	}
	if err != nil {
		return nil, errs.Path("create", AnonymousPath, fmt.Errorf("%w; %w", first, err))
	}
	return f, nil
}
