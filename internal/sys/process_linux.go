package sys

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// BootID returns a text that tells this boot of the system from others, or "" if the
// system does not say. A container may have one of its own. The first call may read a
// file.
func BootID() string { return bootID() }

var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(b)
})

// PidNamespace returns the inode number of the namespace in which os.Getpid means
// something, or 0 if the system does not say. The first call may read a file.
func PidNamespace() uint64 { return pidNamespace() }

var pidNamespace = sync.OnceValue(func() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) != nil {
		return 0
	}
	return st.Ino
})
