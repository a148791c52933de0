//go:build linux || darwin || freebsd

package sys

import (
	"os"
	"path/filepath"

	"example.org/shm/internal/errs"
)

// persist has a file written to its disk, and returns when it is there. It does
// nothing for a filesystem in memory.
func persist(f *os.File, path string) error {
	if InMemory(f) {
		return nil
	}
	err := withDescriptor(f, func(fd int) error {
		return attempt(callFsync, func() error { return onDisk(fd) })
	})
	if err != nil && !refused(err) { // a filesystem without that call keeps its own order
		return errs.Path("sync", path, err)
	}
	return nil
}

// persistName has the name of a file that is on disk written to disk as well. The
// file is complete whether or not that succeeds; if not, a power failure may leave
// no name.
func persistName(f *os.File, path string) {
	if InMemory(f) {
		return
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return // a directory that may be written to but not read
	}
	_ = persist(dir, path)
	_ = dir.Close()
}
