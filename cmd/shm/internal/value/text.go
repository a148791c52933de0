package value

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// Bare returns a part for scripts: a text without quotes, unless Part.Assignment would take
// it for a string literal or for a list of bytes, durations and times as Go
// writes them, and all else as Entry.Text does. Nothing in it is interpreted by a
// terminal.
func Bare(v any, l shm.Layout, hint string) string {
	switch v := v.(type) {
	case string:
		if quoted(v) || notUTF8(v) { // it would be taken for another text
			return strconv.Quote(v)
		}
		return form.Text(v)
	case []uint8:
		if hint == "text" {
			text, _, _ := strings.Cut(string(v), "\x00")
			if quoted(text) || isList(text) {
				return strconv.Quote(text)
			}
			return form.Text(text)
		}
	}
	if isMoment(hint) && has64Bits(v) {
		return string(appendNumbers(nil, reflect.ValueOf(v), hint, ""))
	}
	return Text(v, l)
}

// has64Bits reports whether a part is an integer of 64 bits or has such elements, which alone
// Unhinted is for.
func has64Bits(v any) bool {
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t != nil && (t.Kind() == reflect.Int64 || t.Kind() == reflect.Uint64)
}

// Human returns a part as people read it, with its unit.
func Human(v any, l shm.Layout, hint, unit string) string {
	r := reflect.ValueOf(v)
	if r.IsValid() && (r.CanInt() || r.CanUint() || r.CanFloat()) {
		return form.Number(Text(v, l), hint, unit)
	}
	if hint == "text" {
		if b, ok := v.([]uint8); ok {
			text, _, _ := strings.Cut(string(b), "\x00")
			return form.WithUnit(strconv.Quote(text), unit)
		}
	}
	if r.Kind() == reflect.Slice && ofNumbers(r.Type()) && (isMoment(hint) || form.IsBytes(unit)) {
		return string(appendNumbers(nil, r, hint, unit))
	}
	return form.WithUnit(Text(v, l), unit)
}

// isMoment reports whether a hint says that a number is a duration or a time.
func isMoment(hint string) bool { return hint == "duration" || hint == "time" }

// ofNumbers reports whether a slice has integers or floating-point numbers, in any depth.
func ofNumbers(t reflect.Type) bool {
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// appendNumbers appends a slice of numbers, each as people read it.
func appendNumbers(b []byte, v reflect.Value, hint, unit string) []byte {
	if v.Kind() != reflect.Slice {
		return append(b, form.Number(Text(v.Interface(), noLayout), hint, unit)...)
	}
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendNumbers(b, v.Index(i), hint, unit)
	}
	return append(b, ']')
}

var noLayout shm.Layout

// Text returns a part in one line, as Entry.Text writes a whole value.
func Text(v any, l shm.Layout) string { return string(appendText(nil, reflect.ValueOf(v), l)) }

func appendText(b []byte, v reflect.Value, l shm.Layout) []byte {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Invalid:
		return b
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	case reflect.String:
		return strconv.AppendQuote(b, v.String())
	case reflect.Float32, reflect.Float64:
		return appendFloat(b, v.Interface())
	case reflect.Complex64, reflect.Complex128:
		return appendComplex(b, v.Interface())
	case reflect.Slice, reflect.Array:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendText(b, v.Index(i), l)
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		for i, name := range fields(v, l) {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(append(b, form.Name(name)...), ": "...)
			b = appendText(b, v.MapIndex(reflect.ValueOf(name)), layoutOf(l, name))
		}
		return append(b, '}')
	}
	return fmt.Append(b, v.Interface())
}

// appendFloat appends a number as Entry.Text does: without an exponent where people
// would not write one, and with the bits of a NaN that is not the usual one.
func appendFloat(b []byte, v any) []byte {
	var x float64
	var bits, usual uint64
	size := 64
	switch v := v.(type) {
	case float32: // its bits are taken as they are: as a float64 it may be another NaN
		x, size = float64(v), 32
		bits, usual = uint64(math.Float32bits(v)), uint64(math.Float32bits(float32(math.NaN())))
	case float64:
		x, bits, usual = v, math.Float64bits(v), math.Float64bits(math.NaN())
	}
	if math.IsNaN(x) && bits != usual {
		return fmt.Appendf(b, "NaN(%#x)", bits)
	}
	if abs := max(x, -x); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, x, 'f', -1, size)
	}
	return strconv.AppendFloat(b, x, 'e', -1, size)
}

