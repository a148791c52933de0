//go:build linux || darwin || freebsd

package sys

import (
	"os"

	"example.org/shm/internal/errs"
)

// Reserve allocates the bytes from off to end on the filesystem, so that touching
// them later cannot fail for lack of space, and makes the file at least end bytes
// long. New bytes are zeros. After an error it gives back what it got, if the
// filesystem can do that, so nobody may use these bytes yet. It may block for as
// long as the filesystem needs. The error is an *fs.PathError, of
// syscall.ENOSPC for a full filesystem.
func Reserve(f *os.File, path string, off, end int64) error {
	at, err := reserve(f, off, end)
	if err != nil {
		Release(f, off, at-off)
		return errs.Path("allocate", path, err)
	}
	return nil
}
