package sys

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
)

// On Windows the locks of a segment are on bytes of its own file, beyond its data.

// NewPlace returns 0: locks are on bytes of the segment's file.
func NewPlace(fs.FileMode) (uint64, error) { return 0, nil }

// Settle returns an error for a place that is not in the segment's file. The error is an
// *fs.PathError that wraps errs.Version.
func Settle(_ *os.File, path string, place uint64, _ bool) (uint64, error) {
	if place != 0 {
		return 0, errs.Path("open", path, fmt.Errorf("%w: its locks are in a file of their own, where programs on Windows do not look: another system made it", errs.Version))
	}
	return 0, nil
}

// Unsettle does nothing on Windows.
func Unsettle(Key) {}

// Backend names this set of files.
const Backend = "windows"
