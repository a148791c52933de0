package directory

import (
	"fmt"
	"os"
	"sync/atomic"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
)

// insert makes the index lead to a record, unless it leads to that or to a newer one
// of the name already. A second value of a name, which only a faulty process
// publishes, stays hidden. It reports whether the name is new in the index. The caller
// holds the allocation lock and d.mu.
func (d *Directory) insert(f *os.File, r *format.Record) (added bool, err error) {
	t, err := d.currentIndex(f)
	if err != nil {
		return false, err
	}
	at, old, err := d.search(f, t, r.Name)
	switch {
	case err != nil:
		return false, err
	case old != nil && (old.Start >= r.Start || r.Kind != format.KindGrowth):
		return false, nil
	case at == nil:
		return false, d.fail("allocate", fmt.Errorf("%w: its index of %d slots has no free slot", errs.Full, len(t.slots)))
	}
	at.Store(uint64(format.MakeSlot(format.Tag(r.Name), r.Start)))
	killpoint.At(killpoint.SlotStored)
	return old == nil, nil
}

// enter is insert, and counts a name that is new.
func (d *Directory) enter(f *os.File, r *format.Record) error {
	added, err := d.insert(f, r)
	if err != nil || !added {
		return err
	}
	values, ok := d.header.Values.Load()
	if !ok {
		return d.fail("allocate", fmt.Errorf("%w: the number of values is damaged", errs.Format))
	}
	d.header.Values.Store(values + 1)
	killpoint.At(killpoint.ValuesCounted)
	return nil
}

// complete takes the records into the index that a process has published which died
// before it could do so. The caller holds the allocation lock and d.mu.
func (d *Directory) complete(f *os.File) error {
	indexed, ok := d.header.Indexed.Bytes()
	if !ok || indexed < format.HeaderSize {
		return d.fail("allocate", fmt.Errorf("%w: the indexed size is damaged", errs.Format))
	}
	if indexed >= d.used {
		return nil
	}
	// A larger index, which widen appends, needs no slot.
	for r, err := range d.records(indexed, d.used) {
		if err != nil {
			return err
		}
		if r.Kind == format.KindIndex {
			continue
		}
		if err := d.widen(f, r.Name); err != nil {
			return err
		}
		if err := d.enter(f, r); err != nil {
			return err
		}
	}
	t, err := d.currentIndex(f)
	if err != nil {
		return err
	}
	// The process that died may not have counted a name that it entered.
	d.header.Values.Store(t.inUse())
	killpoint.At(killpoint.ValuesRecounted)
	d.header.Indexed.StoreBytes(d.used)
	killpoint.At(killpoint.IndexCompleted)
	return nil
}

// widen makes a larger index if more than half of the slots would be in use with this
// name. If there is no room for one, the old index serves on. The caller holds
// the allocation lock and d.mu.
func (d *Directory) widen(f *os.File, name string) error {
	t, err := d.currentIndex(f)
	if err != nil {
		return err
	}
	values, ok := d.header.Values.Load()
	if !ok {
		return d.fail("allocate", fmt.Errorf("%w: the number of values is damaged", errs.Format))
	}
	slots := uint64(len(t.slots))
	if 2*(values+1) <= slots || slots == format.MaxIndexSlots {
		return d.spare(f, t, values, name)
	}
	want := format.Shape{Access: format.Raw, Kind: format.KindIndex, Count: int64(2 * slots)}
	r, err := d.appendRecord(f, &want, want.Room(), 0, func(r *format.Record) {
		larger := table{r.Start, mem.Slice[atomic.Uint64](d.region, r.Data, int(r.Count))}
		for i := range t.slots {
			if slot := format.Slot(t.slots[i].Load()); slot != 0 {
				if at := larger.free(slot.Tag()); at != nil {
					at.Store(uint64(slot))
				}
			}
		}
		killpoint.At(killpoint.IndexFilled)
	})
	if err != nil {
		return d.spare(f, t, values, name)
	}
	d.header.Index.StoreBytes(r.Start)
	killpoint.At(killpoint.IndexPublished)
	return nil
}

// spare returns an error if the index has no slot for a name: one slot always stays
// free.
func (d *Directory) spare(f *os.File, t table, values uint64, name string) error {
	at, _, err := d.search(f, t, name)
	if err == nil && (at == nil || values+2 > uint64(len(t.slots))) {
		err = d.fail("allocate", fmt.Errorf("%w: its index of %d slots has no room for another name, and there is no room for a larger one", errs.Full, len(t.slots)))
	}
	return err
}
