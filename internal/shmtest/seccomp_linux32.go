//go:build linux && (386 || arm)

package shmtest

import "golang.org/x/sys/unix"

const (
	sysFcntl   = unix.SYS_FCNTL64
	sysFstatfs = unix.SYS_FSTATFS64
)
