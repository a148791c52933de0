package shm

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Path returns the file behind a segment's name: the POSIX shared-memory
// object /dev/shm/NAME for a name without a slash, else the name itself.
func Path(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return shmDir + name
}

// checkName says why a name cannot be a segment's.
func checkName(name string) error {
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case name == "":
		return fmt.Errorf("%w: an empty name", fs.ErrInvalid)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%w: a NUL in the name", fs.ErrInvalid)
	case strings.Contains(name, "/../"):
		return fmt.Errorf("%w: /../ in the name", fs.ErrInvalid)
	case last == "" || last == "." || last == "..":
		return fmt.Errorf("%w: the name of a directory", fs.ErrInvalid)
	case len(last) > 255 || len(name) > 4095:
		return fmt.Errorf("%w: %d bytes of name (%w)", fs.ErrInvalid, len(name), syscall.ENAMETOOLONG)
	}
	return nil
}
