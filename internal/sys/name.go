package sys

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Path returns the file behind a segment's name. For a name without a slash it
// is the POSIX shared-memory object of that name, on Linux /dev/shm/NAME. For
// any other name it is the name itself. It makes no system call.
func Path(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return sharedDir + name
}

// CheckName returns an error if no segment can have the name. The error wraps
// fs.ErrInvalid, and syscall.ENAMETOOLONG as well if the name is too long. It
// makes no system call.
func CheckName(name string) error {
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", fs.ErrInvalid)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%w: the name contains a NUL", fs.ErrInvalid)
	case strings.Contains(name, "/../"):
		return fmt.Errorf("%w: the name contains /../", fs.ErrInvalid)
	case last == "" || last == "." || last == "..":
		return fmt.Errorf("%w: the name is that of a directory", fs.ErrInvalid)
	case len(last) > 255 || len(name) > 4095:
		return fmt.Errorf("%w: the name has %d bytes (%w)", fs.ErrInvalid, len(name), syscall.ENAMETOOLONG)
	}
	return nil
}
