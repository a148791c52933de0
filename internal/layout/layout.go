// Package layout describes the memory of values, so that programs in Go, Python
// and C agree on every byte. It makes layouts of Go types and of PEP 3118
// formats, and compares them.
//
// It imports no other package of this module.
//
// Invariants of each layout that this package returns:
//
//   - Size is positive and a multiple of Align, which is a power of two.
//   - Fields are in the order of their offsets. They do not overlap, they end
//     within Size, and their names are unique.
//   - Format is canonical: Parse(l.Format) returns a layout that equals l.
//   - The length of the format, the size, the nesting and the number of
//     dimensions are bounded, so code that walks a layout may recurse.
package layout

import (
	"slices"
	"strconv"
	"strings"
)

// A Layout describes the memory of a value.
//
// Size and Align are in bytes. Align is Go's alignment of the type on this
// machine. Parse derives it from the members: each contributes its own
// alignment, or as much of it as its offset has, and the size must be a
// multiple of the result. So a layout that was made where 8-byte numbers are
// aligned to 4 (386, arm) is described, not refused. Its offsets make it differ
// from the layout of a Go type here.
//
// Source: PEP 3118, and memoryview(obj).format of ctypes objects in CPython,
// which has the same strings.
type Layout struct {
	Format      string  // PEP 3118, in this machine's byte order, with every padding byte: T{<b:a:3x<i:b:}
	Size, Align int     // bytes
	Fields      []Field // of a struct, or of the struct that an array consists of; in the order of their offsets
}

// A Field is a named member of a struct. Padding and blank fields are not in the
// list.
type Field struct {
	Name   string
	Offset int // bytes from the start of the struct
	Layout Layout
}

// FieldPath appends the path of a part to the path of the value that contains
// it.
func FieldPath(path, part string) string {
	if path == "" || part == "" || part[0] == '[' {
		return path + part
	}
	return path + "." + part
}

// structOf writes the format of a struct, and derives its alignment as Layout
// defines it.
//
// Preconditions: the fields have distinct offsets in rising order, do not
// overlap and end within size.
func structOf(fields []Field, size int) Layout {
	var b strings.Builder
	end, align := 0, 1
	pad := func(to int) {
		switch to - end {
		case 0:
		case 1:
			b.WriteByte('x')
		default:
			b.WriteString(strconv.Itoa(to-end) + "x")
		}
	}
	b.WriteString("T{")
	for _, f := range fields {
		pad(f.Offset)
		b.WriteString(f.Layout.Format + ":" + f.Name + ":")
		a := f.Layout.Align
		for f.Offset%a != 0 {
			a /= 2
		}
		align = max(align, a)
		end = f.Offset + f.Layout.Size
	}
	pad(size)
	b.WriteString("}")
	for size%align != 0 {
		align /= 2
	}
	return Layout{Format: b.String(), Size: size, Align: align, Fields: fields}
}

// Equal reports whether both layouts describe the same bytes by the same names.
func (l Layout) Equal(other Layout) bool {
	return l.Format == other.Format && l.Size == other.Size && l.Align == other.Align
}

// Same reports whether both layouts are absent, or both are there and equal.
func Same(a, b *Layout) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a == b || a.Equal(*b)
}

// isStruct reports whether l is one struct, and not an array of structs.
func (l Layout) isStruct() bool { return strings.HasPrefix(l.Format, "T{") }

// End returns the number of bytes up to the end of a struct's last field, and of the
// last field of that one if it is a struct. The rest is padding, in which a longer
// struct may have its next field. A struct without fields ends at 0.
func (l Layout) End() int {
	if !l.isStruct() {
		return l.Size
	}
	if len(l.Fields) == 0 {
		return 0
	}
	last := l.Fields[len(l.Fields)-1]
	return last.Offset + last.Layout.End()
}

// Extends reports whether l is a struct that begins with the fields of shorter
// and only appends fields. The last field of shorter may itself be a struct that l
// extends in the same way. So the new fields are behind shorter.End, and may lie in
// the padding at the end of shorter or of a struct that ends it. Every layout extends
// itself.
func (l Layout) Extends(shorter Layout) bool {
	if !l.isStruct() || !shorter.isStruct() {
		return l.Equal(shorter)
	}
	last := len(shorter.Fields) - 1
	if l.Size < shorter.Size || len(l.Fields) <= last {
		return false
	}
	if last < 0 {
		return true
	}
	a, b := l.Fields[last], shorter.Fields[last]
	return slices.EqualFunc(l.Fields[:last], shorter.Fields[:last], Field.equal) &&
		a.Name == b.Name && a.Offset == b.Offset && a.Layout.Extends(b.Layout)
}

func (f Field) equal(other Field) bool {
	return f.Name == other.Name && f.Offset == other.Offset && f.Layout.Equal(other.Layout)
}

// Clone returns a copy that shares no memory with l.
func (l Layout) Clone() Layout {
	l.Fields = slices.Clone(l.Fields)
	for i := range l.Fields {
		l.Fields[i].Layout = l.Fields[i].Layout.Clone()
	}
	return l
}
