package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strconv"
	"strings"
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", fs.ErrInvalid, fmt.Sprintf(format, args...))
}

// partError is an error about a part of a value.
type partError struct {
	path string
	err  error
}

func (e *partError) Error() string { return e.path + ": " + e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

// in puts a part's path before an error.
func in(part string, err error) error {
	var inner *partError
	if errors.As(err, &inner) {
		return &partError{fieldPath(part, inner.path), inner.err}
	}
	if err != nil {
		err = &partError{part, err}
	}
	return err
}

// textParser reads what appendText writes.
type textParser struct {
	rest    string
	patches []patch
}

// parseText returns what a text changes in a value.
func parseText(l Layout, text string) ([]patch, error) {
	p := &textParser{rest: text}
	dims, elem := l.parts()
	p.space()
	if len(dims) == 0 && elem.isText() && !strings.HasPrefix(p.rest, `"`) && !strings.HasPrefix(p.rest, "`") {
		return p.patches, p.put(0, elem.Size, text)
	}
	if err := p.parts(0, dims, elem); err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, invalid("%q after the value", p.rest)
	}
	return p.patches, nil
}

func (p *textParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *textParser) accept(token string) (ok bool) {
	p.space()
	p.rest, ok = strings.CutPrefix(p.rest, token)
	return ok
}

func (p *textParser) expect(token string) error {
	if !p.accept(token) {
		return invalid("%s expected at %q", token, p.rest)
	}
	return nil
}

// write adds a change of the bytes at off.
func (p *textParser) write(off int, b []byte) {
	if last := len(p.patches) - 1; last >= 0 && p.patches[last].off+len(p.patches[last].b) == off {
		p.patches[last].b = append(p.patches[last].b, b...)
		return
	}
	p.patches = append(p.patches, patch{off, b})
}

func (p *textParser) parts(off int, dims []int, elem Layout) error {
	if len(dims) > 0 {
		return p.array(off, dims, elem)
	}
	if elem.isText() {
		return p.quoted(off, elem.Size)
	}
	if t := elem.number(); t != nil {
		b, err := parseNumber(t, p.word())
		if err == nil {
			p.write(off, b)
		}
		return err
	}
	return p.fields(off, elem)
}

func (p *textParser) array(off int, dims []int, elem Layout) error {
	if err := p.expect("["); err != nil {
		return err
	}
	step := elem.Size
	for _, n := range dims[1:] {
		step *= n
	}
	for i := range dims[0] {
		if i > 0 && !p.accept(",") {
			return invalid("%d elements, not %d, before %q", dims[0], i, p.rest)
		}
		if err := p.parts(off+i*step, dims[1:], elem); err != nil {
			return in(fmt.Sprintf("[%d]", i), err)
		}
	}
	return p.expect("]")
}

func (p *textParser) fields(off int, elem Layout) error {
	if err := p.expect("{"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for n := 0; !p.accept("}"); n++ {
		if n > 0 {
			if err := p.expect(","); err != nil {
				return err
			}
		}
		f, err := p.field(elem)
		if err != nil {
			return err
		}
		if seen[f.Name] {
			return invalid("field %q twice", f.Name)
		}
		seen[f.Name] = true
		dims, part := f.Layout.parts()
		if err := p.parts(off+f.Offset, dims, part); err != nil {
			return in(f.Name, err)
		}
	}
	return nil
}

// field reads a name, which has no colon in it, and the colon. In quotes it may
// be as well.
func (p *textParser) field(elem Layout) (Field, error) {
	p.space()
	name, rest, ok := strings.Cut(p.rest, ":")
	if !ok {
		return Field{}, invalid("a field's name and a colon expected at %q", p.rest)
	}
	p.rest = rest
	name = strings.TrimRight(name, " \t\r\n")
	for _, f := range elem.Fields {
		if f.Name == name {
			return f, nil
		}
	}
	if plain, err := strconv.Unquote(name); err == nil {
		for _, f := range elem.Fields {
			if f.Name == plain {
				return f, nil
			}
		}
	}
	return Field{}, invalid("no field %q", name)
}

// word takes what comes before the next delimiter outside parentheses.
func (p *textParser) word() (word string) {
	p.space()
	depth := 0
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return depth <= 0 && strings.ContainsRune(",]} \t\r\n", r)
	})
	if end < 0 {
		end = len(p.rest)
	}
	word, p.rest = p.rest[:end], p.rest[end:]
	return word
}

