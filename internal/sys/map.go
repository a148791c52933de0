//go:build !windows

package sys

import (
	"os"

	"github.com/edsrzf/mmap-go"
)

// Map maps the first size bytes of f, shared with all processes that map them. Past the
// end of the file there is only reserved address space, until the file grows. The caller
// calls Unmap once with what Map returned, and keeps it until no goroutine sleeps on a
// word in it. The error is the system's own.
func Map(f *os.File, size int, readOnly bool) ([]byte, error) {
	prot := mmap.RDWR
	if readOnly {
		prot = mmap.RDONLY
	}
	b, err := mmap.MapRegion(f, size, prot, 0, 0)
	if err != nil {
		return nil, err
	}
	if err := mapped(b, f); err != nil {
		_ = b.Unmap() // It is what MapRegion has returned.
		return nil, err
	}
	return b, nil
}

// Unmap unmaps what Map returned. It fails only for a slice that Map has not returned.
func Unmap(b []byte) error {
	unmapping(b)
	m := mmap.MMap(b)
	return m.Unmap()
}

// Flush writes the first bytes of a mapping to the file's storage and returns when they
// are there. It may block for as long as the storage needs. The error is the system's
// own.
//
// Preconditions: b begins where a mapping does.
func Flush(b []byte) error {
	m := mmap.MMap(b)
	if err := m.Flush(); err != nil {
		return err
	}
	return flushed(b)
}
