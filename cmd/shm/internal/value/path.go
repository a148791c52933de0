// Package value finds a part of a value by a path, such as config.Limit or samples[3],
// and writes it as text and as JSON, whatever type the program has that made it.
package value

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"strings"

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
// that of the part. old is the part as it is.
func (p Part) Assignment(old any, text string) (string, error) {
	switch old := old.(type) {
	case string: // as the value of a part it needs quotes
		if len(p.Path) > 0 && !strings.HasPrefix(text, `"`) && !strings.HasPrefix(text, "`") {
			text = strconv.Quote(text)
		}
	case []uint8:
		if p.Entry.Hint == "text" && !strings.HasPrefix(text, "[") {
			if len(text) > len(old) {
				return "", fmt.Errorf("%w: %d bytes, there is room for %d", shm.ErrTooLong, len(text), len(old))
			}
			b := make([]byte, len(old))
			copy(b, text)
			text = strings.ReplaceAll(fmt.Sprint(b), " ", ", ")
		}
	default:
		number, err := Unhinted(text, p.Entry.Hint)
		if err != nil {
			return "", err
		}
		text = number
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

// ErrDiffers is wrapped by the error of a comparison that fails.
var ErrDiffers = errors.New("the value is another one")
