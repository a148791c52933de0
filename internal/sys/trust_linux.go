//go:build linux && !shmportable

package sys

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// freshLinks returns how many hard links a file has. Filesystems that are programs
// (FUSE) let the kernel keep a number that was true some time ago.
func freshLinks(f *os.File, known int) int {
	var st unix.Statx_t
	err := withDescriptor(f, func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_NLINK, &st)
	})
	if err != nil || st.Mask&unix.STATX_NLINK == 0 {
		return known
	}
	return int(st.Nlink)
}

// namespaceIDs reads the maps of this process's user namespace. A process cannot
// leave its namespace while it has several threads, as each Go program has.
var namespaceIDs = sync.OnceValue(func() (ids struct{ users, groups idMap }) {
	read := func(m, overflow string) idMap {
		ids, err := os.ReadFile("/proc/self/" + m) // #nosec G304 -- m is one of two names below
		x := idMap{err == nil && coversAll(string(ids)), 65534}
		if b, err := os.ReadFile("/proc/sys/kernel/" + overflow); err == nil { // #nosec G304 -- as above
			if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil {
				x.overflow = uint32(n)
			}
		}
		return x
	}
	ids.users, ids.groups = read("uid_map", "overflowuid"), read("gid_map", "overflowgid")
	return ids
})

// coversAll reports whether an id map of proc(5) has all ids.
func coversAll(m string) bool {
	total := uint64(0)
	for line := range strings.Lines(m) {
		var inside, outside, n uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &n); err != nil {
			return false
		}
		total += n
	}
	return total >= 1<<32-1 // the last number is no id
}
