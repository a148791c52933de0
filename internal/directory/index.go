package directory

import (
	"fmt"
	"os"
	"sync/atomic"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
)

// currentIndex returns the index to which the header leads. d.mu is held, and
// readUsed was called.
func (d *Directory) currentIndex(f *os.File) (table, error) {
	start, ok := d.header.Index.Bytes()
	if ok && start == d.table.start {
		return d.table, nil
	}
	if ok && start >= d.used { // made since
		if _, err := d.readUsed(f); err != nil {
			return table{}, err
		}
	}
	if !ok || start >= d.used {
		return table{}, d.fail("open", fmt.Errorf("%w: the index cannot be at byte %d of %d", errs.Format, start, d.used))
	}
	t, err := d.indexAt(start)
	if err == nil {
		d.table = t
	}
	return t, err
}

// indexAt returns the index whose record is at an offset.
func (d *Directory) indexAt(start int64) (table, error) {
	r, _, err := d.decode(start, d.used)
	if err != nil {
		return table{}, err
	}
	if r.Kind != format.KindIndex {
		return table{}, d.fail("open", fmt.Errorf("%w: record at byte %d: it is no index", errs.Format, start))
	}
	return table{start, mem.Slice[atomic.Uint64](d.region, r.Data, int(r.Count))}, nil
}

// search returns the slot that leads to a name, with the record to which it leads.
// If there is none, it returns the free slot at which the search ended; nil if no
// slot is free. d.mu is held.
func (d *Directory) search(f *os.File, t table, name string) (*atomic.Uint64, *format.Record, error) {
	tag := format.Tag(name)
	for i := range uint64(len(t.slots)) {
		at := t.at(tag + i)
		slot := format.Slot(at.Load())
		if slot == 0 {
			return at, nil, nil
		}
		if slot.Tag() != tag {
			continue
		}
		if slot.Start() >= d.used { // published since
			if _, err := d.readUsed(f); err != nil {
				return nil, nil, err
			}
		}
		r, _, err := d.decode(slot.Start(), d.used)
		if err != nil {
			return nil, nil, err
		}
		if r.Kind != format.KindIndex && r.Name == name {
			return at, r, nil
		}
	}
	return nil, nil, nil
}
