package shm

import (
	"reflect"
	"sync"
)

// layoutFor is LayoutOf without the copy that a caller may keep.
func layoutFor[T any]() (*Layout, error) { return layoutOf(reflect.TypeFor[T]()) }

var boolRanges sync.Map // reflect.Type to []byteRange

// boolsOf returns where in T its bools are; nil if it has none.
func boolsOf[T any]() []byteRange {
	t := reflect.TypeFor[T]()
	if known, ok := boolRanges.Load(t); ok {
		return known.([]byteRange)
	}
	ranges := appendBools(nil, t, 0)
	boolRanges.Store(t, ranges)
	return ranges
}

func appendBools(ranges []byteRange, t reflect.Type, off uintptr) []byteRange {
	switch t.Kind() {
	case reflect.Bool:
		if last := len(ranges) - 1; last >= 0 && ranges[last].off+ranges[last].n == off {
			ranges[last].n++
			return ranges
		}
		return append(ranges, byteRange{off, 1})
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
