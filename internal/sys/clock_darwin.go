package sys

import "golang.org/x/sys/unix"

// systemClock stands still while the computer sleeps, as the clock of time.Since
// (mach_absolute_time) does. CLOCK_MONOTONIC goes on there.
const systemClock = unix.CLOCK_UPTIME_RAW
