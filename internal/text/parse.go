package text

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/layout"
)

// A Patch is bytes to be written at an offset in a value.
type Patch struct {
	Off   int
	Bytes []byte
}

// Parse returns what a text changes in a value. It understands what Append
// writes, and JSON as far as JSON can describe the value. Characters that are
// the whole value need no quotes. Integers may have a prefix, as in 0x1f. An
// array needs all its elements, or those that are to change, by index: [3: 7]. A
// struct needs only the fields that are to change, by name. A C string keeps the bytes after its new end.
//
// The error wraps fs.ErrInvalid for a text that does not describe such a value,
// strconv.ErrRange for a number that does not fit, or errs.TooLong.
func Parse(l layout.Layout, text string) ([]Patch, error) {
	p := &parser{rest: text}
	dims, elem := l.Parts()
	p.space()
	if len(dims) == 0 && elem.IsText() && !strings.HasPrefix(p.rest, `"`) && !strings.HasPrefix(p.rest, "`") {
		err := p.put(0, elem.Size, text)
		return p.patches, err
	}
	if err := p.parts(0, dims, elem); err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, errs.Invalid("%q after the value", p.rest)
	}
	return p.patches, nil
}

// partError is an error about a part of a value.
type partError struct {
	path string
	err  error
}

func (e *partError) Error() string { return e.path + ": " + e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

// within adds the path of a part to an error about it.
func within(part string, err error) error {
	var inner *partError
	if errors.As(err, &inner) {
		return &partError{layout.FieldPath(part, inner.path), inner.err}
	}
	if err != nil {
		err = &partError{part, err}
	}
	return err
}

// parser reads what Append writes.
type parser struct {
	rest    string
	patches []Patch
}

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *parser) accept(token string) (ok bool) {
	p.space()
	p.rest, ok = strings.CutPrefix(p.rest, token)
	return ok
}

func (p *parser) expect(token string) error {
	if !p.accept(token) {
		return errs.Invalid("expected %s, found %q", token, p.rest)
	}
	return nil
}

// write adds a change of the bytes at off. Adjacent changes become one patch.
func (p *parser) write(off int, b []byte) {
	if last := len(p.patches) - 1; last >= 0 && p.patches[last].Off+len(p.patches[last].Bytes) == off {
		p.patches[last].Bytes = append(p.patches[last].Bytes, b...)
		return
	}
	p.patches = append(p.patches, Patch{off, b})
}

func (p *parser) parts(off int, dims []int, elem layout.Layout) error {
	if len(dims) > 0 {
		return p.array(off, dims, elem)
	}
	if elem.IsText() {
		return p.quoted(off, elem.Size)
	}
	if t := elem.Number(); t != nil {
		b, err := parseNumber(t, p.word())
		if err == nil {
			p.write(off, b)
		}
		return err
	}
	return p.fields(off, elem)
}

func (p *parser) array(off int, dims []int, elem layout.Layout) error {
	if err := p.expect("["); err != nil {
		return err
	}
	step := elem.Size
	for _, n := range dims[1:] {
		step *= n
	}
	if i, ok := p.index(); ok {
		return p.elements(off, step, i, dims, elem)
	}
	for i := range dims[0] {
		if i > 0 && !p.accept(",") {
			return errs.Invalid("the array has %d elements, found %d before %q", dims[0], i, p.rest)
		}
		if err := p.parts(off+i*step, dims[1:], elem); err != nil {
			return within(fmt.Sprintf("[%d]", i), err)
		}
	}
	return p.expect("]")
}

// elements reads elements by index. The first index, which is i, has been read.
func (p *parser) elements(off, step int, i uint64, dims []int, elem layout.Layout) error {
	seen := map[uint64]bool{}
	for {
		if i >= uint64(dims[0]) {
			return errs.Invalid("the array has %d elements, and none with index %d", dims[0], i)
		}
		if seen[i] {
			return errs.Invalid("element %d occurs twice", i)
		}
		seen[i] = true
		if err := p.parts(off+int(i)*step, dims[1:], elem); err != nil {
			return within(fmt.Sprintf("[%d]", i), err)
		}
		if p.accept("]") {
			return nil
		}
		if err := p.expect(","); err != nil {
			return err
		}
		var ok bool
		if i, ok = p.index(); !ok {
			return errs.Invalid("expected an index and a colon, as the other elements have, found %q", p.rest)
		}
	}
}

// index reads an index and the colon after it, if they are there.
func (p *parser) index() (i uint64, ok bool) {
	p.space()
	digits := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "0123456789"))]
	rest, colon := strings.CutPrefix(strings.TrimLeft(p.rest[len(digits):], " \t\r\n"), ":")
	i, err := strconv.ParseUint(digits, 10, 64) // of a number that does not fit: the largest
	if !colon || err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	p.rest = rest
	return i, true
}

func (p *parser) fields(off int, elem layout.Layout) error {
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
			return errs.Invalid("field %q occurs twice", f.Name)
		}
		seen[f.Name] = true
		dims, part := f.Layout.Parts()
		if err := p.parts(off+f.Offset, dims, part); err != nil {
			return within(f.Name, err)
		}
	}
	return nil
}

// field reads a field name and the colon after it. The name may be in quotes. It
// has no colon in it, because a format cannot hold such a name.
func (p *parser) field(elem layout.Layout) (layout.Field, error) {
	p.space()
	name, rest, ok := strings.Cut(p.rest, ":")
	if !ok {
		return layout.Field{}, errs.Invalid("expected a field name and a colon, found %q", p.rest)
	}
	p.rest = rest
	name = strings.TrimRight(name, " \t\r\n")
	names := []string{name}
	if plain, n, err := literal(name); err == nil && n == len(name) {
		names = []string{plain, name} // a field may have quotes in its name
	}
	for _, name := range names {
		for _, f := range elem.Fields {
			if f.Name == name {
				return f, nil
			}
		}
	}
	return layout.Field{}, errs.Invalid("the struct has no field %q", names[0])
}

// word takes what comes before the next delimiter outside parentheses.
func (p *parser) word() (word string) {
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
func (p *parser) quoted(off, size int) error {
	p.space()
	text, n, err := literal(p.rest)
	if err != nil {
		return errs.Invalid("expected a string in quotes, found %q", p.rest)
	}
	p.rest = p.rest[n:]
	return p.put(off, size, text)
}

// put writes a string to size bytes, and a NUL after it if there is room.
func (p *parser) put(off, size int, text string) error {
	if len(text) > size {
		return fmt.Errorf("%w: %d bytes, there is room for %d", errs.TooLong, len(text), size)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return errs.Invalid("the text has a NUL at byte %d, which would end the string there", i)
	}
	b := []byte(text)
	if len(b) < size {
		b = append(b, 0)
	}
	p.write(off, b)
	return nil
}
