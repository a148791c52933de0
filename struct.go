package shm

import (
	"context"
	"iter"
	"runtime"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/slots"
)

// Struct is a struct, or any other type of fixed size, that changes as a whole.
// Load does not wait for a process that has stopped or died while it changed the
// struct, and never returns some fields of one Store and some of another. Use it for several numbers that share one invariant.
//
// A type that only appends fields to the type of an existing value attaches to
// that value too, if it fits: a Struct reserves half as much again as its first type
// needs, rounded up to a cache line. A struct inside it may have fields appended if it
// is the last field, and so on inwards. Other structs inside, and elements of arrays,
// cannot grow: give them a field to spare, such as Spare [4]int64. Programs with the shorter type may stay attached. Each keeps the
// fields that it does not know. New fields start from zero, whatever init says.
// The option room of Bind's tags reserves more. No type has more than 4 GiB less one byte.
// Through a read-only attachment, fields that only your type has read as zero until
// a writer grows the value; if that writer's type is longer still, the attachment
// is not told.
//
// A Struct works after Close of its segment, but nothing is awaited any more. In a
// read-only attachment Load, Await and Changes work, and the other methods panic with
// ErrReadOnly.
type Struct[T any] struct {
	s    *structSlots[T]
	cell *format.LockCell // with the two slots behind it, in the mapping also if that is read-only
}

// structSlots is what all Structs of one value have in common: a struct alone, or the
// rows of a table.
type structSlots[T any] struct {
	m      *mapping
	name   string
	token  race.Token // of a struct alone
	apart  uintptr    // bytes from one slot to the other
	room   int64      // capacity of a slot
	bools  []mem.ByteRange
	end    int            // bytes up to the end of the last field; tail padding may be another type's field
	whole  uint32         // the extent of a slot that holds a T and nothing else; 1<<32-1 if tail padding may
	size   uint32         // of T
	padded *layout.Layout // of T, if it has padding; else nil
	one    structLock[T]  // of a struct alone
	rows   *rows[T]       // of a table; nil for a struct alone
}

// NewStruct attaches to the struct of that name, or makes it with the value init.
// The error is a *TypeError if T has a field that cannot be shared, and a
// *LayoutError if the existing value is neither T nor a shorter or longer T.
// Otherwise the errors are those of NewValue.
func NewStruct[T any](s *Segment, name string, init T) (Struct[T], error) {
	return newStruct(s, format.Label{Name: name}, init)
}

func newStruct[T any](s *Segment, l format.Label, init T) (Struct[T], error) {
	m, r, err := placeOne(s, l, format.Published, init)
	if err != nil {
		return Struct[T]{}, err
	}
	of, err := structSlotsOf[T](m, r)
	if err != nil {
		return Struct[T]{}, err
	}
	of.token, of.one.Lock = m.file.cells.Token(r.Data), m.lockOf(r)
	v := Struct[T]{of, mem.At[format.LockCell](&m.region, r.Data)}
	if !m.region.ReadOnly {
		if err := v.guarded(func() error { slots.Reach(v.cell, of.size); return nil }); err != nil {
			return Struct[T]{}, errs.Wrap(err, "value %q", l.Name)
		}
	}
	return v, nil
}

// structSlotsOf returns what the structs of a record have in common, without a lock.
func structSlotsOf[T any](m *mapping, r *format.Record) (*structSlots[T], error) {
	form, err := layoutFor[T]()
	if err != nil {
		return nil, err
	}
	s := &structSlots[T]{
		m:     m,
		name:  r.Name,
		apart: uintptr(format.RoundUp(r.Capacity)),
		room:  r.Capacity,
		bools: mem.Bools[T](),
		end:   form.End(),
		whole: uint32(form.End()),
		size:  uint32(form.Size),
	}
	if form.Padded() {
		s.padded = form
	}
	if form.End() < form.Size {
		s.whole = 1<<32 - 1
	}
	return s, nil
}

// slot returns the slot of commit number count.
func (v Struct[T]) slot(count uint64) *T {
	return mem.After[T](v.cell, format.LockedOffset+uintptr(count&1)*v.s.apart)
}

// lock returns the lock of the struct.
func (v Struct[T]) lock() *structLock[T] {
	if v.s.rows != nil {
		return v.s.rows.rowLock(v.cell)
	}
	return &v.s.one
}

// bytes returns the slot of commit number count, with the fields that longer types
// have in it.
func (v Struct[T]) bytes(count uint64) []byte {
	return mem.Slice[byte](&v.s.m.region, v.off()+format.LockedOffset+int64(count&1)*int64(v.s.apart), int(v.s.room))
}

