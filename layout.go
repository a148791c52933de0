package shm

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"structs"
	"sync"
)

// A Layout describes the memory of a value so that programs in Go, Python and C
// agree on every byte of it.
//
// Size and Align are in bytes. Align is Go's alignment of the type on this
// machine. ParseLayout derives it from the members: each contributes its own
// alignment, or as much of it as its offset has, and the size must be a
// multiple of the result. So a layout made where 8-byte numbers are aligned to
// 4 (386, arm) is described, not refused, and differs from the layout of a Go
// type here by its offsets.
//
// Source: PEP 3118 and CPython's memoryview(obj).format of ctypes objects,
// which write the same strings.
type Layout struct {
	Format      string  // PEP 3118, in this machine's byte order, every padding byte explicit: T{<b:a:3x<i:b:}
	Size, Align int     // bytes
	Fields      []Field // of a struct, or of the struct that an array consists of; in order of their offsets
}

// A Field is a named member of a struct. Padding and blank fields are none.
type Field struct {
	Name   string
	Offset int // bytes from the start of the struct
	Layout Layout
}

var layouts sync.Map // reflect.Type to *Layout

// LayoutOf returns the layout of T: a number of fixed size, a bool, or an array
// or struct of such types.
//
// A struct field is called by its Go name or by its tag: `shm:"x"`. With
// `shm:"x,char"` a [N]byte, or an array of them, is a C string, (N)<c; without
// it, (N)<B. Unexported and embedded fields are memory like any other. Blank
// fields are padding: `_ [3]byte` is 3x. One that alone decides the struct's
// alignment has to be named, because padding can't express it. A field of type
// structs.HostLayout is skipped.
//
// The error is a *TypeError with the path of the part that is unfit: whatever
// contains an address; int, uint and uintptr, whose size differs between
// machines; what has no size; the types of sync and sync/atomic, of which
// copies must not be made; names that a format can't hold, or that occur twice.
// Results are cached; the caller owns the copy.
func LayoutOf[T any]() (Layout, error) {
	l, err := layoutOf(reflect.TypeFor[T]())
	if err != nil {
		return Layout{}, err
	}
	return l.clone(), nil
}

// layoutOf is LayoutOf for a type known at run time. What it returns is shared:
// read only.
func layoutOf(t reflect.Type) (*Layout, error) {
	if l, ok := layouts.Load(t); ok {
		return l.(*Layout), nil
	}
	l, unfit := buildLayout(t)
	if unfit != nil {
		return nil, &TypeError{Type: t, Field: unfit.Field, Reason: unfit.Reason}
	}
	// Another process knows no more than the format: what can't be read back
	// from it must not be shared.
	back, err := parseLayout(l.Format)
	if err != nil {
		return nil, &TypeError{Type: t, Reason: fmt.Sprintf("unfit for a format: %v", err)}
	}
	if back.Align != t.Align() {
		return nil, &TypeError{Type: t, Field: "_", Reason: fmt.Sprintf("a blank field aligns it to %d bytes; give that field a name", t.Align())}
	}
	shared, _ := layouts.LoadOrStore(t, &l)
	return shared.(*Layout), nil
}

// buildLayout computes a layout without the cache. Of the error, only Field and
// Reason are set.
func buildLayout(t reflect.Type) (Layout, *TypeError) {
	if pkg := t.PkgPath(); pkg == "sync" || pkg == "sync/atomic" {
		return Layout{}, &TypeError{Reason: fmt.Sprintf("%v must not be copied; use Atomic or Mutex", t)}
	}
	switch t.Kind() {
	case reflect.Struct:
		return buildStruct(t)
	case reflect.Array:
		if t.Len() == 0 {
			return Layout{}, &TypeError{Reason: fmt.Sprintf("%v has no size", t)}
		}
		elem, unfit := layoutPart(t.Elem(), "[]")
		if unfit != nil {
			return Layout{}, unfit
		}
		return arrayOf(elem, t.Len()), nil
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		return Layout{}, &TypeError{Reason: fmt.Sprintf("%v differs in size between machines; use 32 or 64 bits", t)}
	case reflect.String:
		return Layout{}, &TypeError{Reason: fmt.Sprintf("%v points into the memory of one process; use [N]byte with the tag's option char", t)}
	}
	for _, s := range scalars {
		if s.typ.Kind() == t.Kind() {
			return scalar(s.code, s.typ), nil
		}
	}
	return Layout{}, &TypeError{Reason: fmt.Sprintf("%v points into the memory of one process", t)}
}

// layoutPart is layoutOf for a part of a type, with the part's path in the
// error.
func layoutPart(t reflect.Type, path string) (Layout, *TypeError) {
	l, err := layoutOf(t)
	if err != nil {
		unfit := err.(*TypeError)
		return Layout{}, &TypeError{Field: fieldPath(path, unfit.Field), Reason: unfit.Reason}
	}
	return *l, nil
}

func buildStruct(t reflect.Type) (Layout, *TypeError) {
	var fields []Field
	seen := make(map[string]bool)
	for f := range t.Fields() {
		if f.Type == reflect.TypeFor[structs.HostLayout]() {
			continue
		}
		name, char, fault := parseTag(f)
		if fault == "" && f.Name != "_" {
			fault = nameFault(name, seen)
		}
		if fault != "" {
			return Layout{}, &TypeError{Field: f.Name, Reason: fault}
		}
		build := layoutPart
		if char {
			build = charsPart
		}
		l, unfit := build(f.Type, f.Name)
		if unfit != nil {
			return Layout{}, unfit
		}
		if f.Name != "_" {
			fields = append(fields, Field{name, int(f.Offset), l})
		}
	}
	if t.Size() == 0 {
		return Layout{}, &TypeError{Reason: fmt.Sprintf("%v has no size", t)}
	}
	return structOf(fields, int(t.Size())), nil
}

