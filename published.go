package shm

import (
	"strconv"
	"sync/atomic"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/slots"
)

// A Struct and a String are published values: they keep two slots, of which a
// writer fills the idle one and commits it by one store. Package slots has the
// protocol.

// readSlotsOf returns the slots of a published value for reading alone. That
// needs no lease.
func (m *mapping) readSlotsOf(r *format.Record) *slots.Pair {
	return slots.At(&m.region, r, m.file.cells.Token(r.Data))
}

// slotsOf returns the slots of a published value for reading and writing.
func (m *mapping) slotsOf(r *format.Record) *slots.Pair {
	p := m.readSlotsOf(r)
	p.Lock = m.lockOf(r)
	return p
}

// structLock is the lock of one struct, and what it guards in this process.
type structLock[T any] struct {
	*robust.Lock
	scratch T // Update's copy
}

// rows is the rows of a table, and their locks in this process.
type rows[T any] struct {
	each   []struct{} // as long as the table; it takes no memory
	first  *format.LockCell
	size   uintptr // bytes of a row
	m      *mapping
	off    int64 // of the first row
	name   string
	extent uint32 // bytes of T
	locks  lazily[structLock[T]]
}

// rowsOf returns the rows of a record.
func rowsOf[T any](m *mapping, r *format.Record, extent uint32) *rows[T] {
	return &rows[T]{
		each:   make([]struct{}, r.Count),
		first:  mem.At[format.LockCell](&m.region, r.Data),
		size:   uintptr(format.RowSize(r.Capacity)),
		m:      m,
		off:    r.Data,
		name:   r.Name,
		extent: extent,
		locks:  newLazily[structLock[T]](int(r.Count)),
	}
}

// rowLock returns the lock of a row. The first call for a row makes writers in all
// processes carry over the fields of T, before this process commits to the row.
//
//go:noinline
func (r *rows[T]) rowLock(cell *format.LockCell) *structLock[T] {
	off := mem.OffsetOf(&r.m.region, cell)
	i := int((off - r.off) / int64(r.size))
	return r.locks.get(i, func() *structLock[T] {
		mu := &structLock[T]{Lock: r.m.lockAt(off, partName(r.name, i))}
		if !r.m.region.ReadOnly {
			slots.Reach(cell, r.extent)
		}
		return mu
	})
}

// partName is the name that errors use for part i of a value.
func partName(name string, i int) string { return name + "[" + strconv.Itoa(i) + "]" }

// lazily has a *T for each index below a length, which is made when it is first asked
// for.
type lazily[T any] struct{ blocks []atomic.Pointer[block[T]] }

type block[T any] [blockLen]atomic.Pointer[T]

const blockLen = 64

func newLazily[T any](n int) lazily[T] {
	return lazily[T]{make([]atomic.Pointer[block[T]], (n+blockLen-1)/blockLen)}
}

// get returns what index i has. If it has nothing, create makes it. All callers get the
// same.
func (l lazily[T]) get(i int, create func() *T) *T {
	in := &l.blocks[i/blockLen]
	b := in.Load()
	if b == nil {
		in.CompareAndSwap(nil, new(block[T]))
		b = in.Load()
	}
	if x := b[i%blockLen].Load(); x != nil {
		return x
	}
	b[i%blockLen].CompareAndSwap(nil, create())
	return b[i%blockLen].Load()
}
