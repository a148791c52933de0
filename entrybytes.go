package shm

import (
	"context"
	"encoding/binary"
	"iter"
	"math"
	"runtime"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/slots"
	"example.org/shm/internal/text"
)

// Parts returns how many parts of the value change each by itself: the rows of a Table,
// and 1 for any other value.
func (e Entry) Parts() int {
	if e.record.IsTable() {
		return e.Len
	}
	return 1
}

// Bytes returns a copy of a part of the value as it is in memory, in this machine's order
// of bytes, and the number of the commit that it is of. A part of a published value is
// the copy of one commit. Other values have no commits: the number is 0, a number is one
// load, and an array or a raw value may be copied while it changes. Of a Ring, Bytes
// returns the newest value and its number, or nil and 0 if there is none. Of a Counter, a
// Gauge and a Histogram it returns what Any shows: the sum, or bounds, counts and sum.
// Layout describes the bytes of one element, and Entry.Any explains them.
//
// A part below 0 or not below Parts panics as an index of a slice does. Bytes takes no
// lock. The error wraps fs.ErrInvalid for a Mutex and for Mutexes, ErrTooLong if the part
// has more than 16 MiB, and ErrFormat if another program has cut the file off.
func (e Entry) Bytes(part int) (b []byte, commit uint64, err error) {
	_ = make([]struct{}, e.Parts())[part]
	r := e.record
	switch {
	case r.Layout == nil:
		err = errs.Invalid("a %s has no bytes", e.Type())
	case e.partSize() > maxShown:
		err = tooLong(e.partSize())
	case r.HasCells():
		err = e.m.region.Guarded(func() (err error) { b, err = e.m.loadCells(e.s.file, r); return err })
	case r.Kind == format.KindRing:
		err = e.m.region.Guarded(func() error {
			b = make([]byte, r.Layout.Size)
			var any bool
			if commit, any = e.m.readRingOf(r).Newest(b); !any {
				b, commit = nil, 0
			}
			return nil
		})
	case r.Access == format.Published:
		err = e.m.region.Guarded(func() error {
			b = make([]byte, e.partSize())
			off := r.Data + int64(part)*format.RowSize(r.Capacity)
			pair := slots.Behind(&e.m.region, off, r.Capacity, e.m.file.cells.Token(off))
			commit = pair.Read(func(slot []byte) { mem.CopyBytes(b, slot[:len(b)]) })
			return nil
		})
	default:
		err = e.m.region.Guarded(func() error { b = e.loadBytes(); return nil })
	}
	runtime.KeepAlive(e.m)
	if err != nil {
		return nil, 0, errs.Wrap(err, "value %q", e.Name)
	}
	return b, commit, nil
}

// partSize returns the bytes of a part.
func (e Entry) partSize() int64 {
	switch {
	case e.record.IsTable(), e.record.Kind == format.KindRing:
		return int64(e.record.Layout.Size)
	}
	return e.Size
}

// SetBytes sets a part of the value to bytes that Bytes has returned, of this value or of
// one like it. It appends them to a Ring. It makes the sum of a Counter and the counts of
// a Histogram what the bytes say, which is exact only if nobody else counts at the same
// time; it sets this process's number of a Gauge. A change that leaves all bits as they
// were wakes nobody, and is no commit.
//
// SetBytes waits for the lock of a value that has one, until ctx is done; then the error
// wraps the context's and nothing was changed. The error wraps fs.ErrInvalid if the
// number of bytes is not that of the part, or if a Histogram has other bounds. Otherwise
// the errors are those of Parse. Part is as in Bytes.
func (e Entry) SetBytes(ctx context.Context, part int, b []byte) error {
	_ = make([]struct{}, e.Parts())[part]
	err := e.m.region.Guarded(func() error { return e.setBytes(ctx, part, b) })
	runtime.KeepAlive(e.m)
	if err != nil {
		return errs.Wrap(err, "value %q", e.Name)
	}
	return nil
}

