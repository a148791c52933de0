package shm

import (
	"sync/atomic"

	"example.org/shm/internal/format"
	"example.org/shm/internal/slots"
)

// rowLocks has the locks of a table's rows.
type rowLocks[T any] struct {
	first int64 // offset of the first row
	size  int64 // bytes of a row
	locks lazily[structLock[T]]
}

// rowLock returns the lock of a row.
//
//go:noinline
func (s *structSlots[T]) rowLock(cell *format.LockCell) *structLock[T] {
	off := Struct[T]{s, cell}.off()
	return s.rows.locks.get(int((off-s.rows.first)/s.rows.size), func() *structLock[T] {
		mu := &structLock[T]{Lock: s.m.lockAt(off, s.name)}
		if !s.m.region.ReadOnly {
			slots.Reach(cell, s.size)
		}
		return mu
	})
}

// lazily has a *T for each index below a length, made when it is first asked for.
type lazily[T any] struct {
	blocks []atomic.Pointer[block[T]]
}

type block[T any] [blockLen]atomic.Pointer[T]

const blockLen = 64

func newLazily[T any](n int) lazily[T] {
	return lazily[T]{make([]atomic.Pointer[block[T]], (n+blockLen-1)/blockLen)}
}

// get returns what index i has, and makes it if it has none. All callers get the same.
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
