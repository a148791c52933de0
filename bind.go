package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/tag"
)

// Bind fills a struct of handles. ptr points to a struct. Each exported field of it
// is a handle of this package: RawValue, Value, Atomic, RawArray, Array,
// AtomicArray, RawStruct, Struct, Table, CharArray, String, Ring, Counter,
// Gauge, Histogram, *Mutex or Mutexes. Bind attaches the field to the value that has its name, or makes the value, starting from
// zero:
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
// The tag has a name, or else the value has the field's name. Options follow: len=N
// is the number of elements of an array, rows, locks, values of a Ring, or bytes of a C
// string (without it, Bind takes the length found); room=N reserves N bytes for a Struct,
// or for each row of a Table, of a struct that is made here, so that later types may have
// as many; bounds=0.1;0.5;1 is the bounds of a Histogram; unit=TEXT, hint=NAME and help=TEXT are stored with a value that is made here,
// and tools show them. The hint says what the value means:
// duration (in nanoseconds), time (in nanoseconds since 1970), text, counter or
// gauge. A number of type time.Duration, or an array or a Ring of them, has the hint duration
// without being asked. help comes last, because its text may have commas.
//
// Bind does not look into structs inside the struct, embedded ones included. Bind
// each of them by itself. A handle may be embedded: it is a field like any other.
//
// An error names the field, and *ptr is unchanged. If a field or an option is
// invalid, or two fields have one name, the error wraps fs.ErrInvalid and Bind has
// made no value. Otherwise it is a constructor's error, and the values of the
// fields before it may have been made.
func Bind(s *Segment, ptr any) error {
	p := reflect.ValueOf(ptr)
	_, alone := asHandle(ptr) // without a name
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct || alone {
		return errs.Wrap(errs.Invalid("%T is not a pointer to a struct of handles", ptr), "Bind")
	}
	t := p.Elem().Type()
	bound := reflect.New(t).Elem()
	fail := func(field reflect.StructField, err error) error {
		name := field.Name
		if t.Name() != "" { // else it is the whole source text
			name = t.String() + "." + name
		}
		return errs.Wrap(err, "Bind: field %s", name)
	}
	// Check all fields before the first value is made: names are never freed.
	named := map[string]string{}
	binds := make([]func() error, t.NumField())
	for i := range binds {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		l, bind, err := planField(s, field, bound.Field(i))
		if other, twice := named[l.Name]; err == nil && twice {
			err = errs.Invalid("field %s has the name %q too", other, l.Name)
		}
		if err != nil {
			return fail(field, err)
		}
		named[l.Name], binds[i] = field.Name, bind
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

// handle is a field that Bind can fill.
type handle interface {
	// bind attaches to, or makes, the value; n is its length, 0 if not given.
	bind(s *Segment, l format.Label, n int) error
	// sized reports whether the value has a length.
	sized() bool
}

// asHandle returns p as a handle, if it points to one. A struct that embeds a handle has its
// methods too, but also other fields, which would stay empty: it is none.
func asHandle(p any) (h handle, ok bool) {
	if h, ok = p.(handle); ok {
		ok = ofThisPackage(reflect.TypeOf(p).Elem())
	}
	return h, ok
}

func ofThisPackage(t reflect.Type) bool { return t.PkgPath() == reflect.TypeFor[Segment]().PkgPath() }

// planField returns the label of a field's value, and the function that attaches
// the field to it.
func planField(s *Segment, field reflect.StructField, v reflect.Value) (l format.Label, bind func() error, err error) {
	o, err := tag.Parse(field.Name, field.Tag.Get("shm"))
	l, n, bounds := o.Label, o.Len, o.Bounds
	if err != nil {
		return l, nil, err
	}
	hist, isHistogram := v.Addr().Interface().(*Histogram)
	mu, isMutex := v.Addr().Interface().(**Mutex)
	h, isHandle := asHandle(v.Addr().Interface())
	roomy, grows := v.Addr().Interface().(interface{ fitsRoom(n int64) error })
	switch {
	case !isMutex && !isHandle:
		return l, nil, errs.Invalid("%s is not a handle that Bind can fill; %s", field.Type, bindAdvice(field.Type))
	case n != 0 && (isMutex || !h.sized()):
		return l, nil, errs.Invalid("len= for a %s, which has no length", field.Type)
	case bounds != nil && !isHistogram:
		return l, nil, errs.Invalid("bounds= for a %s, which has no bounds", field.Type)
	case l.Reserve != 0 && !grows:
		return l, nil, errs.Invalid("room= for a %s, which does not grow", field.Type)
	case l.Reserve != 0:
		if err := roomy.fitsRoom(l.Reserve); err != nil {
			return l, nil, err
		}
		if m, err := s.namedMapping(); err == nil && l.Reserve > int64(m.header.MaxSize)/2 {
			return l, nil, errs.Invalid("room for %d bytes, twice, is more than the %d bytes of %s", l.Reserve, m.header.MaxSize, s.label())
		}
	case bounds != nil:
		if err := checkBounds(bounds); err != nil {
			return l, nil, errs.Invalid("option bounds: %v", err)
		}
	}
	if isHistogram {
		return l, func() (err error) {
			*hist, err = newHistogram(s, l, bounds)
			if bounds == nil && errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w; to make it, write its bounds into the tag, such as `shm:\"%s,bounds=0.1;0.5;1\"`", err, l.Name)
			}
			return err
		}, nil
	}
	if isMutex {
		return l, func() (err error) { *mu, err = newMutex(s, l); return err }, nil
	}
	return l, func() error {
		err := h.bind(s, l, n)
		if h.sized() && n == 0 && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; to make it, write its length into the tag, such as `shm:\"%s,len=32\"`", err, l.Name)
		}
		return err
	}, nil
}

