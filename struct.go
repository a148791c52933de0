package shm

import "runtime"

// RawStruct is a struct, or any other type of fixed size, in shared memory,
// without synchronisation: a Get beside another process's Set may return some
// fields of the old and some of the new. A UUID is a RawStruct[[16]byte].
//
// Source: multiprocessing.sharedctypes.RawValue of a ctypes.Structure.
type RawStruct[T any] struct {
	p     *T
	m     *mapping
	bools []byteRange
}

// NewRawStruct attaches to the struct of that name, or makes it with the value
// init. The error is a *TypeError where T has a field that cannot be shared, or
// else one of NewRawValue's.
func NewRawStruct[T any](s *Segment, name string, init T) (RawStruct[T], error) {
	m, r, err := placeOne(s, name, AccessRaw, init)
	if err != nil {
		return RawStruct[T]{}, err
	}
	return RawStruct[T]{at[T](m, r.data), m, boolsOf[T]()}, nil
}

// RawStructAt returns the struct at off bytes from the start of a foreign
// segment. The error wraps fs.ErrInvalid where it is not inside or not aligned,
// and is a *TypeError where T cannot be shared.
func RawStructAt[T any](s *Segment, off int64) (RawStruct[T], error) {
	l, err := layoutFor[T]()
	if err != nil {
		return RawStruct[T]{}, err
	}
	m, err := s.foreign(off, 1, int64(l.Size), int64(l.Align))
	if err != nil {
		return RawStruct[T]{}, err
	}
	return RawStruct[T]{at[T](m, off), m, boolsOf[T]()}, nil
}

// Get returns a copy. Its bools are 0 or 1 whatever is in memory: Go's compiler
// relies on it, and a broken peer may have left 77.
func (v RawStruct[T]) Get() T {
	x := *v.p
	if v.bools != nil {
		normalise(&x, v.bools)
	}
	runtime.KeepAlive(v.m)
	return x
}

// Set stores x, field by field.
func (v RawStruct[T]) Set(x T) {
	*v.p = x
	runtime.KeepAlive(v.m)
}

// Ptr returns the address of the struct, valid until Close of the segment. A
// bool read through it may be neither true nor false if another process is
// broken.
func (v RawStruct[T]) Ptr() *T { return v.p }