// appendComplex appends a complex number as Entry.Text does.
func appendComplex(b []byte, v any) []byte {
	var whole complex128
	var re, im []byte
	size := 128
	switch v := v.(type) {
	case complex64:
		whole, size = complex128(v), 64
		re, im = appendFloat(nil, real(v)), appendFloat(nil, imag(v))
	case complex128:
		whole, re, im = v, appendFloat(nil, real(v)), appendFloat(nil, imag(v))
	}
	if bytes.HasPrefix(re, []byte("NaN(")) || bytes.HasPrefix(im, []byte("NaN(")) {
		return fmt.Appendf(b, "complex(%s, %s)", re, im)
	}
	return append(b, strconv.FormatComplex(whole, 'g', -1, size)...)
}

// fields returns the names of a struct's fields, in the order of the layout if that has
// them.
func fields(v reflect.Value, l shm.Layout) (names []string) {
	for _, f := range l.Fields {
		if v.MapIndex(reflect.ValueOf(f.Name)).IsValid() {
			names = append(names, f.Name)
		}
	}
	if len(names) == v.Len() {
		return names
	}
	names = names[:0]
	for _, k := range v.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}

func layoutOf(l shm.Layout, field string) shm.Layout {
	for _, f := range l.Fields {
		if f.Name == field {
			return f.Layout
		}
	}
	return shm.Layout{}
}

// Unhinted returns the number that a text means: a duration such as 1.5s or a time in
// RFC 3339 in nanoseconds if the hint says that the number is one, and the text itself
// otherwise.
func Unhinted(text, hint string) (string, error) {
	if _, err := strconv.ParseInt(text, 0, 64); err == nil {
		return text, nil
	}
	switch hint {
	case "duration":
		d, err := time.ParseDuration(text)
		if err != nil {
			return "", fmt.Errorf("%w: %s is not a duration, such as 1.5s", fs.ErrInvalid, form.Name(text))
		}
		return strconv.FormatInt(int64(d), 10), nil
	case "time":
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return "", fmt.Errorf("%w: %s is not a time in RFC 3339, such as 2026-01-02T15:04:05Z", fs.ErrInvalid, form.Name(text))
		}
		return strconv.FormatInt(at.UnixNano(), 10), nil
	}
	return text, nil
}

// Is reports whether a text means the part as it is: a number in any spelling, a text
// with or without quotes, and everything else as Text writes it.
func Is(v any, l shm.Layout, hint, text string) bool {
	if s, ok := v.(string); ok {
		plain, err := strconv.Unquote(text)
		return text == s || err == nil && plain == s || string(Compact(json.RawMessage(text))) == string(JSON(v, l, hint))
	}
	if text == Text(v, l) || text == Bare(v, l, hint) || string(Compact(json.RawMessage(text))) == string(JSON(v, l, hint)) {
		return true
	}
	if b, ok := v.([]uint8); ok && hint == "text" {
		literal, isLiteral, err := literalOf(text)
		content, _, _ := strings.Cut(string(b), "\x00")
		return isLiteral && err == nil && literal == content
	}
	r := reflect.ValueOf(v)
	text, err := Unhinted(text, hint)
	if err != nil {
		return false
	}
	switch {
	case r.CanInt():
		n, err := strconv.ParseInt(text, 0, 64)
		return err == nil && n == r.Int()
	case r.CanUint():
		n, err := strconv.ParseUint(text, 0, 64)
		return err == nil && n == r.Uint()
	case r.CanFloat():
		x, err := strconv.ParseFloat(text, r.Type().Bits())
		return err == nil && (x == r.Float() || x != x && r.Float() != r.Float())
	case r.Kind() == reflect.Bool:
		is, err := strconv.ParseBool(text)
		return err == nil && is == r.Bool()
	}
	return strings.ReplaceAll(text, " ", "") == strings.ReplaceAll(Text(v, l), " ", "")
}
