package directory

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// Add appends a record under the allocation lock, and returns the value. init,
// which may be nil, writes the first value before any process can see it. If
// another process was first, Add returns that process's value, whatever it is,
// and does not call init. f is the segment's file.
//
// A process that dies inside leaves nothing: one store of header.Used publishes
// the record, and the next process to add clears what was written above it.
//
// Errors wrap fs.ErrInvalid for a name or length that cannot be, errs.Full, and
// what the system says of a full filesystem.
//
// Preconditions: the caller is inside region.Guarded, and may write.
func (d *Directory) Add(f *os.File, want *format.Shape, init func(*format.Record)) (*format.Record, error) {
	if err := want.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrInvalid, err)
	}
	unlock, err := d.owner.LockAllocation(f)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.readLocked(f); err != nil {
		return nil, err
	}
	old := d.byName[want.Name]
	if old != nil && !want.Outgrows(old) {
		return old, nil
	}
	capacity := want.Room()
	if old != nil {
		growth := *want
		growth.Kind, growth.Unit, growth.Help = format.KindGrowth, "", ""
		want, init, capacity = &growth, nil, old.Capacity
	}
	meta, size := want.Encode(capacity, format.Maker{Pid: int32(os.Getpid()), Program: sys.Program()})
	off := d.seen
	if err := d.grow(f, off+size); err != nil {
		return nil, err
	}
	if err := d.wipe(f, off); err != nil {
		return nil, err
	}
	r, _, err := format.Decode(meta, 0, size, d.layouts)
	if err != nil {
		return nil, err
	}
	r.Data += off
	written := off + int64(len(meta))
	if init != nil {
		written = off + size
	}
	d.header.Dirty.StoreBytes(written)
	killpoint.At(killpoint.DirtyStored)
	copy(mem.Slice[byte](d.region, off, len(meta)), meta)
	killpoint.At(killpoint.RecordWritten)
	if init != nil {
		init(r)
		killpoint.At(killpoint.ValueInitialised)
	}
	d.header.Used.StoreBytes(off + size) // publishes
	killpoint.At(killpoint.RecordPublished)
	wait.Changed(&d.header.Names)
	d.seen = off + size
	if err := d.index(r); err != nil {
		return nil, err
	}
	return d.byName[r.Name], nil
}

// wipe clears what a process that died while it added a value may have left from
// off on.
func (d *Directory) wipe(f *os.File, off int64) error {
	dirty, ok := d.header.Dirty.Bytes()
	if !ok {
		return d.fail("allocate", fmt.Errorf("%w: the dirty size is damaged", errs.Format))
	}
	if err := d.reach(f, dirty); err != nil {
		return err
	}
	if off < dirty {
		clear(mem.Slice[byte](d.region, off, int(dirty-off)))
		killpoint.At(killpoint.DirtWiped)
	}
	return nil
}

// grow makes sure that the first end bytes are allocated.
func (d *Directory) grow(f *os.File, end int64) error {
	allocated, ok := d.header.Allocated.Bytes()
	if !ok {
		return d.fail("allocate", fmt.Errorf("%w: the allocated size is damaged", errs.Format))
	}
	limit := int64(len(d.region.Bytes))
	if end > limit {
		return d.fail("allocate", fmt.Errorf("%w: %d bytes are needed, and at most %d can be had; create the segment with a larger Options.MaxSize, or give this process more address space", errs.Full, end, limit))
	}
	if end <= allocated {
		return d.verify(f, end)
	}
	// An eighth more than needed, so that many small values cost few calls. Just
	// what is needed if the filesystem has no more.
	page := sys.PageSize
	exact := (end + page - 1) / page * page
	ample := min((end+max(end/8, format.FirstAllocation))/page*page, limit/page*page)
	target := max(exact, ample)
	err := sys.Reserve(f, d.region.Path, allocated, target)
	if err != nil && target > exact {
		target = exact
		err = sys.Reserve(f, d.region.Path, allocated, target)
	}
	if err != nil {
		return err
	}
	killpoint.At(killpoint.SpaceReserved)
	d.header.Allocated.StoreBytes(target)
	killpoint.At(killpoint.AllocatedStored)
	return d.verify(f, end)
}
