package mem

import (
	"sync/atomic"
	"unsafe"
)

// Word is the numbers that one store commits: all but complex128.
type Word interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64 | ~complex64
}

// Integer is the integers for which package sync/atomic has operations.
type Integer interface {
	~int32 | ~int64 | ~uint32 | ~uint64
}

// Load reads *p with one atomic load. It never blocks.
//
// Preconditions: p is aligned to T's size and lies in a mapping.
func Load[T Word](p *T) T {
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

// Store writes *p with one store, so that Load sees it whole. It orders nothing:
// the lock around it does. It never blocks.
//
// Preconditions: those of Load.
func Store[T Word](p *T, v T) {
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

// Bits returns v's bits, so that a NaN equals itself.
func Bits[T Word](v T) uint64 {
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

// IsFloat reports whether T is a floating-point number, a constant of each
// instantiation.
func IsFloat[T ~int64 | ~uint64 | ~float64]() bool {
	one := T(1)
	return one/2 != 0
}

// SelfAligned reports whether p is aligned to the size of T, which one atomic
// access needs. complex64 and, on 32-bit systems, any 8-byte number may not be.
func SelfAligned[T Word](p *T) bool {
	// SAFETY: the address is only looked at.
	return uintptr(unsafe.Pointer(p))%unsafe.Sizeof(*p) == 0
}

// Word32 views an integer as package sync/atomic takes it.
//
// Preconditions: T has 4 bytes, and p is aligned to them.
//
// SAFETY: T is then an integer of exactly that size and alignment.
func Word32[T Integer](p *T) *uint32 { return (*uint32)(unsafe.Pointer(p)) }

// Word64 views an integer as package sync/atomic takes it.
//
// Preconditions: T has 8 bytes, and p is aligned to them, also on systems where
// Go aligns it to 4. Records start on a cache line, so it is.
//
// SAFETY: T is then an integer of exactly that size and alignment.
func Word64[T Integer](p *T) *uint64 { return (*uint64)(unsafe.Pointer(p)) }

// Plain32 returns the word itself. The functions of package sync/atomic cost less
// of the compiler's inlining budget than the methods do.
//
// SAFETY: an atomic.Uint32 is an aligned uint32 and nothing else.
func Plain32(p *atomic.Uint32) *uint32 { return (*uint32)(unsafe.Pointer(p)) }

// Plain64 is Plain32 for a word of 64 bits.
//
// SAFETY: an atomic.Uint64 is a uint64, aligned to 8 bytes, and nothing else.
func Plain64(p *atomic.Uint64) *uint64 { return (*uint64)(unsafe.Pointer(p)) }

// Size returns T's size in bytes, a constant of each instantiation.
//
// SAFETY: the pointer is not followed. A variable of a large type would be
// allocated on the heap.
func Size[T any]() uintptr { return unsafe.Sizeof(*(*T)(nil)) }

// Align returns T's alignment in bytes, a constant of each instantiation.
//
// SAFETY: as for Size.
func Align[T any]() uintptr { return unsafe.Alignof(*(*T)(nil)) }
