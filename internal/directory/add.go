package directory

import (
	"fmt"
	"io/fs"
	"os"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/wait"
)

// Add appends a record under the allocation lock, and returns the value. init,
// which may be nil, writes the first value before any process can see it. If
// another process was first, Add returns that process's value, whatever it is,
// and does not call init. f is the segment's file.
//
// A process that dies inside leaves nothing: one store of header.Used publishes
// the record, and the next process to add clears what was written above it, gives
// back what was reserved, and completes the index.
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
	if err := d.order(f); err != nil {
		return nil, err
	}
	old, err := d.find(f, want.Name)
	if err != nil {
		return nil, err
	}
	if old != nil && !want.Outgrows(old) {
		return old, nil
	}
	capacity, older := want.Room(), int64(0)
	if old != nil {
		growth := *want
		growth.Kind, growth.Count, growth.Unit, growth.Help, growth.Hint, growth.Reserve = format.KindGrowth, 0, "", "", format.HintNone, 0
		want, init, capacity, older = &growth, nil, old.Capacity, old.Start
	} else if err := d.widen(f, want.Name); err != nil {
		return nil, err
	}
	r, err := d.appendRecord(f, want, capacity, older, init)
	if err != nil {
		return nil, err
	}
	if err := d.enter(f, r); err != nil {
		return nil, err
	}
	d.header.Indexed.StoreBytes(d.used)
	killpoint.At(killpoint.IndexedStored)
	wait.Changed(&d.header.Names)
	return d.learn(r)
}

// order puts right what others have left: a process that died while it added a value,
// or an earlier boot of the system. The caller holds the allocation lock and d.mu.
func (d *Directory) order(f *os.File) error {
	if d.foreignHome() && !d.inUse(f) {
		if err := d.repair(f); err != nil {
			return err
		}
	}
	if _, err := d.readUsed(f); err != nil {
		return err
	}
	return d.complete(f)
}
