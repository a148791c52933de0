package shm

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/slots"
	"example.org/shm/internal/text"
)

// Parse sets the value from a text. It accepts whatever Text returns, and then sets
// the same value, bit by bit. It accepts JSON, for values that JSON can express. If
// the whole value is characters, they need no quotes. Integers may have a prefix,
// as in 0x1f. An array takes all its elements, or some of them by index, as in
// [3: 7, 5: 8]. A struct takes fields by name. What is left out keeps its value. A C
// string keeps the bytes after its new end.
//
// In a Table, rows are elements: [3: {x: 1}] changes a field of one row. Each row changes
// as a whole, one after another.
//
// Parse waits for the lock of a value that has one, as Store does. The error wraps
// fs.ErrInvalid if the text does not describe such a value, or the value is a Mutex, a
// Ring, a Counter, a Gauge or a Histogram;
// strconv.ErrRange if a number does not fit; ErrTooLong, also if the value has more
// than 16 MiB; ErrReadOnly; ErrClosed. Then nothing is changed. It wraps ErrFormat if
// another program has cut the file off; then a part may be written. A change that
// leaves all bits as they were wakes nobody.
func (e Entry) Parse(text string) error {
	if err := e.m.region.Guarded(func() error { return e.parse(text) }); err != nil {
		return errs.Wrap(err, "value %q", e.record.Name)
	}
	return nil
}

func (e Entry) parse(from string) error {
	r := e.record
	if err := e.changeable(); err != nil {
		return err
	}
	patches, err := text.Parse(r.Whole(), from)
	if err != nil {
		return err
	}
	if r.HasLock() {
		if err := e.m.party.Take(e.s.file); err != nil {
			return e.s.closedError(err)
		}
	}
	if r.IsTable() {
		return e.storeRows(context.Background(), patches)
	}
	e.store(patches)
	return nil
}

// changeable returns why the value cannot be set from a text, or nil.
func (e Entry) changeable() error {
	if _, err := e.s.attachedMapping(); err != nil {
		return err
	}
	switch {
	case e.m.region.ReadOnly:
		return errs.Wrap(ErrReadOnly, "in %s", e.m.region.Path)
	case e.record.Layout == nil:
		return errs.Invalid("a Mutex cannot be set from a text")
	case e.Size > maxShown:
		return tooLong(e.Size)
	case e.record.Kind == format.KindRing:
		return errs.Invalid("a %s cannot be set from a text: values are only appended to it", e.Type())
	case e.inParts():
		return errs.Invalid("a %s cannot be set from a text", e.Type())
	}
	return nil
}

// store makes the change as the verbs of the value's type do.
func (e Entry) store(patches []text.Patch) {
	r, m := e.record, e.m
	switch {
	case r.HasLock():
		mu := m.lockOf(r)
		changed := r.Access == format.Locked
		mu.Acquire()
		defer func() { unlock(mu, changed) }()
		changed = e.storeHeld(patches)
	case r.Access == format.Raw:
		shadow := m.file.cells.Shadow(r.Data, int(e.Size))
		for _, p := range patches {
			shadow.Write(p.Off, len(p.Bytes))
		}
		e.storeNumbers(patches)
	default:
		for _, p := range patches {
			e.order(p.Off, len(p.Bytes), race.Token.Release)
		}
		e.storeNumbers(patches)
	}
	runtime.KeepAlive(m)
}

// storeHeld makes the change in a value with a lock, and reports whether it changed a
// bit. The caller holds the lock.
func (e Entry) storeHeld(patches []text.Patch) (changed bool) {
	r, m := e.record, e.m
	if r.Access == format.Published {
		s := m.slotsOf(r)
		if r.Grows() {
			s.Reach(uint32(min(e.Size, math.MaxUint32))) // another language may have made a larger struct
		}
		return s.Amend(func(idle []byte) {
			for _, p := range patches {
				copy(idle[p.Off:], p.Bytes)
			}
		})
	}
	m.lockOf(r).Token.Release()
	if changed = e.differs(patches); changed {
		e.storeNumbers(patches)
	}
	return changed
}

// rowsOf returns the changes in each row of a table. Their offsets are in the row.
func (e Entry) rowsOf(patches []text.Patch) map[int][]text.Patch {
	size, rows := e.record.Layout.Size, map[int][]text.Patch{}
	for _, p := range patches {
		for off, b := p.Off, p.Bytes; len(b) > 0; { // numbers of several rows may be one patch
			n := min(len(b), size-off%size)
			rows[off/size] = append(rows[off/size], text.Patch{Off: off % size, Bytes: b[:n]})
			off, b = off+n, b[n:]
		}
	}
	return rows
}

// rowLock returns the lock of a row of a table.
func (e Entry) rowLock(i int) (mu *robust.Lock, off int64) {
	off = e.record.Data + int64(i)*format.RowSize(e.record.Capacity)
	return e.m.lockAt(off, partName(e.record.Name, i)), off
}

