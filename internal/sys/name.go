package sys

import (
	"fmt"
	"io/fs"
)

// Path returns the file behind a segment's name. For a name that is no path it
// is the POSIX shared-memory object of that name, on Linux /dev/shm/NAME, and on
// Windows a file of that name below the directory of temporary files. For
// any other name it is the name itself. It makes no system call.
func Path(name string) string {
	if isPath(name) {
		return name
	}
	return sharedDir + name
}

// CheckName returns an error if no segment can have the name. The error wraps
// fs.ErrInvalid, and syscall.ENAMETOOLONG as well if the name is too long. It
// makes no system call.
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: the name is empty", fs.ErrInvalid)
	}
	return checkName(name)
}
