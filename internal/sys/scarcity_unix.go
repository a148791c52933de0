//go:build linux || darwin || freebsd

package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// OutOfMemory reports whether err says that memory or address space is short.
func OutOfMemory(err error) bool { return errors.Is(err, unix.ENOMEM) }

// OutOfDescriptors reports whether err says that this process or the system has
// no file descriptor left.
func OutOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// retry calls f until no signal interrupts it and no closed segment has a
// descriptor that f needs.
func retry(f func() error) error {
	for {
		err := f()
		if err != unix.EINTR && !(OutOfDescriptors(err) && Reclaim()) {
			return err
		}
	}
}
