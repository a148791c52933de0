//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"errors"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// suits returns an error, which wraps errors.ErrUnsupported, if the filesystem of a new
// file can hold no segment.
func suits(f *os.File, path string) error {
	err := withDescriptor(f, func(fd int) error {
		b, err := unix.Mmap(fd, 0, int(PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			err = unix.Munmap(b)
		}
		return err
	})
	if err == unix.ENODEV || err == unix.EINVAL {
		return errs.Path("create", path, errors.Join(errors.ErrUnsupported, err))
	}
	return nil // what else there may be, the mapping itself will tell
}

// keepInPlace does nothing: there is no portable way.
func keepInPlace(*os.File) {}

// InMemory returns false: there is no portable way to know. A file in memory is treated
// as one on a disk.
func InMemory(*os.File) bool { return false }