// bindAdvice says what to use instead of a field that is not a handle.
func bindAdvice(t reflect.Type) string {
	number := func(t reflect.Type) bool {
		return t.Kind() != reflect.Uintptr && t.Kind() >= reflect.Int && t.Kind() <= reflect.Complex128
	}
	switch {
	case t == reflect.TypeFor[Mutex]():
		return "use a *shm.Mutex"
	case t == reflect.TypeFor[*Segment]() || t == reflect.TypeFor[Segment]():
		return "unexport the field"
	case t.Kind() == reflect.Pointer && isHandle(t.Elem()):
		return "use the " + t.Elem().String() + " itself, which is small"
	case t.Kind() == reflect.Array || t.Kind() == reflect.Slice:
		if e := t.Elem(); e == reflect.TypeFor[*Mutex]() {
			return "use an shm.Mutexes with len= in the tag"
		} else if isHandle(e) {
			return "use an shm.Table or an AtomicArray with len= in the tag, or unexport the field and call the constructor for each element, with a name of its own such as name.0; for numbers under one lock use an shm.Array"
		}
		if e := t.Elem(); e.Kind() == reflect.Int || e.Kind() == reflect.Uint {
			return fmt.Sprintf("use an shm.Array[%s64], or a RawArray, with len= in the tag", e.Kind())
		} else if e.Kind() == reflect.Complex128 {
			return fmt.Sprintf("use an shm.RawArray[%s] with len= in the tag", e)
		} else if number(e) {
			return fmt.Sprintf("use an shm.Array[%s], or a RawArray, with len= in the tag", e)
		}
		return "use an shm.Struct of an array type"
	case t.Kind() == reflect.Bool:
		return fmt.Sprintf("use an shm.Struct[%s], or an shm.Atomic[uint32] that is 0 or 1", t)
	case t.Kind() == reflect.Complex128:
		return fmt.Sprintf("use an shm.Struct[%s]", t)
	case t.Kind() == reflect.Int || t.Kind() == reflect.Uint:
		return fmt.Sprintf("its size differs between machines: use an shm.Value[%[1]s64] or an Atomic[%[1]s64]", t.Kind())
	case t.Kind() == reflect.Int32 || t.Kind() == reflect.Int64 || t.Kind() == reflect.Uint32 || t.Kind() == reflect.Uint64:
		return fmt.Sprintf("use an shm.Value[%s] or an Atomic", t)
	case number(t):
		return fmt.Sprintf("use an shm.Value[%s]", t)
	case t.Kind() == reflect.String:
		return "use an shm.String with len= in the tag"
	case t.Kind() == reflect.Struct:
		return "if it has handles, unexport the field and call Bind for it; if it is data, use an shm.Struct[" + t.String() + "]"
	}
	return "unexport the field"
}

