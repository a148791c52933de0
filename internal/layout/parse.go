package layout

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Limits of a format. Parse reads strings that anybody may have written into
// shared memory.
const (
	maxFormat = 32 << 10                   // bytes of text
	maxDepth  = 32                         // structs within structs, and dimensions of an array
	maxSize   = min(1<<40, math.MaxInt>>1) // bytes
)

// Parse reads a format that OfType or ctypes has written. The format may come
// from memory that anybody can write: sizes, nesting and work are bounded. It
// must be in this machine's byte order. The layout's Format is canonical: 32-bit
// integers are i and I, though ctypes calls them l and L where a long has 4
// bytes, and adjacent padding is one run.
//
// A format that has no padding describes a packed struct. CPython before 3.12
// never wrote padding, so its formats of structs with padding are wrong. Those of
// structs with bit fields or a base type are wrong in every CPython: nothing in
// them tells. So whoever has the memoryview compares its itemsize.
//
// The error ends with the position, "at byte N". Callers wrap it in errs.Format
// where the format comes from memory. Types that Go does not have (pointers,
// long double, wide characters, unions) are not accepted; single
// characters, <c, are.
func Parse(format string) (Layout, error) {
	if len(format) > maxFormat {
		return Layout{}, fmt.Errorf("a format of %d bytes is longer than the limit of %d", len(format), maxFormat)
	}
	p := formatParser{s: format}
	l, err := p.item(maxDepth)
	switch {
	case err != nil:
		return Layout{}, err
	case p.pos < len(p.s):
		return Layout{}, p.errorf("end expected")
	}
	return l, nil
}

type formatParser struct {
	s   string
	pos int
}

func (p *formatParser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s at byte %d", fmt.Sprintf(format, args...), p.pos)
}

func (p *formatParser) accept(token string) bool {
	ok := strings.HasPrefix(p.s[p.pos:], token)
	if ok {
		p.pos += len(token)
	}
	return ok
}

// item reads a type: an optional shape, then a number or a struct.
func (p *formatParser) item(depth int) (Layout, error) {
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
	return Array(l, dims...), nil
}

// element reads a number or a struct. depth is how many structs may be nested
// in what follows.
func (p *formatParser) element(depth int) (Layout, error) {
	if p.accept("T{") {
		if depth == 0 {
			return Layout{}, p.errorf("more than %d nested structs", maxDepth)
		}
		return p.fields(depth - 1)
	}
	if !p.accept(ByteOrder) {
		return Layout{}, p.errorf("%q, %q or %q expected", "(", "T{", ByteOrder)
	}
	for _, s := range scalars {
		if p.accept(s.code) || s.alias != "" && p.accept(s.alias) {
			return scalar(s.code, s.typ), nil
		}
	}
	return Layout{}, p.errorf("unknown type code")
}

// fields reads the rest of a struct.
func (p *formatParser) fields(depth int) (Layout, error) {
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
		return Layout{}, p.errorf("struct has no size")
	}
	return structOf(fields, end), nil
}

// padding reads x or 3x, if that is what comes next.
func (p *formatParser) padding() (n int, ok bool, err error) {
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
func (p *formatParser) count() (int, error) {
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
		return 0, p.errorf("positive number expected")
	}
	return n, nil
}

// name reads a field's name between colons.
func (p *formatParser) name(seen map[string]bool) (string, error) {
	if !p.accept(":") {
		return "", p.errorf("field name expected")
	}
	name, _, ok := strings.Cut(p.s[p.pos:], ":")
	if !ok {
		return "", p.errorf("field name has no end")
	}
	if fault := nameFault(name, seen); fault != "" {
		return "", p.errorf("%s", fault)
	}
	p.pos += len(name) + 1
	return name, nil
}

// nameFault says why a format cannot hold this name together with those seen. It
// returns "" and adds the name to seen if it can. Braces are refused so that
// readers may match braces without looking at names.
//
// The rule is about bytes alone. A rule with tables of Unicode, such as "printable",
// differs between versions of Unicode, so a segment that one program makes would
// be corrupt for another.
func nameFault(name string, seen map[string]bool) string {
	reserved := func(r rune) bool { return r <= ' ' || r == 0x7f || r == ':' || r == '{' || r == '}' }
	switch {
	case name == "":
		return "empty field name"
	case !utf8.ValidString(name), strings.ContainsFunc(name, reserved):
		return fmt.Sprintf("field name %q is not allowed: it must be UTF-8 without spaces, colons, braces and control characters", name)
	case seen[name]:
		return fmt.Sprintf("duplicate field name %q", name)
	}
	seen[name] = true
	return ""
}
