package mem

import (
	"reflect"
	"sync"
	"unsafe"
)

// ByteRange is some of the bytes of a type.
type ByteRange struct{ off, n uintptr }

var boolRanges sync.Map // reflect.Type to []ByteRange

// Bools returns where in T its bools are, and nil if it has none. The result is
// shared: callers do not change it.
func Bools[T any]() []ByteRange { return boolsOf(reflect.TypeFor[T]()) }

func boolsOf(t reflect.Type) []ByteRange {
	if known, ok := boolRanges.Load(t); ok {
		return known.([]ByteRange)
	}
	ranges := appendBools(nil, t, 0)
	boolRanges.Store(t, ranges)
	return ranges
}

func appendBools(ranges []ByteRange, t reflect.Type, off uintptr) []ByteRange {
	switch t.Kind() {
	case reflect.Bool:
		if last := len(ranges) - 1; last >= 0 && ranges[last].off+ranges[last].n == off {
			ranges[last].n++
			return ranges
		}
		return append(ranges, ByteRange{off, 1})
	case reflect.Array:
		if len(appendBools(nil, t.Elem(), 0)) == 0 {
			return ranges
		}
		for i := range t.Len() {
			ranges = appendBools(ranges, t.Elem(), off+uintptr(i)*t.Elem().Size())
		}
	case reflect.Struct:
		for i := range t.NumField() {
			ranges = appendBools(ranges, t.Field(i).Type, off+t.Field(i).Offset)
		}
	}
	return ranges
}

// Normalise makes each byte in the ranges of *p 0 or 1, the only values that a Go
// bool may have. Other processes may have written others.
func Normalise[T any](p *T, bools []ByteRange) {
	for _, r := range bools {
		// SAFETY: the ranges are of T's own bools, so inside *p.
		for i, b := range unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), r.off)), r.n) {
			if b > 1 {
				*(*byte)(unsafe.Add(unsafe.Pointer(p), r.off+uintptr(i))) = 1
			}
		}
	}
}
