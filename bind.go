package shm

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Bind fills a struct of handles: ptr points to a struct each of whose exported
// fields is a handle of this package (RawValue, Value, Atomic, RawArray, Array,
// RawStruct, Struct, CharArray, String or *Mutex), which is attached to the
// value named by the field, or makes it, starting from zero:
//
//	var board struct {
//		Requests shm.Atomic[uint64]  `shm:"requests,unit=requests"`
//		Load     shm.Value[float64]  `shm:"load,help=of the last minute, 1 is a core"`
//		Version  shm.String          `shm:"version,len=32"`
//		Config   shm.Struct[Config]
//		lastSeen time.Time // unexported fields are left alone
//	}
//	err := shm.Bind(seg, &board)
//
// The tag has a name, which is the field's own where it is empty, and options:
// len=N, elements of an array or bytes of a C string (without it, the length
// found); unit=TEXT and help=TEXT, which are kept with a value that is made here
// and shown by tools. help comes last, so that its text may have commas.
//
// Structs inside the struct, embedded ones too, are not looked into: Bind each by
// itself.
//
// An error names the field; *ptr is unchanged then. It wraps fs.ErrInvalid for a
// field or an option that means nothing, or a second field of one name, and then
// no value was made; or it is one of the constructors', and those before it were.
func Bind(s *Segment, ptr any) error {
	p := reflect.ValueOf(ptr)
	_, alone := ptr.(handle) // without a name
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct || alone {
		return fmt.Errorf("shm: Bind: %w", invalid("%T is not a pointer to a struct of handles", ptr))
	}
	t := p.Elem().Type()
	bound := reflect.New(t).Elem()
	fail := func(field reflect.StructField, err error) error {
		name := field.Name
		if t.Name() != "" { // else it is the whole source text
			name = t.String() + "." + name
		}
		return fmt.Errorf("shm: Bind: field %s: %w", name, err)
	}
	// All of them, before the first value is made: names are never freed.
	named := map[string]string{}
	binds := make([]func() error, t.NumField())
	for i := range binds {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		l, bind, err := planField(s, field, bound.Field(i))
		if other, twice := named[l.name]; err == nil && twice {
			err = invalid("field %s is called %q as well", other, l.name)
		}
		if err != nil {
			return fail(field, err)
		}
		named[l.name], binds[i] = field.Name, bind
	}
	for i, bind := range binds {
		if bind == nil {
			continue
		}
		if err := bind(); err != nil {
			return fail(t.Field(i), err)
		}
	}
	for i := range t.NumField() {
		if t.Field(i).IsExported() {
			p.Elem().Field(i).Set(bound.Field(i))
		}
	}
	return nil
}

// handle is what a field of Bind's struct can be.
type handle interface {
	// bind attaches to, or makes, the value; n is its length, 0 if not given.
	bind(s *Segment, l label, n int) error
	// sized reports whether the value has a length.
	sized() bool
}

// planField returns what a field's value is called, and what attaches to it.
func planField(s *Segment, field reflect.StructField, v reflect.Value) (l label, bind func() error, err error) {
	l, n, err := parseBindTag(field)
	if err != nil {
		return l, nil, err
	}
	mu, isMutex := v.Addr().Interface().(**Mutex)
	h, isHandle := v.Addr().Interface().(handle)
	switch {
	case !isMutex && !isHandle:
		hint := ""
		if field.Type == reflect.TypeFor[Mutex]() {
			hint = ", a *shm.Mutex is"
		}
		return l, nil, invalid("a %s is no handle that can be bound%s", field.Type, hint)
	case n != 0 && (isMutex || !h.sized()):
		return l, nil, invalid("len= for a %s, which has no length", field.Type)
	case isMutex:
		return l, func() (err error) { *mu, err = newMutex(s, l); return err }, nil
	}
	return l, func() error { return h.bind(s, l, n) }, nil
}

func parseBindTag(field reflect.StructField) (l label, n int, err error) {
	name, options, more := strings.Cut(field.Tag.Get("shm"), ",")
	switch name {
	case "":
		l.name = field.Name
	case "-":
		return l, 0, invalid("an exported field cannot be left out")
	default:
		l.name = name
	}
	seen := map[string]bool{}
	for more {
		if text, ok := strings.CutPrefix(options, "help="); ok {
			l.help = text
			break
		}
		var option string
		option, options, more = strings.Cut(options, ",")
		key, value, _ := strings.Cut(option, "=")
		if seen[key] {
			return l, 0, invalid("option %q twice", key)
		}
		seen[key] = true
		switch {
		case key == "len":
			if n, err = strconv.Atoi(value); err != nil || n <= 0 {
				return l, 0, invalid("option %q wants a length above zero", option)
			}
		case key == "unit" && value != "":
			l.unit = value
		default:
			return l, 0, invalid("option %q means nothing", option)
		}
	}
	return l, n, nil
}

func (v *RawValue[T]) bind(s *Segment, l label, _ int) (err error) {
	var zero T
	*v, err = newRawValue(s, l, zero)
	return err
}

func (v *Value[T]) bind(s *Segment, l label, _ int) (err error) {
	var zero T
	*v, err = newValue(s, l, zero)
	return err
}

func (a *Atomic[T]) bind(s *Segment, l label, _ int) (err error) {
	var zero T
	*a, err = newAtomic(s, l, zero)
	return err
}

func (v *RawStruct[T]) bind(s *Segment, l label, _ int) (err error) {
	var zero T
	*v, err = newRawStruct(s, l, zero)
	return err
}

func (v *Struct[T]) bind(s *Segment, l label, _ int) (err error) {
	var zero T
	*v, err = newStruct(s, l, zero)
	return err
}

func (a *RawArray[T]) bind(s *Segment, l label, n int) (err error) {
	*a, err = newRawArray[T](s, l, n)
	return err
}

func (a *Array[T]) bind(s *Segment, l label, n int) (err error) {
	*a, err = newArray[T](s, l, n)
	return err
}

func (c *CharArray) bind(s *Segment, l label, n int) (err error) {
	*c, err = newCharArray(s, l, n)
	return err
}

func (v *String) bind(s *Segment, l label, n int) (err error) {
	*v, err = newString(s, l, n)
	return err
}

func (*RawValue[T]) sized() bool  { return false }
func (*Value[T]) sized() bool     { return false }
func (*Atomic[T]) sized() bool    { return false }
func (*RawStruct[T]) sized() bool { return false }
func (*Struct[T]) sized() bool    { return false }
func (*RawArray[T]) sized() bool  { return true }
func (*Array[T]) sized() bool     { return true }
func (*CharArray) sized() bool    { return true }
func (*String) sized() bool       { return true }
