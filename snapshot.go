package shm

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/robust"
)

// Versioned is a value that Snapshot can read together with others, because each commit
// of it has a number: a Struct, a String, a Table or a Ring.
type Versioned interface {
	// versions appends each commit number of the value.
	versions(to []versionOf) []versionOf
	// lockAt returns the lock that a process holds while it changes number i of those.
	lockAt(i int) *robust.Lock
}

// versionOf is one commit number in memory.
type versionOf struct {
	cell *format.LockCell
	m    *mapping
	of   Versioned
	i    int // which one of its numbers
}

func (v Struct[T]) versions(to []versionOf) []versionOf {
	return append(to, versionOf{cell: v.cell, m: v.s.m})
}

func (t Table[T]) versions(to []versionOf) []versionOf {
	for i := range t.Len() {
		to = append(to, versionOf{cell: t.Row(i).cell, m: t.s.m, i: i})
	}
	return to
}

func (v String) versions(to []versionOf) []versionOf {
	return append(to, versionOf{cell: v.s.Cell, m: mutexOf(v.s.Lock).m})
}

func (v Ring[T]) versions(to []versionOf) []versionOf {
	return append(to, versionOf{cell: v.s.Cell, m: mutexOf(v.s.Lock).m})
}

func (v Struct[T]) lockAt(int) *robust.Lock  { return v.lock().Lock }
func (t Table[T]) lockAt(i int) *robust.Lock { return t.Row(i).lock().Lock }
func (v String) lockAt(int) *robust.Lock     { return v.s.Lock }
func (v Ring[T]) lockAt(int) *robust.Lock    { return v.s.Lock }

// A Snapshot reads snapshotTries times without a lock, and then with the locks of what
// changed meanwhile. It waits for each of these for lockSnapshotAtMost.
const (
	snapshotTries      = 64
	lockSnapshotAtMost = 10 * time.Millisecond
)

// snapshotAtMost is when a Snapshot gives up. Tests change it.
var snapshotAtMost = 10 * time.Second

// Snapshot calls read until none of the values has changed during the call. So what read
// has loaded of them was all there at one instant:
//
//	var from, to account
//	err := shm.Snapshot(func() { from, to = a.Load(), b.Load() }, a, b)
//
// read only loads: it may be called many times, and what an earlier call has loaded may
// not belong together. Of a Table, all rows are compared, which takes 48 bytes of memory a
// row. Several numbers that change together are better in one Struct, whose Load is such a
// snapshot.
//
// A Value has no number of its commits, nor has an Array or an Atomic: two changes can
// leave them as they were, so they cannot be read together with others.
//
// Snapshot takes no lock at first. If values changed during each of 64 calls, it takes the
// locks of those values for the next call, but waits for each lock no longer than 10 ms. In
// a read-only attachment it can take no lock, and calls read until no value changes during
// the call. If that has not happened after 10 s, the error wraps os.ErrDeadlineExceeded, and
// what read has loaded may not belong together. read must not wait for a goroutine that
// changes one of the values.
//
// The error wraps ErrFormat if another program has truncated a file. If read panics, so does
// Snapshot.
func Snapshot(read func(), vs ...Versioned) error {
	var room [16]versionOf
	all := room[:0]
	for _, v := range vs {
		first := len(all)
		all = v.versions(all)
		for i := range all[first:] {
			all[first+i].of = v
		}
	}
	err := guardedAll(all, func() error {
		var room [16]uint64
		before := slices.Grow(room[:0], len(all))[:len(all)]
		var began time.Time
		for calls := snapshotTries + 1; ; calls += snapshotTries + 1 {
			for range snapshotTries {
				if unmoved(all, before, read) {
					return nil
				}
			}
			if lockedUnmoved(all, before, read) {
				return nil
			}
			if began.IsZero() {
				began = time.Now()
			} else if time.Since(began) > snapshotAtMost {
				return errs.Wrap(os.ErrDeadlineExceeded, "a snapshot in %s: values changed during each of %d calls of read; read fewer of them, or in an attachment that may write, whose locks keep the writers out", all[0].m.region.Path, calls)
			}
			runtime.Gosched()
		}
	})
	runtime.KeepAlive(vs)
	return err
}

// unmoved calls read, and reports whether no number changed meanwhile. before gets the
// numbers of the time before.
func unmoved(all []versionOf, before []uint64, read func()) bool {
	for i, v := range all {
		before[i] = v.cell.Commit.Load()
	}
	read()
	for i, v := range all {
		if v.cell.Commit.Load() != before[i] {
			return false
		}
	}
	return true
}

// lockedUnmoved is unmoved with the locks of the values that have changed since before.
// It takes them in an order that is the same in all processes.
func lockedUnmoved(all []versionOf, before []uint64, read func()) bool {
	var moved []versionOf
	for i, v := range all {
		if v.cell.Commit.Load() != before[i] && !v.m.region.ReadOnly {
			moved = append(moved, v)
		}
	}
	place := func(v versionOf) int64 { return mem.OffsetOf(&v.m.region, v.cell) }
	slices.SortFunc(moved, func(a, b versionOf) int {
		return cmp.Or(cmp.Compare(a.m.header.Identity, b.m.header.Identity), cmp.Compare(place(a), place(b)))
	})
	moved = slices.CompactFunc(moved, func(a, b versionOf) bool { return a.cell == b.cell })
	var held []*robust.Lock
	defer func() {
		for _, lock := range slices.Backward(held) {
			lock.Release()
		}
	}()
	for _, v := range moved {
		lock := v.of.lockAt(v.i)
		ctx, cancel := context.WithTimeout(context.Background(), lockSnapshotAtMost)
		err := lock.LockSlow(ctx)
		cancel()
		if err == nil {
			held = append(held, lock)
		}
	}
	return unmoved(all, before, read)
}

// guardedAll calls f inside the guard of each mapping that one of the values is in.
func guardedAll(all []versionOf, f func() error) error {
	if len(all) == 0 {
		return f()
	}
	m, rest := all[0].m, all[1:]
	for len(rest) > 0 && rest[0].m == m {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return m.region.Guarded(f)
	}
	return m.region.Guarded(func() error { return guardedAll(rest, f) })
}
