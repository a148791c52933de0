package shm

import (
	"runtime"

	"golang.org/x/exp/constraints"
)

// Numeric is the numbers that have one size everywhere: int, uint and uintptr,
// whose size differs between processes, do not compile. Named types such as
// time.Duration are numbers like any other.
type Numeric interface {
	constraints.Integer | constraints.Float | constraints.Complex
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64 | ~complex64 | ~complex128
}

// RawValue is a number in shared memory, as fast as a Go pointer and no more
// synchronised than one: a Get beside another process's Set sees the old or the
// new number (a complex one may be half of each), and two processes that add at
// once lose additions. Choose it where one process writes and the others only
// look, or where a Mutex guards it; else Atomic or Value.
//
// A RawValue is small and copied freely. After Close of its segment it goes on
// working; in a read-only attachment Set is a fault of the hardware.
//
// Source: multiprocessing.sharedctypes.RawValue, whose .value is Get and Set
// (https://docs.python.org/3/library/multiprocessing.html).
type RawValue[T Numeric] struct {
	shadow raceShadow
	p      *T
	m      *mapping
}

// NewRawValue attaches to the number of that name, or makes it with the value
// init. Errors: *LayoutError where the name is something else, ErrClosed,
// ErrFull, ErrReadOnly where it would have to be made in a read-only
// attachment, ErrForeign, and syscall.ENOSPC on a full filesystem.
func NewRawValue[T Numeric](s *Segment, name string, init T) (RawValue[T], error) {
	return newRawValue(s, label{name: name}, init)
}

func newRawValue[T Numeric](s *Segment, l label, init T) (RawValue[T], error) {
	m, r, err := placeOne(s, l, AccessRaw, init)
	if err != nil {
		return RawValue[T]{}, err
	}
	return rawValueAt[T](m, r.data), nil
}

// RawValueAt returns the number at off bytes from the start of a foreign
// segment. The error wraps fs.ErrInvalid where off is outside, negative or not
// aligned to the type.
func RawValueAt[T Numeric](s *Segment, off int64) (RawValue[T], error) {
	m, err := s.foreign(off, 1, int64(size[T]()), int64(alignOf[T]()))
	if err != nil {
		return RawValue[T]{}, err
	}
	return rawValueAt[T](m, off), nil
}

func rawValueAt[T Numeric](m *mapping, off int64) RawValue[T] {
	return RawValue[T]{m.file.cells.shadow(off), at[T](m, off), m}
}

// placeOne finds or makes a single number or struct.
func placeOne[T any](s *Segment, l label, access Access, init T) (*mapping, *record, error) {
	layout, err := layoutFor[T]()
	if err != nil {
		return nil, nil, err
	}
	return s.place(shape{label: l, layout: layout, access: access, kind: kindSingle}, func(m *mapping, r *record) {
		if !r.grows() {
			*at[T](m, r.elements()) = init
			return
		}
		// Tail padding stays zero: a longer type may have a field there.
		copy(sliceAt[byte](m, r.elements(), layout.end()), bytesOf(&init))
		killPoint(40)
		at[lockCell](m, r.data).extent.Store(uint32(layout.Size))
		killPoint(41)
	})
}

// Get returns the number.
func (v RawValue[T]) Get() T {
	v.shadow.read()
	x := *v.p
	runtime.KeepAlive(v.m)
	return x
}

// Set stores x.
func (v RawValue[T]) Set(x T) {
	v.shadow.write()
	*v.p = x
	runtime.KeepAlive(v.m)
}

// Ptr returns the address of the number, valid until Close of the segment.
func (v RawValue[T]) Ptr() *T { return v.p }
