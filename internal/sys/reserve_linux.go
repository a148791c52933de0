package sys

import (
	"errors"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
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

// reserve allocates the bytes from off to end. After an error only those from at on
// are certain not to be allocated.
func reserve(f *os.File, off, end int64) (at int64, err error) {
	// In steps: a signal undoes a whole call, and Go sends many.
	const step = 16 << 20
	for at = off; at < end; at += step {
		n := min(step, end-at)
		err := withDescriptor(f, func(fd int) error {
			return attempt(callFallocate, func() error { return unix.Fallocate(fd, 0, at, n) })
		})
		if refused(err) {
			err = fill(f, at, n)
		}
		if err != nil {
			return at + n, err
		}
	}
	return end, nil
}

// Release gives back the space of n bytes from off on, whose contents are lost; the
// length of the file stays. A filesystem that cannot do this keeps the space. It
// never blocks for long.
func Release(f *os.File, off, n int64) {
	_ = withDescriptor(f, func(fd int) error {
		return attempt(callFallocate, func() error {
			return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		})
	})
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
