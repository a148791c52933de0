package layout

import (
	"encoding/binary"
	"reflect"
)

// ByteOrder is the prefix of each number's code in a format: "<" on a
// little-endian machine, ">" on others.
var ByteOrder = func() string {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return "<"
	}
	return ">"
}()

// Chars is the layout of one character of a C string. It is read only.
var Chars = func() *Layout {
	l := scalar("c", reflect.TypeFor[byte]())
	return &l
}()

// scalars pairs the codes of ctypes with Go's types. OfType uses the first entry
// of a Go kind.
var scalars = []struct {
	code  string
	alias string // another code that ctypes uses for it
	typ   reflect.Type
}{
	{"?", "", reflect.TypeFor[bool]()},
	{"b", "", reflect.TypeFor[int8]()},
	{"B", "", reflect.TypeFor[uint8]()},
	{"c", "", reflect.TypeFor[uint8]()},
	{"h", "", reflect.TypeFor[int16]()},
	{"H", "", reflect.TypeFor[uint16]()},
	// Where a long has 4 bytes (Windows, 32-bit systems), c_int and c_int32 are
	// other names of c_long. A long of 8 bytes is q.
	{"i", "l", reflect.TypeFor[int32]()},
	{"I", "L", reflect.TypeFor[uint32]()},
	{"q", "", reflect.TypeFor[int64]()},
	{"Q", "", reflect.TypeFor[uint64]()},
	{"f", "", reflect.TypeFor[float32]()},
	{"d", "", reflect.TypeFor[float64]()},
	{"Zf", "", reflect.TypeFor[complex64]()},
	{"Zd", "", reflect.TypeFor[complex128]()},
}

func scalar(code string, t reflect.Type) Layout {
	return Layout{Format: ByteOrder + code, Size: int(t.Size()), Align: t.Align()}
}

// numbers has the types of scalars by what follows the byte order in a format.
var numbers = func() map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, s := range scalars {
		if s.code != "c" {
			m[s.code] = s.typ
		}
	}
	return m
}()

// IsText reports whether l is one character, or a C string as Parts returns it.
func (l Layout) IsText() bool { return len(l.Format) == 2 && l.code() == "c" }

// Number returns the Go type of a number or a bool. It is nil for any other
// layout.
func (l Layout) Number() reflect.Type {
	if len(l.Format) > 3 { // most of what is no number, without a look at the map
		return nil
	}
	return numbers[l.code()]
}

// code returns what follows the byte order; "" if that is another one.
func (l Layout) code() string {
	if l.Format == "" || l.Format[:1] != ByteOrder {
		return ""
	}
	return l.Format[1:]
}
