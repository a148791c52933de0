package value

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.org/shm"
)

// JSON returns a part as JSON: numbers as numbers, except that NaN, the infinities and
// complex numbers, which JSON does not have, are their texts; structs with the fields in
// order; characters as a string. Bytes that are not UTF-8 become a list of numbers.
func JSON(v any, l shm.Layout, hint string) json.RawMessage {
	if b, ok := v.([]uint8); ok && hint == "text" {
		if text, _, _ := strings.Cut(string(b), "\x00"); utf8.ValidString(text) {
			return marshal(text)
		}
	}
	return appendJSON(nil, reflect.ValueOf(v), l)
}

// Exact is JSON of which FromJSON makes the same bits. Bytes that are a text by their hint
// are a list of numbers if others than zeros follow the text.
func Exact(v any, l shm.Layout, hint string) json.RawMessage {
	if b, ok := v.([]uint8); ok && hint == "text" {
		if _, rest, _ := bytes.Cut(b, []byte{0}); len(bytes.Trim(rest, "\x00")) > 0 {
			hint = ""
		}
	}
	return JSON(v, l, hint)
}

func appendJSON(b []byte, v reflect.Value, l shm.Layout) []byte {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Invalid:
		return append(b, "null"...)
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) {
			return appendJSON(b, reflect.ValueOf(ints([]byte(s))), l)
		}
		return append(b, marshal(v.String())...)
	case reflect.Float32, reflect.Float64:
		if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
			return append(b, marshal(Text(v.Interface(), l))...)
		}
		return strconv.AppendFloat(b, v.Float(), 'g', -1, v.Type().Bits())
	case reflect.Complex64, reflect.Complex128:
		return append(b, marshal(Text(v.Interface(), l))...)
	case reflect.Slice, reflect.Array:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, v.Index(i), l)
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		for i, name := range fields(v, l) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, marshal(name)...), ':')
			b = appendJSON(b, v.MapIndex(reflect.ValueOf(name)), layoutOf(l, name))
		}
		return append(b, '}')
	}
	return append(b, marshal(v.Interface())...)
}

func ints(b []byte) (all []int) {
	for _, c := range b {
		all = append(all, int(c))
	}
	return all
}

// marshal is json.Marshal of what cannot fail, without escapes for HTML.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