// storeRows makes a change in rows of a table, row by row. If ctx is done while it waits
// for the lock of a row, those before it are changed.
func (e Entry) storeRows(ctx context.Context, patches []text.Patch) error {
	defer runtime.KeepAlive(e.m)
	rows := e.rowsOf(patches)
	for _, i := range slices.Sorted(maps.Keys(rows)) {
		mu, off := e.rowLock(i)
		if err := mu.AcquireContext(ctx); err != nil {
			return err
		}
		func() {
			changed := false
			defer func() { unlock(mu, changed) }()
			changed = e.storeRow(mu, off, rows[i])
		}()
	}
	return nil
}

// storeRow makes a change in the row at off, whose lock mu the caller holds. It reports
// whether it changed a bit.
func (e Entry) storeRow(mu *robust.Lock, off int64, patches []text.Patch) (changed bool) {
	row := slots.Behind(&e.m.region, off, e.record.Capacity, mu.Token)
	row.Reach(uint32(min(int64(e.record.Layout.Size), math.MaxUint32)))
	return row.Amend(func(idle []byte) {
		for _, p := range patches {
			copy(idle[p.Off:], p.Bytes)
		}
	})
}

// rowsUpdate is a change of rows of a table that depends on what is there.
type rowsUpdate struct {
	e      Entry
	change func(old []byte) ([]text.Patch, error)
	old    []byte               // that change was last called with
	rows   map[int][]text.Patch // that change has returned, without the rows that are stored
	stored map[int]bool
}

// updateRows is update of a Table.
func (e Entry) updateRows(ctx context.Context, change func(old []byte) ([]text.Patch, error)) error {
	defer runtime.KeepAlive(e.m)
	u := rowsUpdate{e: e, change: change, stored: map[int]bool{}}
	if err := u.ask(); err != nil {
		return err
	}
	for left := u.left(); len(left) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		again, err := u.row(ctx, left[0])
		switch {
		case err != nil:
			return err
		case again: // other rows may be to change
			left = u.left()
		default:
			left = left[1:]
		}
	}
	return nil
}

// ask calls change with the table as it is.
func (u *rowsUpdate) ask() error {
	u.old = u.e.loadBytes()
	patches, err := u.change(u.old)
	if err != nil {
		return err
	}
	u.rows = u.e.rowsOf(patches)
	maps.DeleteFunc(u.rows, func(i int, _ []text.Patch) bool { return u.stored[i] })
	return nil
}

func (u *rowsUpdate) left() []int { return slices.Sorted(maps.Keys(u.rows)) }

// row changes one row under its lock. It calls change again first, and reports that, if
// the row is not what change has seen.
func (u *rowsUpdate) row(ctx context.Context, i int) (again bool, err error) {
	e, size := u.e, u.e.record.Layout.Size
	mu, off := e.rowLock(i)
	if err := mu.AcquireContext(ctx); err != nil {
		return false, err
	}
	returned, changed := false, false
	defer func() {
		if changed {
			mu.UnlockAfter(returned)
		} else {
			mu.ReleaseAfter(returned)
		}
	}()
	pair := slots.Behind(&e.m.region, off, e.record.Capacity, mu.Token)
	now := make([]byte, size)
	pair.Read(func(slot []byte) { mem.CopyBytes(now, slot[:size]) })
	if again = !bytes.Equal(now, u.old[i*size:][:size]); again {
		if err = u.ask(); err == nil {
			mu.MustHold("UpdateContext")
		}
	}
	returned = true
	if patches, ok := u.rows[i]; ok && err == nil {
		changed = e.storeRow(mu, off, patches)
		u.stored[i] = true
		delete(u.rows, i)
	}
	return again, err
}

// unlock releases a lock, and wakes who awaits a change if there was one.
func unlock(mu *robust.Lock, changed bool) {
	if changed {
		mu.Unlock()
	} else {
		mu.Release()
	}
}

// differs reports whether the patches change a bit of the value, which is not a
// published one.
func (e Entry) differs(patches []text.Patch) bool {
	for _, p := range patches {
		if !bytes.Equal(p.Bytes, mem.Slice[byte](&e.m.region, e.record.Elements()+int64(p.Off), len(p.Bytes))) {
			return true
		}
	}
	return false
}

// storeNumbers writes each number of up to 8 bytes by one store. It copies what is
// inside a struct.
func (e Entry) storeNumbers(patches []text.Patch) {
	_, elem := e.record.Layout.Dims()
	for _, p := range patches {
		off, b := e.record.Elements()+int64(p.Off), p.Bytes
		if elem.Fields != nil || elem.Size == 1 || elem.Size > 8 {
			copy(mem.Slice[byte](&e.m.region, off, len(b)), b)
			continue
		}
		for ; len(b) >= elem.Size; b = b[elem.Size:] {
			switch elem.Size {
			case 8:
				mem.At[atomic.Uint64](&e.m.region, off).Store(binary.NativeEndian.Uint64(b))
			case 4:
				mem.At[atomic.Uint32](&e.m.region, off).Store(binary.NativeEndian.Uint32(b))
			default:
				mem.Store(mem.At[uint16](&e.m.region, off), binary.NativeEndian.Uint16(b))
			}
			off += int64(elem.Size)
		}
	}
}
