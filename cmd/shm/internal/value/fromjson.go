package value

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"example.org/shm/cmd/shm/internal/form"
)

// FromJSON returns the text that Entry.Parse takes to set a value to what JSON wrote.
// old is the value as it is, and tells the types.
func FromJSON(raw json.RawMessage, old any, hint string) (string, error) {
	v, err := decode(raw)
	if err != nil {
		return "", err
	}
	if text, ok := v.(string); ok && hint == "text" {
		if room, ok := old.([]uint8); ok {
			if len(text) > len(room) {
				return "", fmt.Errorf("%w: a text of %d bytes in %d", fs.ErrInvalid, len(text), len(room))
			}
			b := make([]byte, len(room))
			copy(b, text)
			return Text(b, noLayout), nil
		}
	}
	b, err := appendParsed(nil, v, reflect.ValueOf(old))
	return string(b), err
}

// decode decodes JSON without making a number another one.
func decode(raw json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

func appendParsed(b []byte, v any, old reflect.Value) ([]byte, error) {
	if old.Kind() == reflect.Interface {
		old = old.Elem()
	}
	switch v := v.(type) {
	case json.Number:
		return append(b, v...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		if old.Kind() == reflect.String {
			return strconv.AppendQuote(b, v), nil
		}
		return append(b, v...), nil // NaN, a complex number
	case []any:
		if old.Kind() == reflect.String { // bytes that are not UTF-8
			return appendBytes(b, v)
		}
		if old.Kind() != reflect.Slice || old.Len() != len(v) {
			return nil, fmt.Errorf("%w: a list of %s", fs.ErrInvalid, form.Count(len(v), "element"))
		}
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			var err error
			if b, err = appendParsed(b, x, old.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, name := range sortedKeys(v) {
			if i > 0 {
				b = append(b, ", "...)
			}
			if old.Kind() != reflect.Map || !old.MapIndex(reflect.ValueOf(name)).IsValid() {
				return nil, fmt.Errorf("%w: there is no field %s", fs.ErrInvalid, form.Name(name))
			}
			b = append(strconv.AppendQuote(b, name), ": "...)
			var err error
			if b, err = appendParsed(b, v[name], old.MapIndex(reflect.ValueOf(name))); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, fmt.Errorf("%w: %v is not a value", fs.ErrInvalid, v)
}

func appendBytes(b []byte, list []any) ([]byte, error) {
	var text []byte
	for _, x := range list {
		n, err := strconv.ParseUint(fmt.Sprint(x), 10, 8)
		if err != nil {
			return nil, fmt.Errorf("%w: %v is not a byte", fs.ErrInvalid, x)
		}
		text = append(text, byte(n))
	}
	return strconv.AppendQuote(b, string(text)), nil
}

func sortedKeys(m map[string]any) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Difference is a part in which two values differ.
type Difference struct {
	Path string
	A, B string // JSON; "" if there is none
}

// Differences returns where two values differ, part by part.
func Differences(a, b json.RawMessage) ([]Difference, error) {
	x, err := decode(a)
	if err != nil {
		return nil, err
	}
	y, err := decode(b)
	if err != nil {
		return nil, err
	}
	return differences(nil, "", x, y), nil
}

func differences(all []Difference, path string, a, b any) []Difference {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			break
		}
		names := sortedKeys(a)
		for _, name := range sortedKeys(b) {
			if _, ok := a[name]; !ok {
				names = append(names, name)
			}
		}
		for _, name := range names {
			all = differences(all, path+"."+form.Name(name), a[name], b[name])
		}
		return all
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		for i := range a {
			all = differences(all, fmt.Sprintf("%s[%d]", path, i), a[i], b[i])
		}
		return all
	}
	if x, y := compact(a), compact(b); x != y {
		all = append(all, Difference{path, x, y})
	}
	return all
}

// compact returns JSON in one line; "" for what is absent.
func compact(v any) string {
	if v == nil {
		return ""
	}
	return strings.TrimSuffix(string(marshal(v)), "\n")
}

// Compact returns JSON without spaces and line feeds between its parts.
func Compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}
