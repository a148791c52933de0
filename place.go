package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
)

// place finds the value that want describes, or makes it: init, which may be nil,
// then writes the first value before any process can see it. If several processes
// do this at once, the first one's init stands.
//
// A Count of -1 takes the length found.
func (s *Segment) place(want format.Shape, init func(*mapping, *format.Record)) (*mapping, *format.Record, error) {
	var r *format.Record
	m, err := s.namedMapping()
	if err == nil {
		err = m.region.Guarded(func() (err error) {
			r, err = s.find(m, &want)
			if err == nil && (want.HasLock() || want.Kind == format.KindGauge) {
				// This comes before the value is made, so a process that cannot lock
				// makes none.
				err = m.party.Take(s.file)
			}
			if err == nil && (r == nil || want.Outgrows(r) && !m.region.ReadOnly) {
				r, err = s.add(m, &want, init)
			}
			return err
		})
	}
	if err != nil {
		var mismatch *LayoutError
		if errors.As(err, &mismatch) { // it names the value
			mismatch.Segment = m.region.Path
			return nil, nil, err
		}
		return nil, nil, errs.Wrap(s.closedError(err), "value %q", want.Name)
	}
	return m, r, nil
}

// find returns the value that want describes, or nil if it has to be made.
func (s *Segment) find(m *mapping, want *format.Shape) (*format.Record, error) {
	r, err := m.dir.Find(s.file, want.Name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		if m.region.ReadOnly {
			return nil, fmt.Errorf("%w: there is no such value in %s to attach to (%w)", ErrReadOnly, s.label(), fs.ErrNotExist)
		}
		if want.Count < 0 {
			what := "no length was given, and there is no such value in %s to take it from: %w"
			if want.Kind == format.KindHistogram {
				what = "no bounds were given, and there is no such value in %s to take them from: %w"
			}
			return nil, fmt.Errorf(what, s.label(), fs.ErrNotExist)
		}
		return nil, nil
	}
	if err := match(want, r); err != nil {
		return r, err
	}
	want.Count = r.Count
	return r, nil
}

// add makes the value, or grows it, unless another process has done so.
func (s *Segment) add(m *mapping, want *format.Shape, init func(*mapping, *format.Record)) (*format.Record, error) {
	var write func(*format.Record)
	if init != nil {
		write = func(r *format.Record) { init(m, r) }
	}
	r, err := m.dir.Add(s.file, want, write)
	if err != nil {
		return nil, err
	}
	return r, match(want, r)
}

// match compares what is there with what is wanted. The error is a *LayoutError.
func match(want *format.Shape, r *format.Record) error {
	sized := *want
	if want.Count < 0 && r.Count > 0 {
		sized.Count = r.Count
	}
	alike := sized.Access == r.Access && sized.Kind == r.Kind && sized.Count == r.Count
	if alike && layout.Same(want.Layout, r.Layout) {
		return nil
	}
	reason := ""
	if alike && want.Grows() {
		switch {
		case sized.Outgrows(r), r.Layout.Extends(*want.Layout):
			return nil
		case want.Layout.Extends(*r.Layout):
			reason = fmt.Sprintf("it only appends fields, but there is room for %d bytes and it takes %d; the type that made the value decides the room: half as much again as it takes, so give it a field to spare, such as Spare [64]byte, or the option room=%d, or more, in a tag of Bind", r.Capacity, want.Layout.Size, want.Layout.Size)
		default:
			reason = "a struct may only have fields appended"
			if layout.DifferInside(*r.Layout, *want.Layout) {
				reason += ", and a struct inside it only if it is the last field; use elements of a spare field that the inner struct had from the start, such as Spare [4]int64, or append a field to the outermost struct"
			}
		}
	}
	return mismatch(want, r, reason)
}

// mismatch returns the error that r is not what is wanted.
func mismatch(want *format.Shape, r *format.Record, reason string) *LayoutError {
	return &LayoutError{
		Name: r.Name, Have: layoutFrom(r.Layout), Want: layoutFrom(want.Layout),
		HaveLen: int(r.Count), WantLen: int(max(want.Count, 0)), HaveAccess: Access(r.Access), WantAccess: Access(want.Access),
		Pid: int(r.Pid), Program: r.Program, Reason: reason, haveKind: r.Kind, wantKind: want.Kind, anyLen: want.Count < 0,
	}
}

// placeOne finds or makes a single number or struct.
func placeOne[T any](s *Segment, l format.Label, access format.Access, init T) (*mapping, *format.Record, error) {
	form, err := layoutFor[T]()
	if err != nil {
		return nil, nil, err
	}
	return s.place(format.Shape{Label: hinted[T](l), Layout: form, Access: access, Kind: format.KindSingle}, func(m *mapping, r *format.Record) {
		if !r.Grows() {
			*mem.At[T](&m.region, r.Elements()) = init
			return
		}
		// Tail padding stays zero: a longer type may have a field there.
		copy(mem.Slice[byte](&m.region, r.Elements(), form.End()), mem.BytesOf(&init))
		killpoint.At(killpoint.StructInitialised)
		mem.At[format.LockCell](&m.region, r.Data).Extent.Store(uint32(form.Size))
		killpoint.At(killpoint.ExtentInitialised)
	})
}

// placeMany finds or makes n numbers; n 0 takes the length found.
func placeMany[T any](s *Segment, l format.Label, access format.Access, n int) (*mapping, *format.Record, error) {
	form, err := layoutFor[T]()
	if err != nil {
		return nil, nil, err
	}
	return s.placeLong(format.Shape{Label: hinted[T](l), Layout: form, Access: access, Kind: format.KindArray}, n)
}

// hinted returns the label of numbers of type T, with the hint that the type itself gives.
func hinted[T any](l format.Label) format.Label {
	if _, ok := any((*T)(nil)).(*time.Duration); ok && l.Hint == format.HintNone {
		l.Hint = format.HintDuration
	}
	return l
}

// placeChars finds or makes a C string of n bytes; n 0 takes the size found.
func (s *Segment) placeChars(l format.Label, access format.Access, n int) (*mapping, *format.Record, error) {
	return s.placeLong(format.Shape{Label: l, Layout: layout.Chars, Access: access, Kind: format.KindChars}, n)
}

// placeLong is place for a value with a length; n 0 takes the length found.
func (s *Segment) placeLong(want format.Shape, n int) (*mapping, *format.Record, error) {
	switch want.Count = int64(n); {
	case n < 0:
		return nil, nil, fmt.Errorf("shm: value %q: %w: length %d", want.Name, fs.ErrInvalid, n)
	case n == 0:
		want.Count = -1
	}
	return s.place(want, nil)
}
