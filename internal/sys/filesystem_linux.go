package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// InMemory reports whether the filesystem of f is memory, which nothing
// outlives: tmpfs, as /dev/shm and memfds are, ramfs or hugetlbfs. A file there is
// gone after a reboot, and has no disk to be written to. If the system does not
// say, the answer is false. It never blocks on a filesystem in memory; on others it
// may block as stat does.
func InMemory(f *os.File) bool {
	var st unix.Statfs_t
	if withDescriptor(f, func(fd int) error { return unix.Fstatfs(fd, &st) }) != nil {
		return false
	}
	// The field's type differs between processors. All magic numbers have 32 bits.
	switch uint32(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.HUGETLBFS_MAGIC:
		return true
	}
	return false
}
