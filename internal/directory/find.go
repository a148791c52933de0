package directory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
)

// Check validates the index. No other record is read.
//
// Preconditions: the caller is inside region.Guarded.
func (d *Directory) Check(f *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.readUsed(f); err != nil {
		return err
	}
	_, err := d.currentIndex(f)
	return err
}

// Find returns the value of that name, nil if there is none. A struct has the layout
// to which it has grown. A value that is known already is returned even if others
// have grown the segment beyond what this process could map.
//
// Preconditions: the caller is inside region.Guarded.
func (d *Directory) Find(f *os.File, name string) (*format.Record, error) {
	d.mu.RLock()
	r := d.known[name]
	d.mu.RUnlock()
	if r != nil && !r.Grows() {
		d.header.Used.Word.Load() // a fault if the file was cut off
		return r, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	newest, err := d.find(f, name)
	if r != nil && errors.Is(err, errs.Full) {
		return r, nil
	}
	return newest, err
}

// find is Find for a caller that holds d.mu.
func (d *Directory) find(f *os.File, name string) (*format.Record, error) {
	// The order is an invariant of the package.
	indexed, ok := d.header.Indexed.Bytes()
	if !ok {
		return nil, d.fail("open", fmt.Errorf("%w: the indexed size is damaged", errs.Format))
	}
	if _, err := d.readUsed(f); err != nil {
		return nil, err
	}
	t, err := d.currentIndex(f)
	if err != nil {
		return nil, err
	}
	_, newest, err := d.search(f, t, name)
	if err != nil {
		return nil, err
	}
	if newest == nil {
		used, err := d.readUsed(f)
		if err != nil {
			return nil, err
		}
		if newest, err = d.scan(max(indexed, format.HeaderSize), used, name); err != nil {
			return nil, err
		}
	}
	return d.learn(newest)
}

// scan returns the newest record of that name between two offsets, nil if there is
// none.
func (d *Directory) scan(from, to int64, name string) (newest *format.Record, err error) {
	for r, err := range d.records(from, to) {
		if err != nil {
			return nil, err
		}
		if r.Kind != format.KindIndex && r.Name == name && (newest == nil || r.Kind == format.KindGrowth) {
			newest = r
		}
	}
	return newest, nil
}

// learn returns the value that a record is for, and keeps it for the next time. A
// value that is known already, with the same layout, is returned itself.
func (d *Directory) learn(r *format.Record) (*format.Record, error) {
	if r == nil {
		return nil, nil
	}
	value := r
	known, start := d.known[r.Name], r.Start
	if r.Kind == format.KindGrowth {
		start = r.Older
	}
	if known != nil && known.Start == start && known.Layout == r.Layout {
		return known, nil
	}
	if r.Kind == format.KindGrowth {
		var err error
		if value, err = d.grownFrom(r); err != nil {
			return nil, err
		}
	}
	d.known[r.Name] = value
	return value, nil
}

// grownFrom returns the struct of a growth record, with the layout of that record.
func (d *Directory) grownFrom(r *format.Record) (*format.Record, error) {
	own, _, err := d.decode(r.Older, r.Start)
	if err == nil {
		if own, err = r.Grown(own); err != nil {
			err = d.fail("open", err)
		}
	}
	return own, err
}

// All yields every value, oldest first, as of the call. A struct has the layout to
// which it has grown. An error ends it: what comes after a damaged record cannot be
// listed. It does not need the index.
func (d *Directory) All(f *os.File) iter.Seq2[*format.Record, error] {
	return func(yield func(*format.Record, error) bool) {
		var used int64
		var grown map[int64]*format.Record // by the offset of the struct's own record
		err := d.locked(func() (err error) {
			if used, err = d.readUsed(f); err == nil {
				grown = d.growths(used)
			}
			return err
		})
		for off := int64(format.HeaderSize); err == nil && off < used; {
			var r *format.Record
			var size int64
			err = d.locked(func() (err error) {
				r, size, err = d.decode(off, used)
				if err == nil && r.Kind == format.KindGrowth {
					_, err = d.grownFrom(r)
				} else if err == nil && grown[off] != nil {
					r, err = d.grownFrom(grown[off])
				}
				return err
			})
			if err != nil {
				break
			}
			off += size
			if r.Kind != format.KindIndex && r.Kind != format.KindGrowth && !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// locked calls f with d.mu held. A fault in the mapping is its error.
func (d *Directory) locked(f func() error) error {
	return d.region.Guarded(func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		return f()
	})
}

// growths returns the last growth record of each struct, up to the first record that
// is not valid. It validates growth records alone: All validates the others.
func (d *Directory) growths(used int64) map[int64]*format.Record {
	last := map[int64]*format.Record{}
	for off := int64(format.HeaderSize); off < used; {
		kind, size, ok := format.Peek(d.region.Bytes, off, used)
		if !ok {
			break
		}
		if kind == format.KindGrowth {
			r, _, err := d.decode(off, used)
			if err != nil {
				break
			}
			last[r.Older] = r
		}
		off += size
	}
	return last
}

// Await sleeps until the directory has the name, and returns its value. If stop
// returns an error, Await returns that error. WakeAll makes it call stop.
func (d *Directory) Await(ctx context.Context, f *os.File, name string, stop func() error) (r *format.Record, err error) {
	err = d.names.Wait(ctx, (*namesMapping)(d), &d.header.Names, d.header.Used.Word.Load, func() (bool, error) {
		if err := stop(); err != nil {
			return false, err
		}
		err := d.region.Guarded(func() (err error) {
			r, err = d.Find(f, name)
			return err
		})
		return r != nil, err
	})
	return r, err
}

// WakeAll makes all goroutines in Await call stop.
func (d *Directory) WakeAll() { d.names.WakeAll((*namesMapping)(d), &d.header.Names) }
