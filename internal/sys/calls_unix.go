//go:build linux || darwin || freebsd

package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// attempt makes an optional call, unless it is to be avoided. Then it returns what
// a system without the call returns.
func attempt(name string, call func() error) error {
	if Avoided(name) {
		return unix.ENOSYS
	}
	return call()
}

// refused reports whether an error may mean that the system, the filesystem or a
// security module does not let this process make a call at all, or does not let
// it make the call in this way. Each call for which this is asked has a second way.
func refused(err error) bool {
	for _, no := range []error{
		unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.EPERM, unix.EACCES, // filesystems, kernels, seccomp, SELinux
		unix.EISDIR, // O_TMPFILE before Linux 3.11
		unix.EXDEV,  // links, where Landlock does not permit LANDLOCK_ACCESS_FS_REFER
		unix.EMLINK, // links, on filesystems with one name for each file
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
