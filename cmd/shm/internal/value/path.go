// Package value finds a part of a value by a path, such as config.Limit or samples[3],
// and writes it as text and as JSON, whatever type the program has that made it.
package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
)

// Step is a field or an element.
type Step struct {
	Field string
	Index int // if Field is ""
}

// Path leads from a value to a part of it.
type Path []Step

func (p Path) String() string {
	var b strings.Builder
	for _, s := range p {
		if s.Field == "" {
			fmt.Fprintf(&b, "[%d]", s.Index)
		} else {
			b.WriteString("." + fieldName(s.Field))
		}
	}
	return b.String()
}

// fieldName returns the name of a field as ParsePath reads it.
func fieldName(name string) string {
	if strings.ContainsAny(name, ".[") {
		return strconv.Quote(name)
	}
	return form.Name(name)
}

// Part is a value of a segment, or a part of one.
type Part struct {
	Entry shm.Entry
	Path  Path
}

// Name returns the name of a part as commands take it.
func (p Part) Name() string { return form.Name(p.Entry.Name) + p.Path.String() }

// Find returns the part of a segment that a text names: NAME, and then fields and
// indices, as in NAME.FIELD[I]. A name may itself have dots and brackets: the longest
// name that exists counts. A name or field that is written as a string literal is what
// the literal says. The error wraps fs.ErrNotExist if there is no such value.
func Find(s *shm.Segment, text string) (Part, error) {
	for _, end := range ends(text) {
		name := text[:end]
		e, ok := s.Lookup(name)
		if plain, err := strconv.Unquote(name); !ok && err == nil {
			e, ok = s.Lookup(plain)
		}
		if !ok {
			continue
		}
		path, err := ParsePath(text[end:])
		if err != nil {
			return Part{}, fmt.Errorf("value %s: %w", form.Name(e.Name), err)
		}
		return Part{e, path}, nil
	}
	return Part{}, absent(fmt.Sprintf("no value %s in %s", form.Name(text), form.Name(s.Name())))
}

// ends returns where the name in a text may end, the longest first.
func ends(text string) (all []int) {
	all = append(all, len(text))
	for i := len(text) - 1; i > 0; i-- {
		if text[i] == '.' || text[i] == '[' {
			all = append(all, i)
		}
	}
	return all
}

// ParsePath reads what comes after the name of a value.
func ParsePath(text string) (p Path, err error) {
	for rest := text; rest != ""; {
		switch {
		case strings.HasPrefix(rest, `."`):
			literal, err := strconv.QuotedPrefix(rest[1:])
			if err != nil {
				return nil, fmt.Errorf("%w: %s is not a field in quotes", fs.ErrInvalid, form.Name(rest[1:]))
			}
			field, _ := strconv.Unquote(literal)
			p, rest = append(p, Step{Field: field}), rest[1+len(literal):]
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			if end == 0 {
				return nil, fmt.Errorf("%w: %s has an empty field", fs.ErrInvalid, form.Name(text))
			}
			p, rest = append(p, Step{Field: rest[1 : 1+end]}), rest[1+end:]
		case rest[0] == '[':
			index, after, closed := strings.Cut(rest[1:], "]")
			i, err := strconv.Atoi(index)
			if !closed || err != nil || i < 0 {
				return nil, fmt.Errorf("%w: %s has no index in brackets, such as [3]", fs.ErrInvalid, form.Name(text))
			}
			p, rest = append(p, Step{Index: i}), after
		default:
			return nil, fmt.Errorf("%w: after %s a field begins with a dot, an index with a bracket", fs.ErrInvalid, form.Name(rest))
		}
	}
	return p, nil
}

// absent is an error about a value or a part that does not exist. It wraps
// fs.ErrNotExist, whose text speaks of files.
type absent string

func (a absent) Error() string        { return string(a) }
func (a absent) Is(target error) bool { return target == fs.ErrNotExist }

// Of returns the part of a whole value, which Any returned, and the layout of it or of
// its elements.
func (p Path) Of(v any, l shm.Layout) (any, shm.Layout, error) {
	for i, s := range p {
		r := reflect.ValueOf(v)
		switch {
		case s.Field != "":
			f, ok := v.(map[string]any)
			if !ok {
				return nil, l, absent(where(p[:i]) + " is not a struct")
			}
			if v, ok = f[s.Field]; !ok {
				return nil, l, absent(where(p[:i]) + " has no field " + form.Name(s.Field))
			}
			for _, field := range l.Fields {
				if field.Name == s.Field {
					l = field.Layout
					break
				}
			}
		case r.Kind() != reflect.Slice:
			return nil, l, absent(where(p[:i]) + " is not an array")
		case s.Index >= r.Len():
			return nil, l, absent(fmt.Sprintf("%s has %s, from [0] on", where(p[:i]), form.Count(r.Len(), "element")))
		default:
			v = r.Index(s.Index).Interface()
		}
	}
	return v, l, nil
}

func where(p Path) string {
	if len(p) == 0 {
		return "the value"
	}
	return p.String()
}

// Load returns the part as a Go value, with its layout.
func (p Part) Load() (any, shm.Layout, error) {
	v := p.Entry.Any()
	if err, failed := v.(error); failed {
		return nil, shm.Layout{}, err
	}
	if v == nil {
		if len(p.Path) > 0 {
			return nil, shm.Layout{}, absent("value " + form.Name(p.Entry.Name) + " is a Mutex, which has no parts")
		}
		return nil, shm.Layout{}, nil
	}
	part, l, err := p.Path.Of(v, p.Entry.Layout)
	if err != nil {
		err = fmt.Errorf("value %s: %w", form.Name(p.Entry.Name), err)
	}
	return part, l, err
}

