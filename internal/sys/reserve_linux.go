//go:build linux && !shmportable

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

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
