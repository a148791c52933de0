package shm

import (
	"iter"
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
)

// Table is a fixed number of rows in shared memory, each of which is a Struct: it has
// a lock of its own, and changes as a whole. A row starts as zeros. Making 10,000 rows
// takes about as long as making a RawArray of the same size, and attaching to them some
// microseconds.
//
// Rows grow as a Struct does: a type that only appends fields attaches too, if it fits,
// and then all rows have these fields, which start from zero.
//
// A Table is a pointer, and may be copied. What is said of a Struct after Close and in a
// read-only attachment is true of each row.
//
// Source: multiprocessing.sharedctypes has no counterpart; an Array of a Structure has
// one lock for all, and a reader may see half a change.
type Table[T any] struct{ s *structSlots[T] }

// NewTable attaches to the table of that name, or makes one with n rows of zeros. If n
// is 0 it takes the number found, and if there is no such table the error wraps
// fs.ErrNotExist. The error is a *TypeError if T has a field that cannot be shared, and
// a *LayoutError if the existing rows are neither T nor a shorter or longer T.
// Otherwise the errors are those of NewValue.
func NewTable[T any](s *Segment, name string, n int) (Table[T], error) {
	return newTable[T](s, format.Label{Name: name}, n)
}

func newTable[T any](s *Segment, l format.Label, n int) (Table[T], error) {
	m, r, err := placeMany[T](s, l, format.Published, n)
	if err != nil {
		return Table[T]{}, err
	}
	of, err := structSlotsOf[T](m, r)
	if err != nil {
		return Table[T]{}, err
	}
	of.rows = rowsOf[T](m, r, of.size)
	return Table[T]{of}, nil
}

// Len returns the number of rows.
func (t Table[T]) Len() int { return len(t.s.rows.each) }

// Row returns row i. It allocates nothing; what changes or awaits the row first in this
// process allocates the lock of the row, which stays. It panics as a slice does if i is
// out of range.
func (t Table[T]) Row(i int) Struct[T] {
	_ = t.s.rows.each[i]
	return Struct[T]{t.s, mem.After[format.LockCell](t.s.rows.first, uintptr(i)*t.s.rows.size)}
}

// All yields number and newest commit of each row. The rows are not of one instant:
// others may commit between two of them.
func (t Table[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i := range t.s.rows.each {
			if !yield(i, t.Row(i).Load()) {
				break
			}
		}
		runtime.KeepAlive(t.s)
	}
}
