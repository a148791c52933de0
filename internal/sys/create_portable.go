//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// The portable backend needs no more than POSIX has, and what all Unix systems of today
// have beside it. The tag shmportable chooses it on Linux, to be tested there.

// createUnnamed is refused: not all systems have files without a name.
func createUnnamed(path string, _ fs.FileMode, _ []byte, _ int64) (*os.File, error) {
	return nil, errs.Path("create", path, unix.ENOSYS)
}

// CreateAnonymous creates a file without a name, with the contents that CreateNamed gives
// one. It has a temporary name for a moment, in the directory of named segments. A process
// that has the descriptor can shrink the file. It may block as Reserve may. The error is
// an *fs.PathError.
func CreateAnonymous(header []byte, size int64) (*os.File, error) {
	removeAbandoned(sharedDir + "anonymous")
	f, temp, err := openBeside(sharedDir+"anonymous", AnonymousPath)
	if err != nil {
		return nil, err
	}
	err = Remove(temp)
	if err == nil {
		unlockCreation(f)
		err = suits(f, AnonymousPath)
	}
	if err == nil {
		err = layDown(f, AnonymousPath, header, size)
	}
	if err != nil {
		return nil, CloseAfter(f, err)
	}
	return f, nil
}