func (e Entry) setBytes(ctx context.Context, part int, b []byte) error {
	r, m := e.record, e.m
	if _, err := e.s.attachedMapping(); err != nil {
		return err
	}
	switch want := e.partSize(); {
	case m.region.ReadOnly:
		return errs.Wrap(ErrReadOnly, "in %s", m.region.Path)
	case r.Layout == nil:
		return errs.Invalid("a %s has no bytes", e.Type())
	case r.HasCells():
		return e.setCells(b)
	case int64(len(b)) != want:
		return errs.Invalid("%d bytes for %d", len(b), want)
	case want > maxShown:
		return tooLong(want)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.HasLock() {
		if err := m.party.Take(e.s.file); err != nil {
			return e.s.closedError(err)
		}
	}
	patches := []text.Patch{{Bytes: b}}
	switch {
	case r.IsTable():
		patches[0].Off = part * r.Layout.Size
		return e.storeRows(ctx, patches)
	case r.HasLock():
		mu := m.lockOf(r)
		if err := mu.AcquireContext(ctx); err != nil {
			return err
		}
		changed := r.Access == format.Locked || r.Kind == format.KindRing
		defer func() { unlock(mu, changed) }()
		if r.Kind == format.KindRing {
			ring := m.readRingOf(r)
			ring.Lock = mu
			ring.Append(b)
			return nil
		}
		changed = e.storeHeld(patches)
	default:
		e.store(patches)
	}
	return nil
}

// setCells is setBytes of a value with cells.
func (e Entry) setCells(b []byte) error {
	r, m := e.record, e.m
	set := m.setOf(r)
	words := make([]uint64, 0, len(b)/8)
	for ; len(b) >= 8; b = b[8:] {
		words = append(words, binary.NativeEndian.Uint64(b))
	}
	if want := int(shownLayout(r).Size / 8); len(words) != want || len(b) != 0 {
		return errs.Invalid("%d bytes for %d", 8*len(words)+len(b), 8*want)
	}
	defer set.Token.Acquire()
	set.Token.Release()
	switch r.Kind {
	case format.KindGauge:
		if err := m.party.Take(e.s.file); err != nil {
			return e.s.closedError(err)
		}
		if err := set.Reserve(); err != nil {
			return err
		}
		Gauge[uint64]{set, m, e.s}.Set(words[0]) // of the same bits
	case format.KindCounter:
		set.Correct(0, words[0], r.Layout.Format == number64().Format)
	default:
		bounds, err := m.boundsOf(r)
		if err != nil {
			return err
		}
		for i, x := range bounds {
			if y := math.Float64frombits(words[i]); x != y {
				return errs.Invalid("bound %d is %v, not %v", i, x, y)
			}
		}
		set.Correct(0, words[len(words)-1], true)
		for i, n := range words[len(bounds) : len(words)-1] {
			set.Correct(format.BucketOffset/8+i, n, false)
		}
	}
	return nil
}

// Since yields number and bytes of each value of a Ring that is kept and newer than the
// value of that number, the oldest first, as of the call. If the first number is not
// after+1, those between are not kept any more. It yields nothing for other values, and
// ends early if another program has cut the file off. The bytes are overwritten by the
// next value.
func (e Entry) Since(after uint64) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		if e.record.Kind != format.KindRing || e.partSize() > maxShown {
			return
		}
		ring := e.m.readRingOf(e.record)
		last := uint64(0)
		b := make([]byte, e.record.Layout.Size)
		for seq := after + 1; seq > after; { // no number is above the highest
			var got uint64
			var ok bool
			err := e.m.region.Guarded(func() error {
				if last == 0 {
					last = ring.Cell.Commit.Load()
				}
				if seq <= last {
					got, ok = ring.Read(b, seq, func() bool { return false })
				}
				return nil
			})
			if err != nil || !ok || got > last || !yield(got, b) {
				break
			}
			seq = got + 1
		}
		runtime.KeepAlive(e.m)
	}
}
