//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"os"
	"strings"

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

// isTemporary reports whether a name is a temporary one that begins with a prefix, in any
// case: to the filesystems of macOS Board and board are one name. Callers still ask which
// file it leads to.
func isTemporary(name, prefix, suffix string) bool {
	at := len(name) - len(suffix) - 8
	return at >= 0 && strings.EqualFold(name[:at], prefix) && isBeside(name[at:], "", suffix)
}

// renameExclusive is refused: rename(2) replaces what has the name. A link does not.
func renameExclusive(string, string) error { return unix.ENOSYS }