// off returns where the struct's lock is in the segment.
func (v Struct[T]) off() int64 { return mem.OffsetOf(&v.s.m.region, v.cell) }

// Load returns a copy of the newest commit. It does not wait, except if writers
// commit without a pause: see String.
func (v Struct[T]) Load() (x T) {
	s, cell := v.s, v.cell
	if !mem.StoresInOrder || race.Enabled {
		return v.loadSlow()
	}
	count := cell.Commit.Load()
	x = *v.slot(count)
	if cell.Commit.Load() != count {
		return v.loadSlow()
	}
	if s.bools != nil {
		mem.Normalise(&x, s.bools)
	}
	runtime.KeepAlive(s)
	return x
}

// loadSlow is Load after a commit came in between, or where a plain copy does not
// suffice.
//
//go:noinline
func (v Struct[T]) loadSlow() T {
	_, x := v.newest()
	return x
}

// newest returns the newest commit and its number.
func (v Struct[T]) newest() (count uint64, x T) {
	count = v.newestTo(&x)
	return count, x
}

// newestTo copies the newest commit to *to, and returns its number.
func (v Struct[T]) newestTo(to *T) (count uint64) {
	s := v.s
	token := s.token
	if race.Enabled && s.rows != nil {
		token = s.m.file.cells.Token(v.off())
	}
	pair := slots.Behind(&s.m.region, v.off(), s.room, token)
	pair.LockOf = func() *robust.Lock { return v.lock().Lock }
	count = pair.Read(func(slot []byte) { mem.CopyBytes(mem.BytesOf(to), slot) })
	if s.bools != nil {
		mem.Normalise(to, s.bools)
	}
	runtime.KeepAlive(s)
	return count
}

// LoadTo is Load into *to, which saves a copy of a large struct. No other goroutine may
// use *to meanwhile. It is whole when LoadTo returns.
func (v Struct[T]) LoadTo(to *T) {
	s, cell := v.s, v.cell
	if !mem.StoresInOrder || race.Enabled {
		v.loadToSlow(to)
		return
	}
	count := cell.Commit.Load()
	*to = *v.slot(count)
	if cell.Commit.Load() != count {
		v.loadToSlow(to)
		return
	}
	if s.bools != nil {
		mem.Normalise(to, s.bools)
	}
	runtime.KeepAlive(s)
}

// loadToSlow is loadSlow for LoadTo.
//
//go:noinline
func (v Struct[T]) loadToSlow(to *T) { v.newestTo(to) }

// StoreFrom is Store of *from, which saves a copy of a large struct. No other goroutine
// may write to *from meanwhile.
func (v Struct[T]) StoreFrom(from *T) {
	s, cell, mu := v.s, v.cell, v.lock()
	_ = *from // a nil pointer panics here, not with the lock held
	mu.Acquire()
	count := cell.Commit.Load()
	changed := true
	switch {
	case mu.Awaited() && v.same(count, from):
		changed = false
	case cell.Extent.Load() == s.whole:
		*v.slot(count + 1) = *from
		slots.Publish(cell, mu.Token, count)
	default:
		v.fill(count, from)
		slots.Publish(cell, mu.Token, count)
	}
	if left := mu.Free(); left != 0 {
		mu.Finish(left, changed)
	}
	runtime.KeepAlive(s)
}

// Store commits x.
func (v Struct[T]) Store(x T) {
	s, cell, mu := v.s, v.cell, v.lock()
	mu.Acquire()
	count := cell.Commit.Load()
	changed := true
	switch {
	case mu.Awaited() && v.same(count, &x):
		changed = false
	case cell.Extent.Load() == s.whole:
		*v.slot(count + 1) = x
		slots.Publish(cell, mu.Token, count)
	default:
		v.fill(count, &x)
		slots.Publish(cell, mu.Token, count)
	}
	if left := mu.Free(); left != 0 {
		mu.Finish(left, changed)
	}
	runtime.KeepAlive(s)
}

// fill copies *x to the idle slot, and also the fields that longer types have after
// it. The caller holds the lock.
//
//go:noinline
func (v Struct[T]) fill(count uint64, x *T) {
	idle := v.bytes(count + 1)
	slots.Carry(v.cell, idle, v.bytes(count), v.s.end)
	copy(idle[:v.s.end], mem.BytesOf(x))
}

// same reports whether *x is what is committed, bit by bit. The caller holds the lock.
//
//go:noinline
func (v Struct[T]) same(count uint64, x *T) bool {
	if mem.SameBytes(v.slot(count), x) {
		return true
	}
	padded := v.s.padded
	return padded != nil && padded.SameData(v.bytes(count)[:padded.Size], mem.BytesOf(x))
}

