package shm

import (
	"errors"
	"fmt"
	"reflect"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/layout"
)

// A Layout describes the memory of a value, so that programs in Go, Python and C
// agree on every byte of it.
//
// Size and Align are in bytes. Align is Go's alignment of the type on this
// machine. ParseLayout derives it from the members: each contributes its own
// alignment, or as much of it as its offset has, and the size must be a multiple
// of the result. So a layout that was made where 8-byte numbers are aligned to 4
// (386, arm) can be described, and differs from the layout of a Go type here by
// its offsets.
//
// Source: PEP 3118, and memoryview(obj).format of ctypes objects in CPython, which
// has the same strings.
type Layout struct {
	Format      string  // PEP 3118, in this machine's byte order, with every padding byte: T{<b:a:3x<i:b:}
	Size, Align int     // bytes
	Fields      []Field // of a struct, or of the struct that an array consists of; in order of their offsets
}

// A Field is a named member of a struct. Padding and blank fields are not Fields.
type Field struct {
	Name   string
	Offset int // bytes from the start of the struct
	Layout Layout
}

// LayoutOf returns the layout of T: a number of fixed size, a bool, or an array
// or struct of such types.
//
// The name of a struct field is its Go name or its tag: `shm:"x"`. With the tag
// `shm:"x,char"` a [N]byte, or an array of them, is a C string, (N)<c; without the
// option it is (N)<B. Unexported and embedded fields are memory like any other.
// Blank fields are padding: `_ [3]byte` is 3x. If a blank field alone decides the
// struct's alignment, give it a name, because padding cannot express alignment. A
// field of type structs.HostLayout is skipped.
//
// The error is a *TypeError with the path of the unfit part: a type that contains
// an address; int, uint and uintptr, whose size differs between machines; a type
// without a size; the types of sync and sync/atomic, which must not be copied; a
// name that a format cannot hold, or that occurs twice. Results are cached; the
// caller owns the copy.
func LayoutOf[T any]() (Layout, error) {
	l, err := layoutFor[T]()
	if err != nil {
		return Layout{}, err
	}
	return layoutFrom(l), nil
}

// layoutFor is LayoutOf without the copy that a caller may keep.
func layoutFor[T any]() (*layout.Layout, error) {
	l, err := layout.Of[T]()
	var unfit *layout.Unfit
	if errors.As(err, &unfit) {
		err = (*TypeError)(unfit)
	}
	return l, err
}

// A TypeError reports a Go type whose values cannot be in shared memory.
type TypeError struct {
	Type   reflect.Type // the type that was asked for
	Field  string       // path of the unfit part, like "Inner[].Ptr"; empty if it is Type itself
	Reason string       // names the unfit part's own type, and what to use instead
}

// Error joins the type, the path and the reason.
func (e *TypeError) Error() string { return (*layout.Unfit)(e).Error() }

// ParseLayout reads a format as LayoutOf and ctypes write it: ParseLayout(l.Format)
// is Equal to l for each l from LayoutOf. The format may come from memory that any
// process can write: sizes, nesting and work are bounded. It must be in this
// machine's byte order. The layout's Format is canonical: 32-bit integers are i and
// I, though ctypes calls them l and L where a long has 4 bytes, and adjacent
// padding is one run.
//
// A format without explicit padding describes a packed struct. CPython before 3.12
// wrote no padding, so its formats of structs with padding are wrong. Those of
// structs with bit fields or a base type are wrong in every CPython: nothing in
// them tells. So compare Size with the itemsize of the memoryview.
//
// The error wraps ErrFormat and names the byte. ParseLayout refuses what has no
// counterpart in Go: pointers, long double, wide characters, unions. It
// accepts single characters, <c.
func ParseLayout(format string) (Layout, error) {
	l, err := layout.Parse(format)
	if err != nil {
		return Layout{}, fmt.Errorf("%w: layout: %w", errs.Format, err)
	}
	return layoutFrom(&l), nil
}

// Equal reports whether both describe the same bytes by the same names.
func (l Layout) Equal(other Layout) bool {
	return l.Format == other.Format && l.Size == other.Size && l.Align == other.Align
}

// layoutFrom returns a copy of l for users; the zero Layout if l is nil.
func layoutFrom(l *layout.Layout) Layout {
	if l == nil {
		return Layout{}
	}
	public := Layout{Format: l.Format, Size: l.Size, Align: l.Align}
	for _, f := range l.Fields {
		public.Fields = append(public.Fields, Field{f.Name, f.Offset, layoutFrom(&f.Layout)})
	}
	return public
}

// internal returns a copy of l for package layout.
func (l Layout) internal() layout.Layout {
	private := layout.Layout{Format: l.Format, Size: l.Size, Align: l.Align}
	for _, f := range l.Fields {
		private.Fields = append(private.Fields, layout.Field{Name: f.Name, Offset: f.Offset, Layout: f.Layout.internal()})
	}
	return private
}