// isHandle reports whether Bind can fill a field of this type.
func isHandle(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[handle]()) && ofThisPackage(t)
}

func (v *RawValue[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	var zero T
	*v, err = newRawValue(s, l, zero)
	return err
}

func (v *Value[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	var zero T
	*v, err = newValue(s, l, zero)
	return err
}

func (a *Atomic[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	var zero T
	*a, err = newAtomic(s, l, zero)
	return err
}

func (v *RawStruct[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	var zero T
	*v, err = newRawStruct(s, l, zero)
	return err
}

func (v *Struct[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	var zero T
	*v, err = newStruct(s, l, zero)
	return err
}

func (a *RawArray[T]) bind(s *Segment, l format.Label, n int) (err error) {
	*a, err = newRawArray[T](s, l, n)
	return err
}

func (a *Array[T]) bind(s *Segment, l format.Label, n int) (err error) {
	*a, err = newArray[T](s, l, n)
	return err
}

func (c *CharArray) bind(s *Segment, l format.Label, n int) (err error) {
	*c, err = newCharArray(s, l, n)
	return err
}

func (v *String) bind(s *Segment, l format.Label, n int) (err error) {
	*v, err = newString(s, l, n)
	return err
}

func (c *Counter[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	*c, err = newCounter[T](s, l)
	return err
}

func (g *Gauge[T]) bind(s *Segment, l format.Label, _ int) (err error) {
	*g, err = newGauge[T](s, l)
	return err
}

func (h *Histogram) bind(s *Segment, l format.Label, _ int) (err error) {
	*h, err = newHistogram(s, l, nil)
	return err
}

func (a *AtomicArray[T]) bind(s *Segment, l format.Label, n int) (err error) {
	*a, err = newAtomicArray[T](s, l, n)
	return err
}

func (ms *Mutexes) bind(s *Segment, l format.Label, n int) (err error) {
	*ms, err = newMutexes(s, l, n)
	return err
}

func (t *Table[T]) bind(s *Segment, l format.Label, n int) (err error) {
	*t, err = newTable[T](s, l, n)
	return err
}

func (v *Ring[T]) bind(s *Segment, l format.Label, n int) (err error) {
	*v, err = newRing[T](s, l, n)
	return err
}

// fitsRoom returns why a value of this type cannot be made with that room, or nil.
func (*Struct[T]) fitsRoom(n int64) error { return fitsRoom[T](n) }

func (*Table[T]) fitsRoom(n int64) error { return fitsRoom[T](n) }

func fitsRoom[T any](n int64) error {
	l, err := layoutFor[T]()
	switch {
	case err != nil:
		return err
	case reflect.TypeFor[T]().Kind() != reflect.Struct:
		return errs.Invalid("room= for a %v, which does not grow; use a struct", reflect.TypeFor[T]())
	case int64(l.Size) > n:
		return errs.Invalid("room for %d bytes, and the type takes %d", n, l.Size)
	}
	return nil
}

func (*RawValue[T]) sized() bool { return false }

func (*Value[T]) sized() bool { return false }

func (*Atomic[T]) sized() bool { return false }

func (*RawStruct[T]) sized() bool { return false }

func (*Struct[T]) sized() bool { return false }

func (*RawArray[T]) sized() bool { return true }

func (*Array[T]) sized() bool { return true }

func (*CharArray) sized() bool { return true }

func (*String) sized() bool { return true }

func (*AtomicArray[T]) sized() bool { return true }

func (*Mutexes) sized() bool { return true }

func (*Table[T]) sized() bool { return true }

func (*Ring[T]) sized() bool { return true }

func (*Counter[T]) sized() bool { return false }

func (*Gauge[T]) sized() bool { return false }

func (*Histogram) sized() bool { return false }
