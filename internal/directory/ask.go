package directory

import (
	"os"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/wait"
)

// Record returns the offset of the record in which a lock cell is. ok is false if this
// process has not asked for a value that has the cell. name is probably the value's.
func (d *Directory) Record(name string, cell int64) (start int64, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if r := d.known[name]; r != nil && r.HasLockAt(cell) {
		return r.Start, true
	}
	for _, r := range d.known {
		if r.HasLockAt(cell) {
			return r.Start, true
		}
	}
	return 0, false
}

// Answer announces, in the change words of the segment, the processes that have asked for
// it because they may only read. It never blocks for long.
//
// Preconditions: the mapping is not read-only.
func (d *Directory) Answer() {
	_ = d.region.Guarded(func() error { // a file that was cut off has nobody to answer
		d.owner.Asked(func(f *os.File, at int64) {
			if word := d.asked(f, at); word != nil {
				wait.AnnounceOthers(word)
			}
		})
		return nil
	})
}

// asked returns the change word that a byte stands for. It returns nil if no value has
// one there, because whoever may only read could otherwise make this process change
// any byte.
func (d *Directory) asked(f *os.File, at int64) *format.ChangeWord {
	start, cell, ok := format.AskedCell(at)
	switch {
	case !ok:
		return nil
	case start == 0 && cell == 0:
		return &d.header.Names
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.readUsed(f); err != nil {
		return nil
	}
	r, _, err := d.decode(start, d.used)
	if err != nil || !r.HasLockAt(cell) {
		return nil
	}
	// The bytes of a value may look like a record. The index knows better.
	if value, err := d.find(f, r.Name); err != nil || value == nil || value.Start != start {
		return nil
	}
	return &mem.At[format.LockCell](d.region, cell).Change
}