// Update calls f with a copy of the struct, and commits what f made of it. f must
// not keep the pointer, and must not call Store or Update of this Struct. If f
// panics or calls runtime.Goexit, Update commits nothing and releases the lock. If f
// leaves all bits as they were, Update commits nothing and wakes nobody.
func (v Struct[T]) Update(f func(*T)) {
	mu := v.lock()
	mu.Acquire()
	held := mu
	defer func() {
		if held != nil { // f did not return
			held.ReleaseAfter(false)
		}
	}()
	count := v.draw(mu)
	f(&mu.scratch)
	mu.MustHold("Update")
	changed := v.commit(count, mu)
	held = nil
	if left := mu.FreeAfter(); left != 0 {
		mu.Finish(left, changed)
	}
	runtime.KeepAlive(v.s)
}

// draw copies what is committed to scratch, and returns its number. The caller holds
// the lock.
func (v Struct[T]) draw(mu *structLock[T]) (count uint64) {
	count = v.cell.Commit.Load()
	mu.scratch = *v.slot(count)
	if v.s.bools != nil {
		mem.Normalise(&mu.scratch, v.s.bools)
	}
	return count
}

// commit commits scratch, if it is not what is committed, and reports whether it did.
// The caller holds the lock.
func (v Struct[T]) commit(count uint64, mu *structLock[T]) (changed bool) {
	switch {
	case v.same(count, &mu.scratch):
		return false
	case v.cell.Extent.Load() == v.s.whole:
		mem.CopyFields(v.slot(count+1), &mu.scratch)
	default:
		v.fill(count, &mu.scratch)
	}
	slots.Publish(v.cell, mu.Token, count)
	return true
}

// UpdateContext is Update that can be given up, and refused. If ctx is done before the
// lock is taken, the error wraps the context's and f was not called; ctx does not
// limit f. If f returns an error, nothing is committed, nobody is woken, and
// UpdateContext returns the error as it is. The error wraps ErrFormat if another
// program has cut the file off.
func (v Struct[T]) UpdateContext(ctx context.Context, f func(*T) error) error {
	return v.guarded(func() (err error) {
		mu := v.lock()
		if err := mu.AcquireContext(ctx); err != nil {
			return err
		}
		returned, changed := false, false
		defer func() {
			if changed {
				mu.UnlockAfter(returned)
			} else {
				mu.ReleaseAfter(returned)
			}
			runtime.KeepAlive(v.s)
		}()
		count := v.draw(mu)
		err = f(&mu.scratch)
		if err == nil {
			mu.MustHold("UpdateContext")
		}
		returned = true
		if err == nil {
			changed = v.commit(count, mu)
		}
		return err
	})
}

// StoreContext is Store that can be given up: if ctx is done before the lock is taken,
// nothing is committed and the error wraps the context's.
func (v Struct[T]) StoreContext(ctx context.Context, x T) error {
	return v.UpdateContext(ctx, func(p *T) error { *p = x; return nil })
}

// Await sleeps until ok returns true for the struct, and then returns the struct. If
// ctx is done first, it returns the struct last seen and an error that wraps the
// context's. See Value.Await.
func (v Struct[T]) Await(ctx context.Context, ok func(T) bool) (T, error) {
	var x T
	err := v.guarded(func() error {
		return v.lock().Await(ctx, v.cell.Commit.Load, func() bool {
			x = v.Load()
			return ok(x)
		})
	})
	return x, err
}

// Changes yields the newest commit with its number, and then each newer one, until
// ctx is done, or a Close ends it as it ends Await. It waits in between as Await
// does. The body of the loop may take its time, and change the struct: Changes then
// yields the newest commit and skips those before it. No commit is yielded twice.
//
// Numbers of commits rise by one and never repeat as long as the segment lives, in all
// processes. An Update that leaves all bits as they were is no commit. A Store of what
// is there already may be one.
func (v Struct[T]) Changes(ctx context.Context) iter.Seq2[uint64, T] {
	version := func() uint64 { return v.cell.Commit.Load() } // v.cell.Commit.Load would look at the memory here
	return changes(ctx, v.guarded, v.lock().Lock, version, func(uint64, T) (uint64, T) { return v.newest() })
}

// guarded calls f, which touches the memory, and returns an error if the file was cut
// off.
func (v Struct[T]) guarded(f func() error) error { return v.s.m.region.Guarded(f) }

// Mutex returns the lock that Store and Update take. While you hold it, only Load
// may be called: the others would be a self-deadlock.
func (v Struct[T]) Mutex() *Mutex { return mutexOf(v.lock().Lock) }
