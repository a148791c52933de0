package shm

import (
	"context"
	"fmt"
	"runtime"
)

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
	return newRawStruct(s, label{name: name}, init)
}

func newRawStruct[T any](s *Segment, l label, init T) (RawStruct[T], error) {
	m, r, err := placeOne(s, l, AccessRaw, init)
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

// Struct is a struct, or any other type of fixed size, that changes as a whole:
// Load never waits and never sees some fields of one Store and some of another,
// also while another process is stopped or has died inside. Choose it for
// several numbers under one invariant.
//
// A program whose type only appends fields to the one that another program
// made, and still uses, attaches as well, as long as the new type fits the room
// to spare (half as much again, rounded up to a cache line): each keeps what it
// does not know of the other's. The new fields start from zero, whatever init
// says. A read-only attachment of a longer type sees zeros until somebody has
// made the value grow, and is not told if that is another longer type.
//
// After Close of its segment it goes on working. In a read-only attachment Load
// and Await work, and all else panics with ErrReadOnly.
type Struct[T any] struct{ s *structSlots[T] }

type structSlots[T any] struct {
	slots
	at      [2]*T
	bools   []byteRange
	careful bool // Load must normalise bools, or tell the race detector
	end     int  // bytes up to the end of the last field; tail padding may be another's field
	scratch T    // Update's copy; guarded by the lock
}

// NewStruct attaches to the struct of that name, or makes it with the value
// init. The error is a *TypeError where T has a field that cannot be shared, a
// *LayoutError where what is there is neither T nor a shorter or longer T, or
// else one of NewValue's.
func NewStruct[T any](s *Segment, name string, init T) (Struct[T], error) {
	return newStruct(s, label{name: name}, init)
}

func newStruct[T any](s *Segment, l label, init T) (Struct[T], error) {
	m, r, err := placeOne(s, l, AccessPublished, init)
	if err != nil {
		return Struct[T]{}, err
	}
	layout, err := layoutFor[T]()
	if err != nil {
		return Struct[T]{}, err
	}
	data, bools := m.slotsOf(r), boolsOf[T]()
	if !m.readOnly {
		if err := m.guarded(func() error { data.reach(uint32(layout.Size)); return nil }); err != nil {
			return Struct[T]{}, fmt.Errorf("shm: value %q: %w", l.name, err)
		}
	}
	return Struct[T]{&structSlots[T]{
		slots: *data,
		at:    [2]*T{at[T](m, r.elements()), at[T](m, r.elements()+roundUp(r.capacity))},
		bools: bools, careful: bools != nil || raceEnabled,
		end: layout.end(),
	}}, nil
}

// Load returns a copy of what was committed last. It does not wait, but for a
// writer that never rests: see String.
func (v Struct[T]) Load() (x T) {
	s := v.s
	if !storesInOrder || s.careful {
		return s.loadSlow()
	}
	count := s.cell.commit.Load()
	x = *s.at[count&1]
	if s.cell.commit.Load() != count {
		return s.loadSlow()
	}
	runtime.KeepAlive(s.mu)
	return x
}

// loadSlow is Load after a commit came in between, or where the copy needs more
// than copying.
//
//go:noinline
func (s *structSlots[T]) loadSlow() (x T) {
	s.read(func(slot []byte) { copyBytes(bytesOf(&x), slot) })
	if s.bools != nil {
		normalise(&x, s.bools)
	}
	return x
}

// Store commits x.
func (v Struct[T]) Store(x T) {
	s := v.s
	s.mu.lock()
	count := s.cell.commit.Load()
	if s.end == int(size[T]()) && s.cell.extent.Load() == uint32(s.end) {
		*s.at[(count+1)&1] = x // there is nothing else, as mostly
	} else {
		s.fill(count, &x)
	}
	s.publish(count)
	s.mu.unlock()
	s.mu.notify()
}

// fill makes *x of the idle slot; the lock is held.
func (s *structSlots[T]) fill(count uint64, x *T) {
	s.carry(count, s.end)
	copy(s.data[(count+1)&1][:s.end], bytesOf(x))
}

// Update calls f with a copy and commits what f made of it. The copy is good
// until f returns. If f panics or calls runtime.Goexit, nothing is committed and
// the lock is released.
func (v Struct[T]) Update(f func(*T)) {
	s := v.s
	s.mu.lock()
	done := false
	defer func() { s.mu.unlockAfter(done) }()
	count := s.cell.commit.Load()
	s.scratch = *s.at[count&1]
	if s.bools != nil {
		normalise(&s.scratch, s.bools)
	}
	f(&s.scratch)
	s.fill(count, &s.scratch)
	s.publish(count)
	done = true
}

// Await sleeps until ok of the struct is true, and returns the struct, or until
// ctx is done, and returns its error: see Value.Await.
func (v Struct[T]) Await(ctx context.Context, ok func(T) bool) (T, error) {
	var x T
	err := v.s.mu.await(ctx, v.s.cell.commit.Load, func() bool {
		x = v.Load()
		return ok(x)
	})
	return x, err
}

// Mutex returns the lock that Store and Update take. While holding it only Load
// may be used: the others would wait for themselves.
func (v Struct[T]) Mutex() *Mutex { return v.s.mu }
