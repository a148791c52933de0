// Package text converts values in memory to text and to Go values, and text to
// the bytes that it changes. A layout is all that it knows of a value.
//
// It imports the packages layout and errs.
//
// Preconditions of all functions: b is as long as the layout says. A layout's
// nesting is bounded, and so is the recursion here.
package text

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"strconv"
	"strings"

	"example.org/shm/internal/layout"
)

// goType returns the type of what Value returns.
func goType(dims []int, elem layout.Layout) reflect.Type {
	t := elem.Number()
	switch {
	case elem.IsText():
		t = reflect.TypeFor[string]()
	case t == nil:
		t = reflect.TypeFor[map[string]any]()
	}
	for range dims {
		t = reflect.SliceOf(t)
	}
	return t
}

// maxParts is how many fields, strings and slices a value may have so that Value
// takes memory in proportion: each of them costs about a hundred bytes of it.
const maxParts = 250_000

// TooMany reports whether a value consists of too many parts for Value.
func TooMany(l layout.Layout) bool { return parts(l) > maxParts }

// parts counts the fields, strings and slices in a value, up to a little more than
// maxParts.
func parts(l layout.Layout) int {
	if l.Number() != nil {
		return 0
	}
	dims, elem := l.Parts()
	each := 0 // of an element
	switch {
	case elem.IsText():
		each = 1
	case elem.Number() == nil:
		for _, f := range elem.Fields {
			each += 1 + parts(f.Layout)
		}
		each++ // the map
	}
	total := each
	for i := len(dims) - 1; i >= 0; i-- {
		if total > 0 && dims[i] > maxParts/total+1 {
			return maxParts + 1
		}
		if total *= dims[i]; i > 0 { // a slice in a slice
			total++
		}
	}
	return min(total, maxParts+1)
}

// Value returns a copy of the value as Go has it: a number or a bool of the exact
// type, a string for characters up to the first NUL, a map[string]any for a
// struct, and a slice for any other array, in as many levels as the array has
// dimensions.
func Value(l layout.Layout, b []byte) any {
	if v := Number(l, b); v != nil {
		return v
	}
	dims, elem := l.Parts()
	v := reflect.New(goType(dims, elem))
	fillValue(v.Elem(), dims, elem, b)
	return v.Elem().Interface()
}

// Number is Value for a number of a frequent type, without reflection, since tools look
// at many values again and again. It returns nil for others.
func Number(l layout.Layout, b []byte) any {
	t := l.Number()
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Int64:
		return int64(binary.NativeEndian.Uint64(b))
	case reflect.Uint64:
		return binary.NativeEndian.Uint64(b)
	case reflect.Float64:
		return math.Float64frombits(binary.NativeEndian.Uint64(b))
	case reflect.Int32:
		return int32(binary.NativeEndian.Uint32(b))
	case reflect.Uint32:
		return binary.NativeEndian.Uint32(b)
	}
	return nil
}

// None returns what Value returns for an array of no elements of that layout.
func None(l layout.Layout) any {
	dims, elem := l.Parts()
	return reflect.MakeSlice(reflect.SliceOf(goType(dims, elem)), 0, 0).Interface()
}

func fillValue(v reflect.Value, dims []int, elem layout.Layout, b []byte) {
	number := elem.Number() != nil
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
	case elem.IsText():
		v.SetString(cString(b))
	default:
		fields := make(map[string]any, len(elem.Fields))
		for _, f := range elem.Fields {
			fields[f.Name] = Value(f.Layout, b[f.Offset:f.Offset+f.Layout.Size])
		}
		v.Set(reflect.ValueOf(fields))
	}
}

// decodeNumbers fills a slice, or the number that a pointer points to.
func decodeNumbers(b []byte, to any) {
	if _, err := binary.Decode(b, binary.NativeEndian, to); err != nil {
		panic(err) // cannot happen: the layout gives both their lengths
	}
}

// Append appends the value in one line, as Go would write it: numbers, true and
// false; characters as a string literal, so that no escape sequence in them
// reaches a terminal; [1, 2] for an array; {x: 1, y: 2} for a struct, with the
// fields in order, and a name that is not printable as a string literal. A NaN that is not the usual one shows its bits,
// NaN(0x7ff8000000000002), and a complex number with such a part is
// complex(0, NaN(…)).
//
// If the text is longer than limit, Append returns false, and a part of the text. A
// field's name is there once for each element of an array, so a text can be thousands
// of times as long as the value.
func Append(dst []byte, l layout.Layout, b []byte, limit int) (text []byte, all bool) {
	a := appender{len(dst) + limit}
	dst = a.value(dst, l, b)
	return dst, len(dst) <= a.limit
}

// appender writes until the text is longer than limit.
type appender struct{ limit int }

func (a appender) value(dst []byte, l layout.Layout, b []byte) []byte {
	dims, elem := l.Parts()
	return a.parts(dst, dims, elem, b)
}

func (a appender) parts(dst []byte, dims []int, elem layout.Layout, b []byte) []byte {
	if len(dst) > a.limit {
		return dst
	}
	if len(dims) > 0 {
		step := len(b) / dims[0]
		dst = append(dst, '[')
		for i := range dims[0] {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			if dst = a.parts(dst, dims[1:], elem, b[i*step:(i+1)*step]); len(dst) > a.limit {
				return dst
			}
		}
		return append(dst, ']')
	}
	if t := elem.Number(); t != nil {
		return appendNumber(dst, t.Kind(), b)
	}
	if elem.IsText() {
		return strconv.AppendQuote(dst, cString(b))
	}
	dst = append(dst, '{')
	for i, f := range elem.Fields {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendName(dst, f.Name), ": "...)
		dst = a.value(dst, f.Layout, b[f.Offset:f.Offset+f.Layout.Size])
	}
	return append(dst, '}')
}

// appendName appends the name of a field. It is in quotes if it begins with a quote
// or has a character that is not printable, because others write the name to memory.
func appendName(dst []byte, name string) []byte {
	if name[0] == '"' || strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.AppendQuote(dst, name)
	}
	return append(dst, name...)
}

// cString returns the characters up to the first NUL.
func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
