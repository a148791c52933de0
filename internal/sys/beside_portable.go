//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockCreation takes the lock that the creator of a file with a temporary name has. It
// returns false if another process has it.
func lockCreation(f *os.File) (bool, error) {
	// The file is under no other lock, and this one belongs to the description.
	err := withDescriptor(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, err
}

func unlockCreation(f *os.File) {
	_ = withDescriptor(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}

// renameExclusive is refused: rename(2) replaces what has the name. A link does not.
func renameExclusive(string, string) error { return unix.ENOSYS }
