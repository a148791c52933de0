package shm

import (
	"sync/atomic"
	"unsafe"
)

// Why this file: handles are pointers into memory that the Go runtime does not
// manage, so that a Get costs what a Go pointer costs. What keeps that sound:
//
//   - Bounds: every pointer is made by at or sliceAt, which check the offset
//     and the length against the mapping before they return it.
//   - Alignment: a mapping starts on a page, so an offset's alignment is the
//     address's; at and sliceAt check it.
//   - Lifetime: a handle holds the *mapping beside the pointer, and each method
//     keeps it alive until its access is done; only the cleanup of an
//     unreachable mapping unmaps.
//   - No Go pointers in shared memory: Numeric has none by construction, and
//     LayoutOf refuses struct types that contain one.

// at returns the T at off bytes from the mapping's start, or panics.
func at[T any](m *mapping, off int64) *T {
	var t T
	m.mustContain(off, int64(unsafe.Sizeof(t)), int64(unsafe.Alignof(t)))
	// SAFETY: bounds and alignment were checked; lifetime is the handle's, which
	// holds m; T has no Go pointers (see above).
	return (*T)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(m.mem)), off))
}

// sliceAt returns the n values of type T from off on, or panics.
func sliceAt[T any](m *mapping, off int64, n int) []T {
	var t T
	m.mustContain(off, int64(unsafe.Sizeof(t))*int64(n), int64(unsafe.Alignof(t)))
	// SAFETY: as in at, for n times the size; n is bounded by the mapping's
	// length, so the product did not overflow.
	return unsafe.Slice((*T)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(m.mem)), off)), n)
}

// loadWord reads *p with one atomic load.
//
// Preconditions: p is aligned to T's size and lies in a mapping.
func loadWord[T Word](p *T) T {
	switch unsafe.Sizeof(*p) {
	case 8:
		// SAFETY: aligned by the precondition; T is 8 bytes without pointers.
		w := atomic.LoadUint64((*uint64)(unsafe.Pointer(p)))
		return *(*T)(unsafe.Pointer(&w))
	case 4:
		// SAFETY: as above, 4 bytes.
		w := atomic.LoadUint32((*uint32)(unsafe.Pointer(p)))
		return *(*T)(unsafe.Pointer(&w))
	}
	// sync/atomic has no 8- or 16-bit loads: load the aligned word around it.
	// SAFETY: a mapping starts and ends on a page, so the word is inside it; w is
	// a copy, and T lies in it at the same offset as in memory.
	in := uintptr(unsafe.Pointer(p)) & 3
	w := atomic.LoadUint32((*uint32)(unsafe.Add(unsafe.Pointer(p), -int(in))))
	return *(*T)(unsafe.Add(unsafe.Pointer(&w), in))
}

// storeWord writes *p with one store that loadWord sees whole. It orders
// nothing: the lock around it does.
//
// Preconditions: those of loadWord.
func storeWord[T Word](p *T, v T) {
	if unsafe.Sizeof(*p) == 8 {
		// SAFETY: aligned by the precondition. complex64 would be two stores.
		bits := *(*uint64)(unsafe.Pointer(&v))
		if unsafe.Sizeof(uintptr(0)) == 8 {
			*(*uint64)(unsafe.Pointer(p)) = bits
		} else {
			atomic.StoreUint64((*uint64)(unsafe.Pointer(p)), bits)
		}
		return
	}
	*p = v // at most a machine word: the memory model forbids a partial write
}

// bitsOf returns v's bits, so that a NaN equals itself.
func bitsOf[T Word](v T) uint64 {
	switch unsafe.Sizeof(v) {
	// SAFETY: v is a local copy of exactly that size.
	case 8:
		return *(*uint64)(unsafe.Pointer(&v))
	case 4:
		return uint64(*(*uint32)(unsafe.Pointer(&v)))
	case 2:
		return uint64(*(*uint16)(unsafe.Pointer(&v)))
	}
	return uint64(*(*uint8)(unsafe.Pointer(&v)))
}

// selfAligned reports whether p is aligned to the size of T, which one atomic
// access needs; complex64 and, on 32-bit systems, any 8-byte number may not be.
func selfAligned[T Word](p *T) bool {
	// SAFETY: the address is only looked at.
	return uintptr(unsafe.Pointer(p))%unsafe.Sizeof(*p) == 0
}

// word32 and word64 view an AtomicInteger as what sync/atomic takes.
//
// SAFETY: T is an integer of exactly that size, aligned to it: records start
// on a cache line.
func word32[T AtomicInteger](p *T) *uint32 { return (*uint32)(unsafe.Pointer(p)) }
func word64[T AtomicInteger](p *T) *uint64 { return (*uint64)(unsafe.Pointer(p)) }

// contains reports whether an address is in the mapping, and offset where.
//
// SAFETY: addresses are only compared.
func (m *mapping) contains(p uintptr) bool { return m.offset(p) < uintptr(len(m.mem)) }
func (m *mapping) offset(p uintptr) uintptr {
	return p - uintptr(unsafe.Pointer(unsafe.SliceData(m.mem)))
}

// size returns T's size in bytes, a constant of each instantiation.
func size[T any]() uintptr {
	var t T
	return unsafe.Sizeof(t)
}

// alignOf returns T's alignment in bytes.
func alignOf[T any]() uintptr {
	var t T
	return unsafe.Alignof(t)
}

// byteRange is some bytes of a type.
type byteRange struct{ off, n uintptr }

// normalise makes each byte in the ranges of *p 0 or 1.
func normalise[T any](p *T, bools []byteRange) {
	for _, r := range bools {
		// SAFETY: the ranges are of T's own bools, so inside *p.
		for i, b := range unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), r.off)), r.n) {
			if b > 1 {
				*(*byte)(unsafe.Add(unsafe.Pointer(p), r.off+uintptr(i))) = 1
			}
		}
	}
}

// storePlain stores n as one plain store, which is whole on 64-bit systems.
func storePlain(p *atomic.Uint64, n uint64) {
	// SAFETY: an atomic.Uint64 is an aligned uint64 and nothing else.
	*(*uint64)(unsafe.Pointer(p)) = n
}

// bytesOf views *p as bytes.
func bytesOf[T any](p *T) []byte {
	// SAFETY: LayoutOf has found T to be bytes without pointers.
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// loadWords fills dst from src by 8-byte atomic loads, each of which orders the
// loads behind it on processors that reorder plain ones.
//
// Preconditions: src starts on a cache line of a mapping and is padded to one.
func loadWords(dst, src []byte) {
	for i := 0; i < len(dst); i += 8 {
		// SAFETY: src is 8-byte aligned and, being padded, has the whole last word;
		// w is a copy.
		w := atomic.LoadUint64((*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(src)), i)))
		copy(dst[i:], unsafe.Slice((*byte)(unsafe.Pointer(&w)), 8))
	}
}
