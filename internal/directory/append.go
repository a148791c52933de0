package directory

import (
	"fmt"
	"os"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/sys"
)

// appendRecord appends a record and publishes it. The index does not have it yet.
// The caller holds the allocation lock and d.mu.
func (d *Directory) appendRecord(f *os.File, want *format.Shape, capacity, older int64, init func(*format.Record)) (*format.Record, error) {
	meta, size := want.Encode(capacity, format.Maker{Pid: int32(os.Getpid()), Program: sys.Program()}, older)
	off := d.used
	if err := d.grow(f, off+size); err != nil {
		return nil, err
	}
	if err := d.wipe(f, off); err != nil {
		return nil, err
	}
	written := off + int64(len(meta))
	if init != nil {
		written = off + size
	}
	d.header.Dirty.StoreBytes(written)
	killpoint.At(killpoint.DirtyStored)
	copy(mem.Slice[byte](d.region, off, len(meta)), meta)
	killpoint.At(killpoint.RecordWritten)
	r, _, err := d.decode(off, off+size)
	if err != nil {
		return nil, err
	}
	if init != nil {
		init(r)
		killpoint.At(killpoint.ValueInitialised)
	}
	d.header.Used.StoreBytes(off + size) // publishes
	killpoint.At(killpoint.RecordPublished)
	d.used = off + size
	return r, nil
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
	if !ok || allocated < d.used {
		return d.fail("allocate", fmt.Errorf("%w: the allocated size is damaged", errs.Format))
	}
	limit := int64(len(d.region.Bytes))
	if end > limit {
		return d.fail("allocate", fmt.Errorf("%w: %d bytes are needed, and at most %d can be had; create the segment with a larger Options.MaxSize, or give this process more address space", errs.Full, end, limit))
	}
	if end <= allocated {
		return d.verify(f, end)
	}
	// A process that died while it reserved space has left some above allocated.
	// Nobody may count on it, and a larger value may need it elsewhere.
	if size, err := sys.FileSize(f, d.region.Path); err == nil && size > allocated {
		sys.Release(f, allocated, size-allocated)
	}
	// An eighth more than needed, so that many small values cost few calls. Just
	// what is needed if the filesystem has no more. The last page may be beyond the
	// limit.
	page := sys.PageSize
	exact := min((end+page-1)/page*page, limit)
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
