package shm

import (
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"golang.org/x/exp/constraints"
)

// Numeric permits the number types that have the same size everywhere. A type
// argument of int, uint or uintptr does not compile: their size differs between
// processes. Named types such as time.Duration are permitted.
type Numeric interface {
	constraints.Integer | constraints.Float | constraints.Complex
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64 | ~complex64 | ~complex128
}

// RawValue is a number in shared memory. It is as fast as a Go pointer and no more
// synchronised than one. A Get beside another process's Set returns the old or
// the new number; a complex number may be half of each. Two processes that add at
// the same time lose additions. Use it if one process writes and the others only
// read, or if a Mutex guards it. Otherwise use Atomic or Value.
//
// A RawValue is small and may be copied. It works after Close of its segment. In
// a read-only attachment Set crashes the program (SIGSEGV).
//
// Source: multiprocessing.sharedctypes.RawValue, whose .value is Get and Set
// (https://docs.python.org/3/library/multiprocessing.html).
type RawValue[T Numeric] struct {
	shadow race.Shadow
	p      *T
	m      *mapping
}

// NewRawValue attaches to the number of that name, or makes it with the value
// init. The error is a *LayoutError if a value of that name has another type.
// Otherwise it wraps ErrClosed, ErrFull, ErrForeign, ErrReadOnly (the value does
// not exist, and the attachment is read-only), syscall.ENOSPC (the filesystem is
// full), or fs.ErrInvalid: the name is empty, has more than 255 bytes, or is not
// printable UTF-8; and from the constructors that take a length, if it is negative
// or more than a value can have.
func NewRawValue[T Numeric](s *Segment, name string, init T) (RawValue[T], error) {
	return newRawValue(s, format.Label{Name: name}, init)
}

func newRawValue[T Numeric](s *Segment, l format.Label, init T) (RawValue[T], error) {
	m, r, err := placeOne(s, l, format.Raw, init)
	if err != nil {
		return RawValue[T]{}, err
	}
	return rawValueAt[T](m, r.Data), nil
}

// RawValueAt returns the number at off bytes from the start of a foreign segment.
// The error wraps fs.ErrInvalid if off is negative, outside the segment, or not
// aligned to the type.
func RawValueAt[T Numeric](s *Segment, off int64) (RawValue[T], error) {
	m, err := s.foreign(off, 1, int64(mem.Size[T]()), int64(mem.Align[T]()))
	if err != nil {
		return RawValue[T]{}, err
	}
	return rawValueAt[T](m, off), nil
}

func rawValueAt[T Numeric](m *mapping, off int64) RawValue[T] {
	return RawValue[T]{m.file.cells.Shadow(off, int(mem.Size[T]())), mem.At[T](&m.region, off), m}
}

// Get returns the number.
func (v RawValue[T]) Get() T {
	v.shadow.Read(0, int(mem.Size[T]()))
	x := *v.p
	runtime.KeepAlive(v.m)
	return x
}

// Set stores x.
func (v RawValue[T]) Set(x T) {
	v.shadow.Write(0, int(mem.Size[T]()))
	*v.p = x
	runtime.KeepAlive(v.m)
}

// Ptr returns the address of the number, valid until Close of the segment. The race
// detector, which sees Get and Set, does not see what is done through the pointer.
func (v RawValue[T]) Ptr() *T {
	v.m.lend()
	return v.p
}
