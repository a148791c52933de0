package layout

import (
	"bytes"
	"fmt"
	"strings"
)

// String describes the layout as a Go type. A C string of 16 bytes is char[16].
func (l Layout) String() string {
	dims, elem := l.Dims()
	name := elem.Format
	switch {
	case elem.isStruct():
		name = "struct{...}"
	case elem.Number() != nil:
		name = elem.Number().Kind().String()
	case elem.IsText():
		name = "char"
		if last := len(dims) - 1; last >= 0 {
			name += fmt.Sprintf("[%d]", dims[last])
			dims = dims[:last]
		}
	}
	var b strings.Builder
	for _, n := range dims {
		fmt.Fprintf(&b, "[%d]", n)
	}
	return b.String() + name
}

func (f Field) describe() string { return fmt.Sprintf("%s at %d", f.Layout.String(), f.Offset) }

// Padded reports whether some bytes of the value are padding.
func (l Layout) Padded() bool { return l.dataSize() < l.Size }

// dataSize returns how many bytes are not padding.
func (l Layout) dataSize() int {
	dims, elem := l.Dims()
	if elem.Fields == nil {
		return l.Size
	}
	n := 0
	for _, f := range elem.Fields {
		n += f.Layout.dataSize()
	}
	for _, d := range dims {
		n *= d
	}
	return n
}

// SameData reports whether two values have the same bits, whatever is in their
// padding.
//
// Preconditions: both are as long as the layout says.
func (l Layout) SameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if l.Fields == nil {
		return false
	}
	elem := l
	if !l.isStruct() {
		_, elem = l.Dims()
	}
	for start := 0; start < len(a); start += elem.Size {
		for _, f := range elem.Fields {
			from, to := start+f.Offset, start+f.Offset+f.Layout.Size
			if !f.Layout.SameData(a[from:to], b[from:to]) {
				return false
			}
		}
	}
	return true
}

// DifferInside reports whether a field that both structs have at the same place is a
// struct, or an array of structs, with other fields, and cannot grow where it is: it is
// an array, or not the last field of the shorter struct.
func DifferInside(have, want Layout) bool {
	shared := min(len(have.Fields), len(want.Fields))
	for i := range shared {
		h, w := have.Fields[i], want.Fields[i]
		if h.Name != w.Name || h.Offset != w.Offset {
			return false
		}
		if h.Layout.Equal(w.Layout) {
			continue
		}
		if i == shared-1 && h.Layout.isStruct() && w.Layout.isStruct() {
			return DifferInside(h.Layout, w.Layout)
		}
		return h.Layout.Fields != nil && w.Layout.Fields != nil
	}
	return false
}

// maxDiff keeps an error about a struct of a thousand fields readable.
const maxDiff = 16

// Diff compares two structs, or two arrays of structs, and returns a line for
// each field that differs. It returns "" if there is nothing to compare field by
// field.
func Diff(have, want Layout) string {
	if have.Equal(want) || have.Fields == nil || want.Fields == nil {
		return ""
	}
	lines := diffFields(nil, "", Field{Layout: have}, Field{Layout: want})
	if more := len(lines) - maxDiff; more > 0 {
		lines = append(lines[:maxDiff], fmt.Sprintf("  and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// diffFields appends the lines about two structs. The offsets of have and want
// count from the start of the value, and so do the offsets in the lines.
func diffFields(lines []string, path string, have, want Field) []string {
	before := len(lines)
	wanted := make(map[string]Field)
	for _, w := range want.Layout.Fields {
		w.Offset += want.Offset
		wanted[w.Name] = w
	}
	for _, h := range have.Layout.Fields {
		h.Offset += have.Offset
		name := FieldPath(path, h.Name)
		w, ok := wanted[h.Name]
		if !ok {
			lines = append(lines, fmt.Sprintf("  field %q: have %s, want nothing", name, h.describe()))
			continue
		}
		delete(wanted, h.Name)
		if h.describe() != w.describe() {
			lines = append(lines, fmt.Sprintf("  field %q: have %s, want %s", name, h.describe(), w.describe()))
		}
		if h.Layout.String() == w.Layout.String() && !h.Layout.Equal(w.Layout) {
			dims, _ := h.Layout.Dims()
			lines = diffFields(lines, name+strings.Repeat("[]", len(dims)), h, w)
		}
	}
	for _, w := range want.Layout.Fields {
		if w, missing := wanted[w.Name]; missing {
			lines = append(lines, fmt.Sprintf("  field %q: have nothing, want %s", FieldPath(path, w.Name), w.describe()))
		}
	}
	if len(lines) == before {
		what := "size"
		if path != "" {
			what = fmt.Sprintf("field %q", path)
		}
		lines = append(lines, fmt.Sprintf("  %s: have %d bytes, want %d", what, have.Layout.Size, want.Layout.Size))
	}
	return lines
}
