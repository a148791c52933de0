// Package generate writes source text that declares the values of a segment: a struct
// for shm.Bind in Go, structs with their formats in C, and classes of ctypes.
package generate

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// Names of the languages.
const (
	Go     = "go"
	C      = "c"
	Python = "python"
)

// Source returns the source text for a segment.
func Source(language, segment string, entries []shm.Entry) (string, error) {
	values := make([]named, 0, len(entries))
	for _, e := range entries {
		v := named{Entry: e}
		if e.Layout.Format != "" {
			t, err := typeOf(e.Layout)
			if err != nil {
				return "", fmt.Errorf("value %s: %w", form.Name(e.Name), err)
			}
			v.t = t
		}
		d, err := e.Description()
		if err != nil {
			return "", fmt.Errorf("value %s: %w", form.Name(e.Name), err)
		}
		v.bounds = d.Bounds
		values = append(values, v)
	}
	switch language {
	case Go:
		return goSource(segment, values)
	case C:
		return cSource(segment, values), nil
	case Python:
		return pythonSource(segment, values), nil
	}
	return "", fmt.Errorf("%w: no language %q", fs.ErrInvalid, language)
}

// named is a value of the segment.
type named struct {
	shm.Entry
	t      *shape    // nil for a lock
	bounds []float64 // of a Histogram
}

// shape is a type as the languages have it: an array of as many dimensions as dims has,
// of numbers or of structs.
type shape struct {
	dims   []int
	code   string // of a number: b, Zd and so on; "" for a struct
	fields []field
	size   int // of an element
	align  int
	format string // of an element
}

type field struct {
	name   string
	offset int
	t      *shape
}

// typeOf returns the shape of a layout. The error wraps fs.ErrInvalid if the languages
// would put a field elsewhere.
func typeOf(l shm.Layout) (*shape, error) {
	t := &shape{size: l.Size, align: l.Align, format: l.Format}
	if dims, rest, ok := strings.Cut(l.Format, ")"); ok && strings.HasPrefix(dims, "(") {
		for d := range strings.SplitSeq(dims[1:], ",") {
			n, err := strconv.Atoi(d)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%w: the format %q", fs.ErrInvalid, l.Format)
			}
			t.dims = append(t.dims, n)
			t.size /= n
		}
		t.format = rest
	}
	if !strings.HasPrefix(t.format, "T{") {
		t.code = strings.TrimLeft(t.format, "<>=@")
		return t, nil
	}
	end := 0
	for _, f := range l.Fields {
		ft, err := typeOf(f.Layout)
		if err != nil {
			return nil, err
		}
		if want := (end + ft.align - 1) / ft.align * ft.align; want != f.Offset {
			return nil, fmt.Errorf("%w: field %s is at byte %d and not at byte %d, where a compiler puts it", fs.ErrInvalid, form.Name(f.Name), f.Offset, want)
		}
		t.fields = append(t.fields, field{f.Name, f.Offset, ft})
		end = f.Offset + f.Layout.Size
	}
	if want := (end + t.align - 1) / max(t.align, 1) * t.align; want != t.size {
		return nil, fmt.Errorf("%w: a struct has %d bytes and not %d, as a compiler makes it", fs.ErrInvalid, t.size, want)
	}
	return t, nil
}

// names gives each text a name of its own.
type names struct {
	taken map[string]bool
	make  func(text string) string
}

func newNames(make func(string) string, reserved ...string) *names {
	n := &names{map[string]bool{}, make}
	for _, r := range reserved {
		n.taken[r] = true
	}
	return n
}

// name returns a name that nothing else has, also with one of the suffixes behind it.
func (n *names) name(text string, suffixes ...string) string {
	suffixes = append(suffixes, "")
	base := n.make(text)
	name := base
	taken := func(suffix string) bool { return n.taken[name+suffix] }
	for i := 2; slices.ContainsFunc(suffixes, taken); i++ {
		name = base + strconv.Itoa(i)
	}
	for _, suffix := range suffixes {
		n.taken[name+suffix] = true
	}
	return name
}

// besides returns a function like make whose results are none of the words.
func besides(words []string, make func(string) string) func(string) string {
	return func(text string) string {
		name := make(text)
		if slices.Contains(words, name) {
			name += "_"
		}
		return name
	}
}

// words splits a text at what is neither an ASCII letter nor a digit.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// camel returns an exported Go identifier.
func camel(text string) string {
	var b strings.Builder
	for _, w := range words(text) {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	if s := b.String(); s != "" && !unicode.IsDigit(rune(s[0])) {
		return s
	}
	return "X" + b.String()
}

// snake returns an identifier of C and Python.
func snake(text string) string {
	s := strings.ToLower(strings.Join(words(text), "_"))
	if s == "" || unicode.IsDigit(rune(s[0])) {
		return "x" + s
	}
	return s
}

// asIs returns a field's name if it is an identifier, and else one that is like it.
func asIs(text string) string {
	for i, r := range text {
		if r > unicode.MaxASCII || r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return snake(text)
		}
	}
	return text
}

// handle returns the name of the Go type of a value's handles, without type arguments.
func handle(v named) string {
	name, _, _ := strings.Cut(v.Type(), "[")
	return name
}

// comment returns a text that can stand in a comment of one line.
func comment(text string) string {
	return strings.NewReplacer("*/", "* /", "/*", "/ *").Replace(form.Text(text))
}

// about returns what a comment says of a value.
func about(v named) string {
	var parts []string
	if v.Help != "" {
		parts = append(parts, comment(v.Help))
	}
	if v.Unit != "" {
		parts = append(parts, "in "+comment(v.Unit))
	}
	if v.Hint != "" {
		parts = append(parts, v.Hint)
	}
	return strings.Join(parts, "; ")
}