// quoted reads a string literal into size bytes.
func (p *textParser) quoted(off, size int) error {
	p.space()
	literal, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		return invalid("a string in quotes expected at %q", p.rest)
	}
	p.rest = p.rest[len(literal):]
	text, err := strconv.Unquote(literal)
	if err != nil {
		return invalid("%s is no string", literal)
	}
	return p.put(off, size, text)
}

func (p *textParser) put(off, size int, text string) error {
	if len(text) > size {
		return fmt.Errorf("%w: %d bytes, there is room for %d", ErrTooLong, len(text), size)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return invalid("a NUL at byte %d", i)
	}
	b := []byte(text)
	if len(b) < size {
		b = append(b, 0)
	}
	p.write(off, b)
	return nil
}

// parseNumber reads what appendNumber writes.
func parseNumber(t reflect.Type, word string) (b []byte, err error) {
	size := int(t.Size())
	var bits uint64
	switch t.Kind() {
	case reflect.Bool:
		var yes bool
		if yes, err = strconv.ParseBool(word); yes {
			bits = 1
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(word, base(word), 8*size)
		bits = uint64(n)
	case reflect.Float32, reflect.Float64:
		bits, err = parseFloat(word, size)
	case reflect.Complex64, reflect.Complex128:
		return parseComplex(t, word)
	default:
		bits, err = strconv.ParseUint(word, base(word), 8*size)
	}
	if err != nil {
		return nil, numberError(t, word, err)
	}
	return appendBits(nil, bits, size), nil
}

func numberError(t reflect.Type, word string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%w: %s does not fit %v", strconv.ErrRange, word, t)
	}
	return invalid("%q is no %v", word, t)
}

// base is 10, so that leading zeros mean nothing, or what the prefix says.
func base(word string) int {
	if digits := strings.TrimLeft(word, "+-"); len(digits) > 2 && digits[0] == '0' && strings.ContainsRune("xXbBoO", rune(digits[1])) {
		return 0
	}
	return 10
}

func parseFloat(word string, size int) (bits uint64, err error) {
	if hex, ok := strings.CutPrefix(word, "NaN("); ok {
		bits, err = strconv.ParseUint(strings.TrimSuffix(hex, ")"), 0, 8*size)
		if err == nil && string(appendFloat(nil, bits, size)) != word {
			err = strconv.ErrSyntax
		}
		return bits, err
	}
	f, err := strconv.ParseFloat(word, 8*size)
	if size == 4 {
		return uint64(math.Float32bits(float32(f))), err
	}
	return math.Float64bits(f), err
}

func parseComplex(t reflect.Type, word string) ([]byte, error) {
	half := int(t.Size()) / 2
	var re, im uint64
	if inner, ok := strings.CutPrefix(word, "complex("); ok {
		first, second, _ := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
		var err1, err2 error
		re, err1 = parseFloat(strings.TrimSpace(first), half)
		im, err2 = parseFloat(strings.TrimSpace(second), half)
		if err := errors.Join(err1, err2); err != nil {
			return nil, numberError(t, word, err)
		}
	} else {
		c, err := strconv.ParseComplex(word, 16*half)
		if err != nil {
			return nil, numberError(t, word, err)
		}
		re, im = math.Float64bits(real(c)), math.Float64bits(imag(c))
		if half == 4 {
			re, im = uint64(math.Float32bits(float32(real(c)))), uint64(math.Float32bits(float32(imag(c))))
		}
	}
	return appendBits(appendBits(nil, re, half), im, half), nil
}

// appendBits writes an unsigned number of size bytes.
func appendBits(dst []byte, bits uint64, size int) []byte {
	ne := binary.NativeEndian
	switch size {
	case 8:
		return ne.AppendUint64(dst, bits)
	case 4:
		return ne.AppendUint32(dst, uint32(bits))
	case 2:
		return ne.AppendUint16(dst, uint16(bits))
	}
	return append(dst, byte(bits))
}
