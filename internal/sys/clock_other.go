//go:build linux || freebsd

package sys

import "golang.org/x/sys/unix"

// systemClock is the clock of time.Since on these systems.
const systemClock = unix.CLOCK_MONOTONIC
