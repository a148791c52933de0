//go:build linux && !shmportable

package sys

import (
	"sync"

	"golang.org/x/sys/unix"
)

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
