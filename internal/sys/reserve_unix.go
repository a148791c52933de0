//go:build linux || darwin || freebsd

package sys

import (
	"errors"
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

// fill reserves space where fallocate is missing, by writing zeros past the end of
// the file. What lies before the end is there already.
func fill(f *os.File, off, n int64) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Unwrap(err)
	}
	zeros := make([]byte, min(n, 1<<20))
	for at := max(off, info.Size()); at < off+n; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), off+n-at)], at); err != nil {
			return errors.Unwrap(err)
		}
	}
	return nil
}