// parseTag returns a field's name and whether its bytes are characters, or what
// is wrong with its tag.
func parseTag(f reflect.StructField) (name string, char bool, fault string) {
	tag, tagged := f.Tag.Lookup("shm")
	name, option, comma := strings.Cut(tag, ",")
	switch {
	case tagged && f.Name == "_":
		return "", false, "a blank field is padding and takes no tag"
	case name == "-":
		return "", false, "a field can't be left out: it is part of the memory"
	case comma && option != "char":
		return "", false, fmt.Sprintf("unknown option %q in the tag", option)
	case name == "":
		name = f.Name
	}
	return name, comma, ""
}

// charsPart is layoutPart for an array of bytes that are characters.
func charsPart(t reflect.Type, path string) (Layout, *TypeError) {
	var dims []int
	elem := t
	for ; elem.Kind() == reflect.Array && elem.Len() > 0; elem = elem.Elem() {
		dims = append(dims, elem.Len())
	}
	if len(dims) == 0 || elem.Kind() != reflect.Uint8 {
		return Layout{}, &TypeError{Field: path, Reason: fmt.Sprintf("the tag's option char needs an array of bytes, not %v", t)}
	}
	return arrayOf(scalar("c", elem), dims...), nil
}

// Equal reports whether both describe the same bytes by the same names.
func (l Layout) Equal(other Layout) bool {
	return l.Format == other.Format && l.Size == other.Size && l.Align == other.Align
}

// end returns the bytes up to the end of the last field of a struct; what is
// behind it is padding, in which a longer struct may have its next field.
func (l Layout) end() int {
	if !strings.HasPrefix(l.Format, "T{") || len(l.Fields) == 0 {
		return l.Size
	}
	last := l.Fields[len(l.Fields)-1]
	return last.Offset + last.Layout.Size
}

// extends reports whether l is a struct that begins with the fields of shorter
// and only appends to them. What is appended may lie in padding at the end of
// shorter. Every layout extends itself.
func (l Layout) extends(shorter Layout) bool {
	n := len(shorter.Fields)
	if !strings.HasPrefix(l.Format, "T{") || !strings.HasPrefix(shorter.Format, "T{") {
		return l.Equal(shorter)
	}
	return l.Size >= shorter.Size && len(l.Fields) >= n && slices.EqualFunc(l.Fields[:n], shorter.Fields, Field.equal)
}

func (f Field) equal(other Field) bool {
	return f.Name == other.Name && f.Offset == other.Offset && f.Layout.Equal(other.Layout)
}

func (l Layout) clone() Layout {
	l.Fields = slices.Clone(l.Fields)
	for i := range l.Fields {
		l.Fields[i].Layout = l.Fields[i].Layout.clone()
	}
	return l
}

// array takes dimensions and element apart; what is no array has no dimensions
// and is its own element.
func (l Layout) array() (dims []int, elem Layout) {
	list, rest, ok := strings.Cut(strings.TrimPrefix(l.Format, "("), ")")
	if !ok || rest == "" || l.Format[0] != '(' {
		return nil, l
	}
	elem = l
	elem.Format = rest
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return nil, l
		}
		dims = append(dims, n)
		elem.Size /= n
	}
	return dims, elem
}

// text words a layout as a Go type. A C string is char[16].
func (l Layout) text() string {
	dims, elem := l.array()
	name := elem.Format
	if strings.HasPrefix(name, "T{") {
		name = "struct{...}"
	}
	for _, s := range scalars {
		if elem.Format == byteOrder+s.code {
			name = s.typ.Kind().String()
		}
	}
	if elem.Format == byteOrder+"c" {
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

// maxDiff keeps an error about a struct of a thousand fields readable.
const maxDiff = 16

// diff tells two structs, or arrays of structs, apart, a line for each field
// that differs; "" if there is nothing to compare field by field.
func diff(have, want Layout) string {
	if have.Equal(want) || have.Fields == nil || want.Fields == nil {
		return ""
	}
	lines := diffFields(nil, "", Field{Layout: have}, Field{Layout: want})
	if more := len(lines) - maxDiff; more > 0 {
		lines = append(lines[:maxDiff], fmt.Sprintf("  and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// diffFields appends the lines about two structs. Their offsets count from the
// start of the value, so that the lines do.
func diffFields(lines []string, path string, have, want Field) []string {
	before := len(lines)
	wanted := make(map[string]Field)
	for _, w := range want.Layout.Fields {
		w.Offset += want.Offset
		wanted[w.Name] = w
	}
	for _, h := range have.Layout.Fields {
		h.Offset += have.Offset
		name := fieldPath(path, h.Name)
		w, ok := wanted[h.Name]
		if !ok {
			lines = append(lines, fmt.Sprintf("  field %q: have %s, want nothing", name, h.text()))
			continue
		}
		delete(wanted, h.Name)
		if h.text() != w.text() {
			lines = append(lines, fmt.Sprintf("  field %q: have %s, want %s", name, h.text(), w.text()))
		}
		if h.Layout.text() == w.Layout.text() && !h.Layout.Equal(w.Layout) {
			dims, _ := h.Layout.array()
			lines = diffFields(lines, name+strings.Repeat("[]", len(dims)), h, w)
		}
	}
	for _, w := range want.Layout.Fields {
		if w, missing := wanted[w.Name]; missing {
			lines = append(lines, fmt.Sprintf("  field %q: have nothing, want %s", fieldPath(path, w.Name), w.text()))
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

func (f Field) text() string { return fmt.Sprintf("%s at %d", f.Layout.text(), f.Offset) }
