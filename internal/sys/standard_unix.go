//go:build linux || darwin || freebsd

package sys

import "golang.org/x/sys/unix"

// beyondStandard takes what opened a file, and returns a descriptor from 3 on. A program may
// have closed its standard input, output or error, and what the runtime or a child prints there
// must not go into a segment.
func beyondStandard(fd int, err error) (int, error) {
	if err != nil || fd > 2 {
		return fd, err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	_ = unix.Close(fd) // nothing was written through it
	return own, err
}
