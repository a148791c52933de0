package shm

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a format may ask for. ParseLayout reads strings that anybody may have
// written into shared memory.
const (
	maxFormat = 32 << 10                   // bytes of text
	maxDepth  = 32                         // structs within structs, and dimensions of an array
	maxSize   = min(1<<40, math.MaxInt>>1) // bytes
)

// byteOrder is the prefix of every number's code.
var byteOrder = func() string {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return "<"
	}
	return ">"
}()

// scalars pairs ctypes' codes with Go's types. The first entry of a Go kind is
// the one that LayoutOf uses.
var scalars = []struct {
	code  string
	alias string // another code that ctypes uses for it
	typ   reflect.Type
}{
	{"?", "", reflect.TypeFor[bool]()},
	{"b", "", reflect.TypeFor[int8]()},
	{"B", "", reflect.TypeFor[uint8]()},
	{"c", "", reflect.TypeFor[uint8]()},
	{"h", "", reflect.TypeFor[int16]()},
	{"H", "", reflect.TypeFor[uint16]()},
	// Where a long has 4 bytes (Windows, 32-bit systems), c_int and c_int32 are
	// other names of c_long there. A long of 8 bytes is q.
	{"i", "l", reflect.TypeFor[int32]()},
	{"I", "L", reflect.TypeFor[uint32]()},
	{"q", "", reflect.TypeFor[int64]()},
	{"Q", "", reflect.TypeFor[uint64]()},
	{"f", "", reflect.TypeFor[float32]()},
	{"d", "", reflect.TypeFor[float64]()},
	{"Zf", "", reflect.TypeFor[complex64]()},
	{"Zd", "", reflect.TypeFor[complex128]()},
}

// ParseLayout reads a format as LayoutOf and ctypes write it, so that
// ParseLayout(l.Format) is Equal to l for each l from LayoutOf. The format may
// come from memory that anybody can write: sizes, nesting and work are bounded.
// It has to be in this machine's byte order. The layout's Format is canonical:
// 32-bit integers are i and I, though ctypes calls them l and L where a long
// has 4 bytes, and adjacent padding is one run.
//
// A format that doesn't spell out padding is that of a packed struct. CPython
// before 3.12 wrote none, so its formats of structs that have some are no use.
//
// The error wraps ErrFormat and names the byte. What has no counterpart in Go
// (pointers, long double, wide characters, unions, bit fields) is not accepted;
// single characters, <c, are.
func ParseLayout(format string) (Layout, error) {
	l, err := parseLayout(format)
	if err != nil {
		return Layout{}, fmt.Errorf("%w: layout: %v", ErrFormat, err)
	}
	return l, nil
}

func parseLayout(format string) (Layout, error) {
	if len(format) > maxFormat {
		return Layout{}, fmt.Errorf("format is longer than %d bytes", maxFormat)
	}
	p := layoutParser{s: format}
	l, err := p.item(maxDepth)
	if err == nil && p.pos < len(p.s) {
		err = p.errorf("end expected")
	}
	return l, err
}

type layoutParser struct {
	s   string
	pos int
}

func (p *layoutParser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s at byte %d", fmt.Sprintf(format, args...), p.pos)
}

func (p *layoutParser) accept(token string) bool {
	ok := strings.HasPrefix(p.s[p.pos:], token)
	if ok {
		p.pos += len(token)
	}
	return ok
}

// item reads a type: an optional shape, then a number or a struct.
func (p *layoutParser) item(depth int) (Layout, error) {
	var dims []int
	if p.accept("(") {
		for more := true; more; more = p.accept(",") {
			if len(dims) == maxDepth {
				return Layout{}, p.errorf("more than %d dimensions", maxDepth)
			}
			n, err := p.count()
			if err != nil {
				return Layout{}, err
			}
			dims = append(dims, n)
		}
		if !p.accept(")") {
			return Layout{}, p.errorf(") expected")
		}
	}
	l, err := p.element(depth)
	if err != nil {
		return Layout{}, err
	}
	size := l.Size
	for _, n := range dims {
		if n > maxSize/size {
			return Layout{}, p.errorf("more than %d bytes", maxSize)
		}
		size *= n
	}
	return arrayOf(l, dims...), nil
}

