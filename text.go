package shm

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// A value's text, and its form in Go, from the layout alone.
//
// Preconditions, here and below: b is as long as the layout says. A layout's
// nesting is bounded, and so is the recursion.

// parts takes a layout apart into dimensions and what has them: a number, a
// struct, or characters, which have taken the last dimension.
func (l Layout) parts() (dims []int, elem Layout) {
	dims, elem = l.array()
	if elem.Format == byteOrder+"c" {
		if last := len(dims) - 1; last >= 0 {
			elem.Size, dims = dims[last], dims[:last]
		}
	}
	return dims, elem
}

func (l Layout) isText() bool { return l.Format == byteOrder+"c" }

// number returns the Go type of a number's or bool's layout; nil for others.
func (l Layout) number() reflect.Type {
	for _, s := range scalars {
		if l.Format == byteOrder+s.code && !l.isText() {
			return s.typ
		}
	}
	return nil
}

// goType is the type of what goValue returns.
func goType(dims []int, elem Layout) reflect.Type {
	t := elem.number()
	switch {
	case elem.isText():
		t = reflect.TypeFor[string]()
	case t == nil:
		t = reflect.TypeFor[map[string]any]()
	}
	for range dims {
		t = reflect.SliceOf(t)
	}
	return t
}

func goValue(l Layout, b []byte) any {
	dims, elem := l.parts()
	v := reflect.New(goType(dims, elem))
	fillValue(v.Elem(), dims, elem, b)
	return v.Elem().Interface()
}

func fillValue(v reflect.Value, dims []int, elem Layout, b []byte) {
	number := elem.number() != nil
	if len(dims) > 0 {
		n := dims[0]
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		if number && len(dims) == 1 {
			decodeNumbers(b, v.Interface())
			return
		}
		step := len(b) / n
		for i := range n {
			fillValue(v.Index(i), dims[1:], elem, b[i*step:(i+1)*step])
		}
		return
	}
	switch {
	case number:
		decodeNumbers(b, v.Addr().Interface())
	case elem.isText():
		v.SetString(cString(b))
	default:
		fields := make(map[string]any, len(elem.Fields))
		for _, f := range elem.Fields {
			fields[f.Name] = goValue(f.Layout, b[f.Offset:f.Offset+f.Layout.Size])
		}
		v.Set(reflect.ValueOf(fields))
	}
}

// decodeNumbers fills a slice, or what a pointer points to.
func decodeNumbers(b []byte, to any) {
	if _, err := binary.Decode(b, binary.NativeEndian, to); err != nil {
		panic(err) // both are as long as the layout says
	}
}

func appendText(dst []byte, l Layout, b []byte) []byte {
	dims, elem := l.parts()
	return appendParts(dst, dims, elem, b)
}

func appendParts(dst []byte, dims []int, elem Layout, b []byte) []byte {
	if len(dims) > 0 {
		step := len(b) / dims[0]
		dst = append(dst, '[')
		for i := range dims[0] {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendParts(dst, dims[1:], elem, b[i*step:(i+1)*step])
		}
		return append(dst, ']')
	}
	if t := elem.number(); t != nil {
		return appendNumber(dst, t.Kind(), b)
	}
	if elem.isText() {
		return strconv.AppendQuote(dst, cString(b))
	}
	dst = append(dst, '{')
	for i, f := range elem.Fields {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(append(dst, f.Name...), ": "...)
		dst = appendText(dst, f.Layout, b[f.Offset:f.Offset+f.Layout.Size])
	}
	return append(dst, '}')
}

func appendNumber(dst []byte, kind reflect.Kind, b []byte) []byte {
	switch kind {
	case reflect.Bool:
		return strconv.AppendBool(dst, b[0] != 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		unused := 64 - 8*len(b)
		return strconv.AppendInt(dst, int64(getBits(b)<<unused)>>unused, 10)
	case reflect.Float32, reflect.Float64:
		return appendFloat(dst, getBits(b), len(b))
	case reflect.Complex64, reflect.Complex128:
		half := len(b) / 2
		re := string(appendFloat(nil, getBits(b[:half]), half))
		im := string(appendFloat(nil, getBits(b[half:]), half))
		if strings.Contains(re+im, "(") {
			return fmt.Appendf(dst, "complex(%s, %s)", re, im)
		}
		if im[0] != '-' && im[0] != '+' {
			im = "+" + im
		}
		return fmt.Appendf(dst, "(%s%si)", re, im)
	}
	return strconv.AppendUint(dst, getBits(b), 10)
}

// appendFloat writes the shortest text that is read back as the same number;
// exponents only where encoding/json has them.
func appendFloat(dst []byte, bits uint64, size int) []byte {
	f, usual := math.Float64frombits(bits), math.Float64bits(math.NaN())
	if size == 4 {
		f, usual = float64(math.Float32frombits(uint32(bits))), uint64(math.Float32bits(float32(math.NaN())))
	}
	if math.IsNaN(f) && bits != usual {
		return fmt.Appendf(dst, "NaN(%#x)", bits)
	}
	form := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		form = 'e'
	}
	return strconv.AppendFloat(dst, f, form, -1, 8*size)
}

// getBits reads an unsigned number of len(b) bytes.
func getBits(b []byte) uint64 {
	ne := binary.NativeEndian
	switch len(b) {
	case 8:
		return ne.Uint64(b)
	case 4:
		return uint64(ne.Uint32(b))
	case 2:
		return uint64(ne.Uint16(b))
	}
	return uint64(b[0])
}
