// Package directory finds, lists and adds the named values of a segment.
//
// Records are only ever appended, and one store of header.Used publishes them. The
// index in the segment leads from a name to its record. A [Directory] reads a record
// when somebody asks for it, so a segment with many values costs a process no more
// than the values that it uses.
//
// The package may import mem, format, layout, lease, wait, sys, errs and
// killpoint. From below to above: table.go has the slots of an index, directory.go
// reads records, index.go finds them by the index, find.go finds and lists values.
// append.go appends records, enter.go enters them in the index, repair.go puts a file
// in order that outlived its system, sound.go checks all of it, add.go adds values, ask.go answers
// who may only read.
//
// Invariants:
//   - A record never changes. If a struct grows, a new record has its name.
//   - The slots of the index lead to all records up to header.Indexed. A process
//     loads header.Indexed before it looks into the slots, and looks at the records
//     from there on afterwards, so it misses no name that any process has found.
//   - No access is beyond verified: bytes that the file was seen to have.
package directory

import (
	"fmt"
	"iter"
	"os"
	"sync"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// Directory is one mapping's view of the named values. It is safe for concurrent
// use. Init must be called before any other method.
type Directory struct {
	region *mem.Region
	header *format.Header
	owner  *lease.Owner
	home   Home
	names  wait.Group // goroutines that wait for a name

	mu       sync.RWMutex
	known    map[string]*format.Record // by name: values that were asked for
	layouts  map[string]*layout.Layout // by format: most segments have few
	table    table
	used     int64 // the largest that was seen
	verified int64
}

// namesMapping is the mapping as the goroutines see it that wait for a name.
type namesMapping Directory

func (d *namesMapping) WakeBit() uint32 { return d.owner.WakeBit() }
func (d *namesMapping) ReadOnly() bool  { return d.owner.ReadOnly() }
func (d *namesMapping) Ask()            { d.owner.Ask(format.AskBase) }
func (d *namesMapping) Withdraw()       { d.owner.Withdraw(format.AskBase) }

// Home is where and when the leases of a segment are valid, as this process sees it.
type Home struct {
	Stamp    uint64 // what format.Home returns; 0: unknown
	InMemory bool   // no file of this filesystem outlives the system
}

// Init sets the mapping that the directory describes, with its header, its owner and
// its home.
func (d *Directory) Init(region *mem.Region, header *format.Header, owner *lease.Owner, home Home) {
	d.region, d.header, d.owner, d.home = region, header, owner, home
	d.known, d.layouts = map[string]*format.Record{}, map[string]*layout.Layout{}
}

// decode reads the record at an offset, which ends by end.
//
// Preconditions: the file is known to have the bytes up to end.
func (d *Directory) decode(off, end int64) (r *format.Record, size int64, err error) {
	if off < format.HeaderSize || off >= end {
		return nil, 0, d.fail("open", fmt.Errorf("%w: no record can be at byte %d of %d", errs.Format, off, end))
	}
	if r, size, err = format.Decode(d.region.Bytes, off, end, d.layouts); err != nil {
		return nil, 0, d.fail("open", err)
	}
	return r, size, nil
}

// records yields the records between two offsets. An error ends it.
//
// Preconditions: d.mu is held, and the file is known to have the bytes up to the end.
func (d *Directory) records(from, end int64) iter.Seq2[*format.Record, error] {
	return func(yield func(*format.Record, error) bool) {
		for from < end {
			r, size, err := d.decode(from, end)
			if !yield(r, err) || err != nil {
				return
			}
			from += size
		}
	}
}

// readUsed returns how many bytes the records take, and makes sure that they can be
// touched here. d.mu is held.
func (d *Directory) readUsed(f *os.File) (int64, error) {
	used, ok := d.header.Used.Bytes()
	if !ok || used < d.used || used < format.HeaderSize {
		return 0, d.fail("open", fmt.Errorf("%w: %d bytes are used, after %d", errs.Format, used, d.used))
	}
	if err := d.reach(f, used); err != nil {
		return 0, err
	}
	d.used = used
	return used, nil
}

func (d *Directory) fail(op string, err error) error { return errs.Path(op, d.region.Path, err) }

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
	d.region.Dumped(size)
	return nil
}
