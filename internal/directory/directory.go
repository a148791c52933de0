// Package directory finds and adds the named values of a segment.
//
// A [Directory] is this process's index of the records in one mapping. Records
// are only ever appended, and one store of header.Used publishes them. So the
// index grows from the last "used" that it saw, and it reads no record twice.
//
// The package may import mem, format, layout, lease, wait, sys, errs and
// killpoint. directory.go reads what others have published, add.go appends.
//
// Invariants:
//   - The name of records[i] is unique, and i is its Index. byName has each of
//     them. seen is the end of the last of them.
//   - Each offset in them is below verified: bytes that the file was seen to
//     have.
//   - A record never changes. If a value grows, a new record replaces it here,
//     because handles keep the old one.
package directory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// Directory is the index of one mapping's named values. It is safe for
// concurrent use. Init must be called before any other method.
type Directory struct {
	region *mem.Region
	header *format.Header
	owner  *lease.Owner
	names  wait.Group // goroutines that wait for a name

	mu       sync.RWMutex
	byName   map[string]*format.Record
	records  []*format.Record
	layouts  map[string]*layout.Layout // by format: most segments have few
	seen     int64
	verified int64
}

// Init sets the mapping that the directory describes, with its header and its owner.
func (d *Directory) Init(region *mem.Region, header *format.Header, owner *lease.Owner) {
	d.region, d.header, d.owner = region, header, owner
	d.byName, d.layouts, d.seen = map[string]*format.Record{}, map[string]*layout.Layout{}, format.HeaderSize
}

// Known returns the value of that name if the index has it; nil otherwise. It
// does not read what others have published since.
func (d *Directory) Known(name string) *format.Record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byName[name]
}

// All returns all values in the index, oldest first.
func (d *Directory) All() []*format.Record {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.records)
}

// Find reads what others have published, and returns the value of that name, nil
// if there is none. A value that is known already is returned even if others have
// grown the segment beyond what this process could map.
//
// Preconditions: the caller is inside region.Guarded.
func (d *Directory) Find(f *os.File, name string) (*format.Record, error) {
	err := d.Read(f)
	r := d.Known(name)
	if r != nil && errors.Is(err, errs.Full) {
		err = nil
	}
	return r, err
}

// Read takes what others have published into the index. f is the segment's file.
//
// Preconditions: the caller is inside region.Guarded.
func (d *Directory) Read(f *os.File) error {
	used, ok := d.header.Used.Bytes()
	d.mu.RLock()
	current := ok && used == d.seen
	d.mu.RUnlock()
	if current {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readLocked(f)
}

// readLocked is Read for a caller that holds d.mu.
func (d *Directory) readLocked(f *os.File) error {
	used, ok := d.header.Used.Bytes()
	if !ok || used < d.seen {
		return d.fail("open", fmt.Errorf("%w: %d bytes are used, after %d", errs.Format, used, d.seen))
	}
	if err := d.reach(f, used); err != nil {
		return err
	}
	for d.seen < used {
		r, size, err := format.Decode(d.region.Bytes, d.seen, used, d.layouts)
		if err != nil {
			return d.fail("open", err)
		}
		if err := d.index(r); err != nil {
			return d.fail("open", fmt.Errorf("%w: record at %d: %w", errs.Format, d.seen, err))
		}
		d.seen += size
	}
	return nil
}

func (d *Directory) fail(op string, err error) error { return errs.Path(op, d.region.Path, err) }

// index takes a record into the index. d.mu is held.
func (d *Directory) index(r *format.Record) error {
	old := d.byName[r.Name]
	if r.Kind == format.KindGrowth {
		want := &format.Shape{Layout: r.Layout, Count: r.Count, Access: r.Access, Kind: format.KindSingle}
		if old == nil || !want.Outgrows(old) || r.Capacity != old.Capacity {
			return fmt.Errorf("%q does not grow into %q", r.Name, r.Layout.Format)
		}
		grown := *old
		grown.Layout = r.Layout
		d.records[old.Index], d.byName[r.Name] = &grown, &grown
		return nil
	}
	if old != nil {
		return fmt.Errorf("a second value is named %q", r.Name)
	}
	r.Index = len(d.records)
	d.byName[r.Name] = r
	d.records = append(d.records, r)
	return nil
}

// reach makes sure that the first end bytes, which another process may have
// allocated, can be touched here. d.mu is held.
func (d *Directory) reach(f *os.File, end int64) error {
	if end > int64(len(d.region.Bytes)) {
		return d.fail("open", fmt.Errorf("%w: it has grown to %d bytes, and this process could map only %d", errs.Full, end, len(d.region.Bytes)))
	}
	return d.verify(f, end)
}

// verify makes sure that the file has the first end bytes, whatever its header
// says. d.mu is held.
func (d *Directory) verify(f *os.File, end int64) error {
	if end <= d.verified {
		return nil
	}
	size, err := sys.FileSize(f, d.region.Path)
	if err != nil {
		return err
	}
	if size < end {
		return d.fail("open", fmt.Errorf("%w: the file was cut off: it has %d bytes of %d", errs.Format, size, end))
	}
	d.verified = size
	return nil
}

// Await sleeps until the directory has the name, and returns its value. If stop
// returns an error, Await returns that error. Rouse makes it call stop.
func (d *Directory) Await(ctx context.Context, f *os.File, name string, stop func() error) (r *format.Record, err error) {
	err = d.names.Wait(ctx, d.owner, &d.header.Names, d.header.Used.Word.Load, func() (bool, error) {
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

// Rouse makes all goroutines in Await call stop.
func (d *Directory) Rouse() { d.names.Rouse(d.owner, &d.header.Names) }
