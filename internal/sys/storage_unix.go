//go:build linux || freebsd

package sys

import "golang.org/x/sys/unix"

// onDisk returns when the bytes of a file are on its disk.
func onDisk(fd int) error { return unix.Fsync(fd) }
