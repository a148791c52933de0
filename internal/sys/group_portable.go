//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"golang.org/x/sys/unix"
)

// setGroup gives a new file the group of this process, whose lease file NewPlace has chosen.
// The system may have given it the group of the directory: macOS and FreeBSD always do so,
// and Linux does if the directory has the setgid bit.
func setGroup(f *os.File, path string, mode fs.FileMode) error {
	st, err := stat(f, path)
	gid := os.Getegid()
	if err != nil || int(st.Gid) == gid {
		return err
	}
	err = withDescriptor(f, func(fd int) error { return unix.Fchown(fd, -1, gid) })
	if err == nil || mode>>3&0o6 == mode&0o6 { // the group may do what all others may
		return nil
	}
	return errs.Path("chown", path, fmt.Errorf("a new file here has the directory's group %d, and cannot be given this process's group %d, to which Options.Mode %#o grants something: ask for a mode that grants the group what it grants to others, or use another directory: %w", st.Gid, gid, mode, err))
}