// Assignment returns the text that Entry.Parse takes to set the part to text, which is
// that of the part, as Bare or JSON writes it. old is the part as it is.
func (p Part) Assignment(old any, text string) (string, error) {
	text, err := p.plain(old, text)
	if err != nil {
		return "", err
	}
	for i := len(p.Path) - 1; i >= 0; i-- {
		if s := p.Path[i]; s.Field == "" {
			text = fmt.Sprintf("[%d: %s]", s.Index, text)
		} else {
			text = fmt.Sprintf("{%s: %s}", strconv.Quote(s.Field), text)
		}
	}
	return text, nil
}

// plain returns the text of a part as Entry.Parse takes it.
func (p Part) plain(old any, text string) (string, error) {
	hint := p.Entry.Hint
	switch old := old.(type) {
	case string:
		literal, isLiteral, err := literalOf(text)
		switch {
		case err != nil:
			return "", err
		case isLiteral:
			return strconv.Quote(literal), nil
		case notUTF8(text):
			return FromJSON(json.RawMessage(text), old, hint)
		case len(p.Path) > 0: // as the value of a part it needs quotes
			return strconv.Quote(text), nil
		}
		return text, nil
	case []uint8:
		if hint != "text" || isList(text) {
			return text, nil
		}
		literal, isLiteral, err := literalOf(text)
		if err != nil {
			return "", err
		}
		if isLiteral {
			text = literal
		}
		if len(text) > len(old) {
			return "", fmt.Errorf("%w: %d bytes, there is room for %d", shm.ErrTooLong, len(text), len(old))
		}
		b := make([]byte, len(old))
		copy(b, text)
		return Text(b, noLayout), nil
	}
	if json.Valid([]byte(text)) {
		// A text that JSON has, and Entry.Parse has not: of a NaN, a complex number, a list of bytes.
		if parsed, err := FromJSON(json.RawMessage(text), old, hint); err == nil {
			text = parsed
		}
	}
	switch r := reflect.ValueOf(old); {
	case r.CanInt() || r.CanUint() || r.CanFloat():
		return Unhinted(text, hint)
	case r.Kind() == reflect.Slice:
		return unhintedElements(text, r.Type().Elem(), hint)
	}
	return text, nil
}

// literalOf returns what a text says that is a string literal of Go or of JSON, and whether it
// is one: it begins with a quote.
func literalOf(text string) (says string, is bool, err error) {
	text = strings.Trim(text, " \t\r\n")
	if !quoted(text) {
		return "", false, nil
	}
	if says, err = strconv.Unquote(text); err != nil && json.Unmarshal([]byte(text), &says) != nil {
		return "", true, fmt.Errorf("%w: %s begins with a quote, and is no string literal", fs.ErrInvalid, form.Text(text))
	}
	return says, true, nil
}

// quoted reports whether a text would be read as a string literal.
func quoted(text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	return strings.HasPrefix(text, `"`) || strings.HasPrefix(text, "`")
}

// isList reports whether a text is a list of bytes, with or without indices.
func isList(text string) bool {
	text = strings.TrimSpace(text)
	inside, begins := strings.CutPrefix(text, "[")
	inside, ends := strings.CutSuffix(inside, "]")
	if !begins || !ends {
		return false
	}
	for x := range strings.SplitSeq(inside, ",") {
		if i, rest, indexed := strings.Cut(x, ":"); indexed {
			if _, err := strconv.ParseUint(strings.TrimSpace(i), 10, 32); err != nil {
				return false
			}
			x = rest
		}
		if _, err := strconv.ParseUint(strings.TrimSpace(x), 0, 8); err != nil {
			return false
		}
	}
	return true
}

// notUTF8 reports whether a text is a list as which JSON writes bytes that are not UTF-8.
func notUTF8(text string) bool {
	var numbers []uint8
	var list []json.Number
	if !strings.HasPrefix(strings.TrimSpace(text), "[") || json.Unmarshal([]byte(text), &list) != nil {
		return false
	}
	for _, x := range list {
		n, err := strconv.ParseUint(x.String(), 10, 8)
		if err != nil {
			return false
		}
		numbers = append(numbers, uint8(n))
	}
	return !utf8.Valid(numbers)
}

// elementOfList is an element in the text of an array of numbers: an index and a colon, if
// they are there, and the number.
var elementOfList = regexp.MustCompile(`(\b\d+\s*:\s*)?([^\s\[\],]+)`)

// unhintedElements is Unhinted of each element of an array.
func unhintedElements(text string, elem reflect.Type, hint string) (out string, err error) {
	for elem.Kind() == reflect.Slice {
		elem = elem.Elem()
	}
	if elem.Kind() != reflect.Int64 && elem.Kind() != reflect.Uint64 || hint != "duration" && hint != "time" {
		return text, nil
	}
	out = elementOfList.ReplaceAllStringFunc(text, func(x string) string {
		if n, err := Unhinted(x, hint); err == nil { // a time, whose hour an index would not be
			return n
		}
		parts := elementOfList.FindStringSubmatch(x)
		n, wrong := Unhinted(parts[2], hint)
		if wrong != nil && err == nil {
			err = wrong
		}
		return parts[1] + n
	})
	return out, err
}

// ErrDiffers is wrapped by the error of a comparison that fails.
var ErrDiffers = errors.New("the value is another one")
