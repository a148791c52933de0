package directory

import (
	"fmt"
	"os"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/sys"
)

// repairWait is how long a process that attaches waits for the allocation lock.
// Another one that adds a value has it for a short time, and who may only read the
// file can keep it.
const repairWait = time.Second

// Attach puts a file in order that has outlived the system which wrote it, or was
// copied, and validates the index. No lock word is reset: its owner is dead, and
// whoever asks for the lock takes it over. unfit is why the sizes in the header do
// not fit each other, or nil: what the power failure left is put right, or the error
// is unfit.
//
// Preconditions: the caller is inside region.Guarded, and may write.
func (d *Directory) Attach(f *os.File, unfit error) error {
	d.moveIn()
	if (d.foreignHome() || d.home.Stamp == 0) && !d.inUse(f) {
		if err := d.settleIn(f, unfit); err != nil {
			return err
		}
	} else if unfit != nil {
		return d.fail("open", unfit)
	}
	return d.Check(f)
}

// moveIn makes this process's home that of a segment in memory to which nobody has
// come yet: there is nothing to repair, no id was given out, and no value was made.
// Elsewhere such a header may be what a power failure has left beside newer pages.
func (d *Directory) moveIn() {
	h := d.header
	first, _ := h.NextID.Load()
	values, _ := h.Values.Load()
	indexed, _ := h.Indexed.Bytes()
	if used, _ := h.Used.Bytes(); d.home.InMemory && first == 1 && values == 0 && used == indexed {
		h.Home.Word.CompareAndSwap(format.Seal(0), format.Seal(d.home.Stamp))
		killpoint.At(killpoint.HomeChosen)
	}
}

