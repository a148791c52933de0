//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// freshLinks returns how many hard links a file has.
func freshLinks(f *os.File, known int) int {
	var st unix.Stat_t
	if withDescriptor(f, func(fd int) error { return unix.Fstat(fd, &st) }) != nil {
		return known
	}
	return int(st.Nlink)
}

// namespaceIDs says that all ids are what they seem.
func namespaceIDs() (ids struct{ users, groups idMap }) {
	ids.users.complete, ids.groups.complete = true, true
	return ids
}
