package mem

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"example.org/shm/internal/sys"
)

// Region is memory that is mapped from a file. Its exported fields do not change
// once it is set up. It does not own the memory: see [Unmap].
type Region struct {
	Bytes    []byte // the whole reserved address range
	Path     string // for messages
	ReadOnly bool   // a write is a fault

	dumped atomic.Int64 // so many bytes are known to be in core dumps
}

// Dumped makes core dumps of this process have the first end bytes, to which the file
// has grown. It costs one load if they are in them already, and never blocks.
func (r *Region) Dumped(end int64) {
	from := r.dumped.Load()
	if end = min(pages(end), int64(len(r.Bytes))); end <= from {
		return
	}
	sys.OmitFromDumps(r.Bytes[from:end], false)
	r.dumped.CompareAndSwap(from, end) // if another goroutine was first, a later call does some of it again
}

// pages returns n rounded up to whole pages.
func pages(n int64) int64 { return (n + sys.PageSize - 1) / sys.PageSize * sys.PageSize }

// At returns the T at off bytes from the region's start. It panics if that is not
// inside the region or not aligned.
func At[T any](r *Region, off int64) *T {
	var t T
	r.mustContain(off, 1, int64(unsafe.Sizeof(t)), int64(unsafe.Alignof(t)))
	// SAFETY: bounds and alignment were checked; lifetime is the handle's, which
	// holds the region's owner; T has no Go pointers (see the package comment).
	return (*T)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(r.Bytes)), off))
}

// Slice returns the n values of type T from off bytes on. It panics if they are
// not all inside the region or not aligned.
func Slice[T any](r *Region, off int64, n int) []T {
	var t T
	r.mustContain(off, int64(n), int64(unsafe.Sizeof(t)), int64(unsafe.Alignof(t)))
	// SAFETY: as in At, for n values.
	return unsafe.Slice((*T)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(r.Bytes)), off)), n)
}

// mustContain panics unless n values of size bytes from off on are inside and
// aligned. Callers have validated what they pass, so a panic here is a defect of this
// module.
func (r *Region) mustContain(off, n, size, align int64) {
	length := int64(len(r.Bytes))
	// A division, since the product of n and size may overflow.
	if off < 0 || off > length || n < 0 || n > (length-off)/max(size, 1) || off%align != 0 {
		panic(fmt.Sprintf("shm: %s: %d values of %d bytes at offset %d are not inside its %d bytes or not aligned to %d", r.Path, n, size, off, length, align))
	}
}

// Contains reports whether an address is in the region.
func (r *Region) Contains(p uintptr) bool { return r.Offset(p) < uintptr(len(r.Bytes)) }

// Offset returns how far an address is from the region's start.
func (r *Region) Offset(p uintptr) uintptr {
	// SAFETY: addresses are only compared.
	return p - uintptr(unsafe.Pointer(unsafe.SliceData(r.Bytes)))
}

// OffsetOf returns how far *p is from the region's start.
//
// Preconditions: p is in the region.
func OffsetOf[T any](r *Region, p *T) int64 {
	// SAFETY: as in Offset.
	return int64(r.Offset(uintptr(unsafe.Pointer(p))))
}

// After returns the T that begins n bytes after *p.
//
// Preconditions: it is in the mapping that *p is in, and aligned.
//
// SAFETY: by the precondition.
func After[T, U any](p *U, n uintptr) *T { return (*T)(unsafe.Add(unsafe.Pointer(p), n)) }
