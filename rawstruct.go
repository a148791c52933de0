package shm

import (
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
)

// RawStruct is a struct, or any other type of fixed size, in shared memory without
// synchronisation. A Get beside another process's Set may return some fields of
// the old and some of the new struct. A RawStruct[[16]byte] holds a UUID.
//
// A RawStruct is small and may be copied. It works after Close of its segment. In
// a read-only attachment Set crashes the program (SIGSEGV).
//
// Source: multiprocessing.sharedctypes.RawValue of a ctypes.Structure.
type RawStruct[T any] struct {
	shadow race.Shadow
	p      *T
	m      *mapping
	bools  []mem.ByteRange
}

// NewRawStruct attaches to the struct of that name, or makes it with the value
// init. The error is a *TypeError if T has a field that cannot be shared.
// Otherwise the errors are those of NewRawValue.
func NewRawStruct[T any](s *Segment, name string, init T) (RawStruct[T], error) {
	return newRawStruct(s, format.Label{Name: name}, init)
}

func newRawStruct[T any](s *Segment, l format.Label, init T) (RawStruct[T], error) {
	m, r, err := placeOne(s, l, format.Raw, init)
	if err != nil {
		return RawStruct[T]{}, err
	}
	return rawStructAt[T](m, r.Data), nil
}

// RawStructAt returns the struct at off bytes from the start of a foreign segment.
// The error is a *TypeError if T cannot be shared. It wraps fs.ErrInvalid if the
// struct is not inside the segment or not aligned.
func RawStructAt[T any](s *Segment, off int64) (RawStruct[T], error) {
	l, err := layoutFor[T]()
	if err != nil {
		return RawStruct[T]{}, err
	}
	m, err := s.foreign(off, 1, int64(l.Size), int64(l.Align))
	if err != nil {
		return RawStruct[T]{}, err
	}
	return rawStructAt[T](m, off), nil
}

func rawStructAt[T any](m *mapping, off int64) RawStruct[T] {
	return RawStruct[T]{m.file.cells.Shadow(off, int(mem.Size[T]())), mem.At[T](&m.region, off), m, mem.Bools[T]()}
}

// Get returns a copy. Its bools are 0 or 1, whatever is in memory: the Go compiler
// relies on that, and a faulty peer may have stored 77.
func (v RawStruct[T]) Get() T {
	v.shadow.Read(0, int(mem.Size[T]()))
	x := *v.p
	if v.bools != nil {
		mem.Normalise(&x, v.bools)
	}
	runtime.KeepAlive(v.m)
	return x
}

// Set stores x, field by field.
func (v RawStruct[T]) Set(x T) {
	v.shadow.Write(0, int(mem.Size[T]()))
	*v.p = x
	runtime.KeepAlive(v.m)
}

// Ptr returns the address of the struct, valid until Close of the segment. A bool
// read through it may be neither true nor false if another process is faulty. The race
// detector, which sees Get and Set, does not see what is done through the pointer.
func (v RawStruct[T]) Ptr() *T {
	v.m.lend()
	return v.p
}
