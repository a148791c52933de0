//go:build linux && !shmportable

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// creationByte is the byte of lockCreation. No other lock of a segment uses it.
const creationByte = 1 << 61

// lockCreation takes the lock that the creator of a file with a temporary name has. It
// returns false if another process has it.
func lockCreation(f *os.File) (bool, error) { return TryLock(f, creationByte) }

func unlockCreation(f *os.File) { Unlock(f, creationByte) }

// isTemporary reports whether a name is a temporary one that begins with a prefix.
func isTemporary(name, prefix, suffix string) bool { return isBeside(name, prefix, suffix) }

// renameExclusive gives a file another name, and fails if that exists.
func renameExclusive(from, to string) error {
	return attempt(callRenameat2, func() error {
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
}
