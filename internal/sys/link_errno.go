//go:build linux || darwin

package sys

import "golang.org/x/sys/unix"

// linkErrno is what open(2) with O_NOFOLLOW returns for a symbolic link.
const linkErrno = unix.ELOOP
