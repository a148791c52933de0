package mem

import (
	"bytes"
	"sync/atomic"
	"unsafe"
)

// BytesOf views *p as bytes.
func BytesOf[T any](p *T) []byte {
	// SAFETY: package layout has found T to be bytes without pointers.
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
}

// CString returns the bytes of b before its first NUL, or all of them, as a
// string. Where others may write to b, the caller passes a copy: the text must not
// change between the search for the NUL and the copy.
func CString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// LoadWords fills dst from src by 8-byte atomic loads, each of which orders the
// loads after it on processors that reorder plain ones.
//
// Preconditions: src starts on a cache line of a mapping and is padded to one.
func LoadWords(dst, src []byte) {
	for i := 0; i < len(dst); i += 8 {
		// SAFETY: src is 8-byte aligned and, being padded, has the whole last word;
		// w is a copy.
		w := atomic.LoadUint64((*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(src)), i)))
		copy(dst[i:], unsafe.Slice((*byte)(unsafe.Pointer(&w)), 8))
	}
}

// storePlain stores n as one plain store, which is whole on 64-bit systems.
func storePlain(p *atomic.Uint64, n uint64) {
	// SAFETY: an atomic.Uint64 is an aligned uint64 and nothing else.
	*(*uint64)(unsafe.Pointer(p)) = n
}

// SameBytes reports whether the bytes of *a and *b are the same. It compares a small
// type word by word, for the reason that CopyFields gives.
func SameBytes[T any](a, b *T) bool {
	const small = 128
	if unsafe.Sizeof(*a) > small || unsafe.Sizeof(*a)%8 != 0 || unsafe.Alignof(*a) != 8 {
		return bytes.Equal(BytesOf(a), BytesOf(b))
	}
	// SAFETY: as in CopyFields.
	for off := uintptr(0); off < unsafe.Sizeof(*a); off += 8 {
		if *(*uint64)(unsafe.Add(unsafe.Pointer(a), off)) != *(*uint64)(unsafe.Add(unsafe.Pointer(b), off)) {
			return false
		}
	}
	return true
}

// CopyFields copies *src to *dst. It copies a small type word by word, because a
// wide load of fields that were just written one by one waits until those stores
// have reached the cache.
func CopyFields[T any](dst, src *T) {
	const small = 128
	if unsafe.Sizeof(*dst) > small || unsafe.Sizeof(*dst)%8 != 0 || unsafe.Alignof(*dst) != 8 {
		*dst = *src
		return
	}
	// SAFETY: the offsets are below the size of T and multiples of 8, to which T is
	// aligned; T has no pointers (see the package comment).
	for off := unsafe.Sizeof(*dst) % 16; off < unsafe.Sizeof(*dst); off += 16 {
		*(*uint64)(unsafe.Add(unsafe.Pointer(dst), off)) = *(*uint64)(unsafe.Add(unsafe.Pointer(src), off))
		*(*uint64)(unsafe.Add(unsafe.Pointer(dst), off+8)) = *(*uint64)(unsafe.Add(unsafe.Pointer(src), off+8))
	}
	if unsafe.Sizeof(*dst)%16 != 0 {
		*(*uint64)(unsafe.Pointer(dst)) = *(*uint64)(unsafe.Pointer(src))
	}
}
