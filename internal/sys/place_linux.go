//go:build linux && !shmportable

package sys

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
)

// On Linux the locks of a segment are on bytes of its own file.

// NewPlace returns a place for the locks of a new segment, whose file has that mode: a
// number that stands in the segment, for Settle. It is 0 where locks are on bytes of the
// segment's file, as on Linux. The error wraps an *fs.PathError.
func NewPlace(fs.FileMode) (uint64, error) { return 0, nil }

// Settle makes the functions for byte locks use the place of the locks that a segment
// has; f is its file. Each attachment calls it before its first lock or question. If
// vacant is true, no process of this boot has a lock of the segment yet, so the place may
// be given up: it belongs to an earlier boot, or to another file. Then Settle may return
// a new place, which the caller has to store in the segment in its stead, unless another
// process was faster; the caller calls Settle again with the one that is there then.
//
// The error is an *fs.PathError. It wraps errs.Version if this process cannot see the
// locks of the processes that use the segment, because they keep them elsewhere.
func Settle(_ *os.File, path string, place uint64, vacant bool) (uint64, error) {
	if place != 0 {
		return 0, errs.Path("open", path, fmt.Errorf("%w: its locks are in a file of their own, where programs of this kind do not look: a program that was built with the tag shmportable made it, or another system; build all programs that share it in the same way", errs.Version))
	}
	return 0, nil
}

// Unsettle forgets what Settle was told of a file. Nothing in this process uses the file
// any more.
func Unsettle(Key) {}

// CloseLocks closes a file that has locks. It releases them, as far as closing does not.
func CloseLocks(f *os.File) error { return f.Close() }

// mapped and unmapping are told of each mapping. Linux finds the sleepers on a word by
// its address.
func mapped([]byte, *os.File) error { return nil }
func unmapping([]byte)              {}

// flushed has nothing to do: msync has written to the disk.
func flushed([]byte) error { return nil }

// Backend names this set of files: linux, portable (what POSIX has and little more), or
// none, which only compiles.
const Backend = "linux"
