package shm

import (
	"fmt"
	"strings"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
)

// Description is what the directory says of a value, without what the value is: enough
// to make one like it in another segment, also by a program that does not have its Go
// type, and also on another machine. Its JSON is stable.
type Description struct {
	Name   string    `json:"name"`
	Type   string    `json:"type"`             // of its handles: Value, Struct, Ring …; what follows a [ is ignored
	Layout string    `json:"layout,omitempty"` // Layout.Format of one element; "" for Mutex and Mutexes
	Len    int       `json:"len,omitempty"`    // as Entry.Len
	Bounds []float64 `json:"bounds,omitempty"` // of a Histogram
	Unit   string    `json:"unit,omitempty"`
	Help   string    `json:"help,omitempty"`
	Hint   string    `json:"hint,omitempty"` // as Entry.Hint
	Room   int64     `json:"room,omitempty"` // of a Struct, and of a row of a Table: bytes that it may grow to
}

// forms has access and kind of the values that each type of handles attaches to.
var forms = map[string]struct {
	access format.Access
	kind   format.Kind
}{
	"RawValue":    {format.Raw, format.KindSingle},
	"RawStruct":   {format.Raw, format.KindSingle},
	"RawArray":    {format.Raw, format.KindArray},
	"CharArray":   {format.Raw, format.KindChars},
	"Atomic":      {format.Atomic, format.KindSingle},
	"AtomicArray": {format.Atomic, format.KindArray},
	"Counter":     {format.Atomic, format.KindCounter},
	"Gauge":       {format.Atomic, format.KindGauge},
	"Histogram":   {format.Atomic, format.KindHistogram},
	"Value":       {format.Locked, format.KindSingle},
	"Array":       {format.Locked, format.KindArray},
	"Mutex":       {format.Locked, format.KindMutex},
	"Mutexes":     {format.Locked, format.KindMutex},
	"Struct":      {format.Published, format.KindSingle},
	"Table":       {format.Published, format.KindArray},
	"String":      {format.Published, format.KindChars},
	"Ring":        {format.Published, format.KindRing},
}

// Description returns what the directory says of the value. The error wraps ErrFormat if
// the bounds of a Histogram are damaged.
func (e Entry) Description() (Description, error) {
	d := Description{Name: e.Name, Layout: e.Layout.Format, Len: e.Len, Unit: e.Unit, Help: e.Help, Hint: e.Hint}
	d.Type, _, _ = strings.Cut(e.Type(), "[")
	if e.record.Grows() {
		d.Room = e.record.Capacity
	}
	if e.record.Kind == format.KindHistogram {
		var err error
		if d.Bounds, err = e.m.boundsOf(e.record); err != nil {
			return Description{}, err
		}
	}
	return d, nil
}

// Make attaches to the value of that description, or makes it, as the constructor of its
// type does: with all bits 0. A Struct that is there and shorter grows. The errors are
// those of NewRawValue, and the error wraps fs.ErrInvalid if there can be no such value.
func (s *Segment) Make(d Description) (Entry, error) {
	want, err := d.shape()
	if err != nil {
		return Entry{}, fmt.Errorf("shm: value %q: %w", d.Name, err)
	}
	var m *mapping
	var r *format.Record
	if want.Kind == format.KindHistogram {
		m, r, _, err = s.placeBounds(want, d.Bounds)
	} else {
		m, r, err = s.place(want, nil)
	}
	if err != nil {
		return Entry{}, err
	}
	return s.entry(m, r), nil
}

// shape returns the shape of the values of a description. The error wraps fs.ErrInvalid.
func (d Description) shape() (want format.Shape, err error) {
	name, _, _ := strings.Cut(d.Type, "[")
	form, ok := forms[name]
	if !ok {
		return want, errs.Invalid("no type is called %q", d.Type)
	}
	hint, known := format.ParseHint(d.Hint)
	if !known && d.Hint != "" {
		return want, errs.Invalid("no hint is called %q", d.Hint)
	}
	want = format.Shape{
		Access: form.access, Kind: form.kind, Count: int64(d.Len),
		Label: format.Label{Name: d.Name, Unit: d.Unit, Help: d.Help, Hint: hint},
	}
	if form.kind != format.KindMutex {
		l, err := layout.Parse(d.Layout)
		if err != nil {
			return want, errs.Invalid("%v", err)
		}
		want.Layout = &l
	} else if d.Layout != "" {
		return want, errs.Invalid("a %s with the layout %q", name, d.Layout)
	}
	if want.Kind == format.KindHistogram {
		if err := checkBounds(d.Bounds); err != nil {
			return want, errs.Invalid("%v", err)
		}
		if d.Len != len(d.Bounds) {
			return want, errs.Invalid("length %d with %d bounds", d.Len, len(d.Bounds))
		}
	}
	// Whoever describes a value from elsewhere has the room that was chosen there, but room
	// for less than the value takes is no description of anything.
	if want.Grows() {
		want.Reserve = d.Room
	}
	if err := want.Check(); err != nil {
		return want, errs.Invalid("%v", err)
	}
	if name == "Mutexes" && d.Len == 0 {
		return want, errs.Invalid("Mutexes of length 0")
	}
	return want, nil
}
