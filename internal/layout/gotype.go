package layout

import (
	"fmt"
	"reflect"
	"strings"
	"structs"
	"sync"
)

// An Unfit is an error about a Go type whose values cannot live in shared
// memory. Package shm converts it to its *TypeError.
type Unfit struct {
	Type   reflect.Type // the type that was asked for
	Field  string       // path of the part that is unfit, like "Inner[].Ptr"; empty if it is Type itself
	Reason string       // names the type of the unfit part and, where it can, what to use instead
}

// Error joins the type, the path and the reason.
func (e *Unfit) Error() string {
	where := e.Field
	// A struct type without a name prints as its whole source text: the path
	// alone is easier to find.
	if e.Type != nil && (where == "" || e.Type.Name() != "" || e.Type.Kind() != reflect.Struct) {
		where = FieldPath(e.Type.String(), where)
	}
	return "shm: " + where + ": " + e.Reason
}

// unfit returns an error without a type. OfType adds it.
func unfit(field, reason string, args ...any) *Unfit {
	return &Unfit{Field: field, Reason: fmt.Sprintf(reason, args...)}
}

var cache sync.Map // reflect.Type to *Layout

// Of returns the layout of T. See OfType.
func Of[T any]() (*Layout, error) { return OfType(reflect.TypeFor[T]()) }

// OfType returns the layout of a type: a number of fixed size, a bool, or an
// array or struct of such types. Results are cached and shared: they are read
// only.
//
// The name of a struct field in the layout is its Go name, or what its tag says:
// `shm:"x"`. With `shm:"x,char"` a [N]byte, or an array of them, is a C string,
// (N)<c; without it, (N)<B. Unexported and embedded fields are memory like any
// other. Blank fields are padding: `_ [3]byte` is 3x. A blank field that alone
// decides the alignment of its struct must get a name, because padding cannot
// express it. A field of type structs.HostLayout is skipped.
//
// The error is an *Unfit with the path of the unfit part. These types and names
// are unfit: types that contain an address; int, uint and uintptr, whose size
// differs between machines; types without a size; the types of sync and
// sync/atomic, which must not be copied; names that a format cannot hold, or
// that occur twice.
func OfType(t reflect.Type) (*Layout, error) {
	if l, ok := cache.Load(t); ok {
		return l.(*Layout), nil
	}
	l, err := build(t)
	if err != nil {
		err.Type = t
		return nil, err
	}
	// Another process knows only the format, so a type whose format does not
	// parse back must not be shared.
	back, parseErr := Parse(l.Format)
	switch {
	case parseErr != nil:
		err = unfit("", "its format cannot be used: %v", parseErr)
	case back.Align != t.Align():
		err = unfit("_", "a blank field aligns the struct to %d bytes, which a format cannot say; give the field a name", t.Align())
	}
	if err != nil {
		err.Type = t
		return nil, err
	}
	shared, _ := cache.LoadOrStore(t, &l)
	return shared.(*Layout), nil
}

// build computes a layout without looking it up. The error has no Type.
func build(t reflect.Type) (Layout, *Unfit) {
	if pkg := t.PkgPath(); pkg == "sync" || pkg == "sync/atomic" {
		return Layout{}, unfit("", "%v must not be copied; use an shm.Atomic or shm.Mutex of its own name", t)
	}
	if instead := standIn(t); instead != "" {
		return Layout{}, unfit("", "%v %s", t, instead)
	}
	switch t.Kind() {
	case reflect.Struct:
		return buildStruct(t)
	case reflect.Array:
		if t.Len() == 0 {
			return Layout{}, unfit("", "%v has no size; use a length of at least 1", t)
		}
		elem, err := part(t.Elem(), "[]")
		if err != nil {
			return Layout{}, err
		}
		return Array(elem, t.Len()), nil
	}
	for _, s := range scalars {
		if s.typ.Kind() == t.Kind() {
			return scalar(s.code, s.typ), nil
		}
	}
	return Layout{}, unfit("", "%v %s", t, advice(t.Kind()))
}

