package sys

import (
	"hash/fnv"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// BootID returns a number, never 0, that tells this boot of the system from
// others, or 0 if the system does not say. Its lowest bit is always set, so that
// it stays above 0 when the caller keeps only its lower bits. The first call may
// read a file.
func BootID() uint64 { return bootID() }

var bootID = sync.OnceValue(func() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64() | 1
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
