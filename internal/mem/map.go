package mem

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/sys"
)

// SmallReserve is how many bytes of address space a segment gets where there are
// only 32 bits of it.
const SmallReserve = 64 << 20

// Map maps the first size bytes of f, or fewer but at least need where address
// space is short. Past the end of the file there is only reserved address space, and
// touching it is a fault. It is not in core dumps, nor is what the file grows into later,
// until Region.Dumped. Map may wait for the garbage collector to release
// mappings of closed segments. The error is an *fs.PathError. It wraps errs.Full
// if this system's address space can never have need bytes.
//
// The caller calls Unmap once with what Map returned.
func Map(f *os.File, path string, size, need int64, readOnly bool) ([]byte, error) {
	if need > math.MaxInt {
		return nil, errs.Path("mmap", path, fmt.Errorf("%w: %d bytes do not fit this system's address space", errs.Full, need))
	}
	if size > math.MaxInt { // a 64-bit program made it
		size = max(need, SmallReserve)
	}
	b, err := mapFile(f, size, need, readOnly)
	if err != nil {
		return nil, errs.Path("mmap", path, explain(err))
	}
	if end := pages(need); end < int64(len(b)) {
		sys.OmitFromDumps(b[end:], true) // it would be gigabytes of nothing
	}
	return b, nil
}

// explain says what an error of mmap means of which the system's text does not tell.
func explain(err error) error {
	if errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("%w: this filesystem does not let processes share the memory of its files (%w); use a name without a slash, or a path on another filesystem", errors.ErrUnsupported, err)
	}
	return err
}

// mapFile is Map for sizes that are ints.
func mapFile(f *os.File, size, need int64, readOnly bool) ([]byte, error) {
	b, err := sys.Map(f, int(size), readOnly)
	for sys.OutOfMemory(err) && sys.Reclaim() {
		b, err = sys.Map(f, int(size), readOnly)
	}
	half := func() int64 { return pages(size / 2) }
	if !sys.OutOfMemory(err) || size/2 < need {
		return b, err
	}
	for sys.OutOfMemory(err) && size/2 >= need {
		size = half()
		b, err = sys.Map(f, int(size), readOnly)
	}
	if err != nil || size/2 < need {
		return b, err
	}
	// This leaves as much again to the program, whose heap has to grow too.
	if err := sys.Unmap(b); err != nil {
		return nil, err
	}
	return sys.Map(f, int(half()), readOnly)
}

// Unmap unmaps what Map returned. No pointer into it may be used afterwards. It
// fails only for a slice that Map has not returned.
func Unmap(b []byte) error { return sys.Unmap(b) }

// Flush writes the first n bytes to the file's storage and returns when they are
// there. It may block for as long as the storage needs. The error is an
// *fs.PathError.
func (r *Region) Flush(n int64) error {
	if err := sys.Flush(r.Bytes[:n]); err != nil {
		return errs.Path("msync", r.Path, err)
	}
	runtime.KeepAlive(r)
	return nil
}