// settleIn repairs the file if this process knows its home, and can have the
// allocation lock soon. Otherwise only the ids are put in order, unless the sizes must
// be.
func (d *Directory) settleIn(f *os.File, unfit error) error {
	var unlock func()
	var locked bool
	var err error
	if d.foreignHome() {
		if unlock, locked, err = d.owner.LockAllocationWithin(f, repairWait); locked {
			defer unlock()
		} else if err == nil {
			err = fmt.Errorf("another process keeps byte %d of the file locked", format.AllocationByte)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case locked && !d.foreignHome(): // another process was faster
		return nil
	case locked && !d.inUse(f): // nobody came meanwhile who did without the allocation lock
		return d.repair(f)
	case unfit != nil && err != nil:
		return d.fail("open", fmt.Errorf("%w; this cannot be repaired: %w", unfit, err))
	case unfit != nil:
		return d.fail("open", unfit)
	}
	d.adoptOwners(f)
	return nil
}

// foreignHome reports whether the header has another home than this process.
func (d *Directory) foreignHome() bool {
	home, ok := d.header.Home.Load()
	return d.home.Stamp != 0 && ok && home != d.home.Stamp
}

// Vacant reports whether the header has the home of another boot or another file, so that
// no process of this boot has attached to the file yet, unless it is in a container with
// a boot id of its own.
//
// Preconditions: the caller is inside region.Guarded.
func (d *Directory) Vacant() bool {
	home, ok := d.header.Home.Load()
	return ok && home != 0 && d.foreignHome()
}

// inUse reports whether a process holds a lease of the segment in this very system,
// whatever the home is: a container may have a boot id of its own. That process has
// put the file in order.
func (d *Directory) inUse(f *os.File) bool { return d.owner.AnyHeld(f) }

// repair puts the directory in order, and then the ids. The caller holds the
// allocation lock and d.mu. A process that dies inside leaves a file which the next
// one can repair.
func (d *Directory) repair(f *os.File) error {
	size, err := sys.FileSize(f, d.region.Path)
	if err != nil {
		return err
	}
	used, ok := d.header.Used.Bytes()
	if !ok {
		return d.fail("open", fmt.Errorf("%w: damaged header", errs.Format))
	}
	if used > int64(len(d.region.Bytes)) {
		return d.reach(f, used)
	}
	page := sys.PageSize
	limit := min(size, int64(len(d.region.Bytes))) / format.Line * format.Line // no pages: a system with smaller ones may have made the file
	d.verified, d.used = size, min(used, limit)
	end, table, sound := d.survey(f)
	if end < d.used && len(d.known) > 0 {
		// Handles may lead to what would be cut off.
		return d.fail("open", fmt.Errorf("%w: the record at byte %d is damaged; close the segment and open it again", errs.Format, end))
	}
	if table == 0 {
		return d.fail("open", fmt.Errorf("%w: no record of an index is left", errs.Format))
	}
	// What lies behind is reserved when it is needed: a copy may have holes there. Pages
	// behind an old used may have reached the disk.
	allocated := min((end+page-1)/page*page, limit)
	d.header.Dirty.StoreBytes(allocated)
	killpoint.At(killpoint.DirtyCorrected)
	d.header.Allocated.StoreBytes(allocated)
	killpoint.At(killpoint.AllocatedCorrected)
	if !sound {
		// From now on nobody trusts the slots. A process that dies leaves the rest to
		// the next one that completes the index.
		d.header.Indexed.StoreBytes(format.HeaderSize)
		killpoint.At(killpoint.IndexForgotten)
		d.header.Index.StoreBytes(table)
		killpoint.At(killpoint.IndexReplaced)
	}
	d.header.Used.StoreBytes(end)
	killpoint.At(killpoint.UsedCutBack)
	d.used = end
	clear(d.known)
	if !sound {
		t, err := d.indexAt(table)
		if err != nil {
			return err
		}
		d.table = t
		for i := range t.slots {
			t.slots[i].Store(0)
		}
		killpoint.At(killpoint.IndexCleared)
		d.header.Values.Store(0)
		killpoint.At(killpoint.ValuesForgotten)
		if err := d.complete(f); err != nil {
			return err
		}
	}
	d.adoptOwners(f)
	d.header.Home.Store(d.home.Stamp) // last: if this process dies before, the next one repeats all of it
	killpoint.At(killpoint.HomeStored)
	return nil
}

// survey reads all records. It returns the end of the last one that is valid, and the
// offset of the index: the one to which the header leads, or else the last one; 0 if
// there is none. sound reports whether exactly these records are in that index, and
// the header says so.
func (d *Directory) survey(f *os.File) (end, table int64, sound bool) {
	want, ok := d.header.Index.Bytes()
	current, err := d.indexAt(want)
	sound = ok && err == nil
	names, last := uint64(0), int64(0)
	end = format.HeaderSize
	for r, err := range d.records(end, d.used) {
		if err == nil && r.Kind == format.KindGrowth {
			_, err = d.grownFrom(r)
		}
		if err != nil {
			break
		}
		switch {
		case r.Kind == format.KindIndex:
			if last != want {
				last = r.Start
			}
		case sound:
			_, found, err := d.search(f, current, r.Name)
			sound = err == nil && found != nil && found.Start >= r.Start
			if r.Kind != format.KindGrowth {
				names++
			}
		}
		end = r.Data + r.DataSize(r.Capacity)
	}
	indexed, _ := d.header.Indexed.Bytes()
	values, _ := d.header.Values.Load()
	sound = sound && last == want && indexed == end && values == names && current.inUse() == names
	return end, last, sound
}

// adoptOwners makes sure that no id in a lock word or a cell is given out again.
func (d *Directory) adoptOwners(f *os.File) {
	used, ok := d.header.Used.Bytes()
	if !ok || d.reach(f, used) != nil {
		return
	}
	for r, err := range d.records(format.HeaderSize, used) {
		if err != nil {
			continue
		}
		for off := range r.Locks {
			d.owner.Adopt(f, mem.At[format.LockCell](d.region, off))
		}
		if r.HasCells() {
			high := mem.At[format.CellHeader](d.region, r.Data).High.Load()
			for off := range r.CellsInUse(high) {
				d.owner.AdoptCell(f, mem.At[format.Cell](d.region, off))
			}
		}
	}
}
