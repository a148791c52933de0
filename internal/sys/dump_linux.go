//go:build linux && !shmportable

package sys

import "golang.org/x/sys/unix"

// OmitFromDumps keeps memory out of core dumps of this process, or with omit false
// lets it be in them again. The kernel takes the mapping of a file without a name for
// the process's own memory, and looks at each page of it. If the system refuses,
// nothing changes. It never blocks.
//
// Preconditions: b is mapped and starts on a page.
func OmitFromDumps(b []byte, omit bool) {
	advice := unix.MADV_DODUMP
	if omit {
		advice = unix.MADV_DONTDUMP
	}
	if len(b) > 0 {
		_ = attempt(callMadvise, func() error { return unix.Madvise(b, advice) })
	}
}