// standIn says why a type that many programs have is unfit, although its fields might not be, and
// what to use instead; "" for all other types.
func standIn(t reflect.Type) string {
	const here = "points into the memory of one process"
	switch name, _, _ := strings.Cut(t.PkgPath()+"."+t.Name(), "["); name {
	case "time.Time":
		return here + "; use an int64 with its UnixNano"
	case "net/netip.Addr", "net/netip.AddrPort", "net/netip.Prefix":
		return here + "; use a [16]byte with its As16, and the port or length beside it"
	case "math/big.Int", "math/big.Float", "math/big.Rat":
		return here + "; use an array of bytes, or an int64 or float64 if that suffices"
	case module + ".Mutex", module + ".Segment", module + ".Entry", module + ".String", module + ".CharArray",
		module + ".Value", module + ".Atomic", module + ".Array", module + ".Struct", module + ".Ring", module + ".RingReader",
		module + ".RawValue", module + ".RawArray", module + ".RawStruct":
		return "is a handle of one process, not data; give it a name of its own, and fill a struct of handles with shm.Bind"
	}
	return ""
}

// module is the import path of package shm.
var module = strings.TrimSuffix(reflect.TypeFor[Layout]().PkgPath(), "/internal/layout")

// advice says why a kind of type is unfit and what to use instead.
func advice(k reflect.Kind) string {
	const address, machine = "points into the memory of one process", "differs in size between machines"
	switch k {
	case reflect.Int:
		return machine + "; use int32 or int64"
	case reflect.Uint, reflect.Uintptr:
		return machine + "; use uint32 or uint64"
	case reflect.String:
		return address + "; use [N]byte with the tag option char, or an shm.String"
	case reflect.Slice:
		return address + "; use an array, whose length is part of its type"
	case reflect.Map:
		return address + "; use an array of structs"
	case reflect.Interface:
		return address + "; use a type that is not an interface, such as a number for each case"
	case reflect.Chan:
		return address + "; use an shm.Value or Struct of its own name, and Await or Changes"
	case reflect.Func:
		return address + "; use a number or a text that says which function to call"
	case reflect.Pointer, reflect.UnsafePointer:
		return address + "; use the value itself, or its index in an array"
	}
	return address
}

// part returns the layout of a part of a type. The error has the part's path.
func part(t reflect.Type, path string) (Layout, *Unfit) {
	l, err := OfType(t)
	if err != nil {
		inner := err.(*Unfit)
		return Layout{}, &Unfit{Field: FieldPath(path, inner.Field), Reason: inner.Reason}
	}
	return *l, nil
}

func buildStruct(t reflect.Type) (Layout, *Unfit) {
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
			return Layout{}, &Unfit{Field: f.Name, Reason: fault}
		}
		layoutOf := part
		if char {
			layoutOf = chars
		}
		l, err := layoutOf(f.Type, f.Name)
		if err != nil {
			return Layout{}, err
		}
		if f.Name != "_" {
			fields = append(fields, Field{name, int(f.Offset), l})
		}
	}
	if t.Size() == 0 {
		return Layout{}, unfit("", "%v has no size; add a field, or remove it", t)
	}
	return structOf(fields, int(t.Size())), nil
}

// parseTag returns the name of a field and whether its bytes are characters, or
// what is wrong with its tag.
func parseTag(f reflect.StructField) (name string, char bool, fault string) {
	tag, tagged := f.Tag.Lookup("shm")
	name, option, comma := strings.Cut(tag, ",")
	switch {
	case tagged && f.Name == "_":
		return "", false, "a blank field is padding and cannot have a tag; give the field a name, or remove the tag"
	case name == "-":
		return "", false, "a field cannot be left out, because it is part of the memory; remove the tag"
	case comma && option != "char":
		return "", false, fmt.Sprintf("unknown tag option %q; the only one is char", option)
	case name == "":
		name = f.Name
	}
	return name, comma, ""
}

// chars is like part, for an array of bytes that are characters.
func chars(t reflect.Type, path string) (Layout, *Unfit) {
	var dims []int
	elem := t
	for ; elem.Kind() == reflect.Array && elem.Len() > 0; elem = elem.Elem() {
		dims = append(dims, elem.Len())
	}
	if len(dims) == 0 || elem.Kind() != reflect.Uint8 {
		return Layout{}, unfit(path, "the tag option char needs an array of bytes, not %v; use [N]byte", t)
	}
	return Array(*Chars, dims...), nil
}