// element reads a number or a struct; depth is how many structs may still be
// opened.
func (p *layoutParser) element(depth int) (Layout, error) {
	if p.accept("T{") {
		if depth == 0 {
			return Layout{}, p.errorf("more than %d nested structs", maxDepth)
		}
		return p.fields(depth - 1)
	}
	if !p.accept(byteOrder) {
		return Layout{}, p.errorf("%q, %q or %q expected", "(", "T{", byteOrder)
	}
	for _, s := range scalars {
		if p.accept(s.code) || s.alias != "" && p.accept(s.alias) {
			return scalar(s.code, s.typ), nil
		}
	}
	return Layout{}, p.errorf("unknown type code")
}

// fields reads the rest of a struct.
func (p *layoutParser) fields(depth int) (Layout, error) {
	var fields []Field
	end := 0
	seen := make(map[string]bool)
	for !p.accept("}") {
		n, padding, err := p.padding()
		if err != nil {
			return Layout{}, err
		}
		if !padding {
			f := Field{Offset: end}
			if f.Layout, err = p.item(depth); err != nil {
				return Layout{}, err
			}
			if f.Name, err = p.name(seen); err != nil {
				return Layout{}, err
			}
			fields = append(fields, f)
			n = f.Layout.Size
		}
		if n > maxSize-end {
			return Layout{}, p.errorf("more than %d bytes", maxSize)
		}
		end += n
	}
	if end == 0 {
		return Layout{}, p.errorf("struct without a size")
	}
	return structOf(fields, end), nil
}

// padding reads x or 3x, if that is what comes next.
func (p *layoutParser) padding() (n int, ok bool, err error) {
	if p.accept("x") {
		return 1, true, nil
	}
	if p.pos == len(p.s) || p.s[p.pos] < '0' || p.s[p.pos] > '9' {
		return 0, false, nil
	}
	if n, err = p.count(); err == nil && !p.accept("x") {
		err = p.errorf("x expected")
	}
	return n, true, err
}

// count reads a number from 1 to maxSize without leading zeros.
func (p *layoutParser) count() (int, error) {
	n := 0
	for ; p.pos < len(p.s) && p.s[p.pos] >= '0' && p.s[p.pos] <= '9'; p.pos++ {
		d := int(p.s[p.pos] - '0')
		if n > (maxSize-d)/10 {
			return 0, p.errorf("more than %d", maxSize)
		}
		if n = n*10 + d; n == 0 {
			break
		}
	}
	if n == 0 {
		return 0, p.errorf("number from 1 expected")
	}
	return n, nil
}

// name reads a field's name between colons.
func (p *layoutParser) name(seen map[string]bool) (string, error) {
	if !p.accept(":") {
		return "", p.errorf("field name expected")
	}
	name, _, ok := strings.Cut(p.s[p.pos:], ":")
	if !ok {
		return "", p.errorf("unfinished field name")
	}
	if fault := nameFault(name, seen); fault != "" {
		return "", p.errorf("%s", fault)
	}
	p.pos += len(name) + 1
	return name, nil
}

// nameFault says why a format can't hold this name beside those seen, or "" if
// it can. Braces are refused so that readers may match them without looking at
// names.
func nameFault(name string, seen map[string]bool) string {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case name == "":
		return "empty name"
	case !utf8.ValidString(name), strings.ContainsAny(name, " :{}"), strings.ContainsFunc(name, unprintable):
		return fmt.Sprintf("unfit name %q", name)
	case seen[name]:
		return fmt.Sprintf("second field called %q", name)
	}
	seen[name] = true
	return ""
}

func scalar(code string, t reflect.Type) Layout {
	return Layout{Format: byteOrder + code, Size: int(t.Size()), Align: t.Align()}
}

// arrayOf folds the dimensions, outermost first, into those that elem has, as
// ctypes does. Preconditions: they are positive, and the size doesn't overflow.
func arrayOf(elem Layout, dims ...int) Layout {
	if len(dims) == 0 {
		return elem
	}
	shape := ""
	for _, n := range dims {
		shape += "," + strconv.Itoa(n)
		elem.Size *= n
	}
	if inner, ok := strings.CutPrefix(elem.Format, "("); ok {
		elem.Format = "(" + shape[1:] + "," + inner
	} else {
		elem.Format = "(" + shape[1:] + ")" + elem.Format
	}
	return elem
}

// structOf writes the format of a struct, and its alignment as Layout defines
// it. Preconditions: fields have distinct offsets in rising order, don't
// overlap and end by size.
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
