package shm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"example.org/shm/internal/cells"
	"example.org/shm/internal/directory"
	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// mapping is one file's memory in this process, and what belongs to it. All
// attachments to a file share one mapping, or two if some of them are read-only.
// An open Segment keeps its mapping, and so does each handle. A cleanup unmaps it when
// nothing refers to it any more, whether the Segment was closed or forgotten. What lend
// was called for is kept until the last Close.
type mapping struct {
	lent    atomic.Bool // the table in the variable attached keeps it
	region  mem.Region
	refusal error // what a change panics with; nil if changes are allowed
	file    *inode
	header  *format.Header // nil in foreign memory

	// Not used in foreign memory.
	dir   directory.Directory
	party robust.Party // this mapping as a holder of locks
	locks robust.Table
	cells cells.Table
	own   *resources
}

// resources is what the cleanup gives back. It must not refer to the mapping.
type resources struct {
	open         int // Segments that were not closed; guarded by attached while the mapping can be reached
	memory       []byte
	control      lease.Control
	endListening func() // ends listen; nil if nobody listens; guarded by attached while the mapping can be reached
}

// inode is a file that this process has mapped. Its mappings share it, so that
// each place in memory has one race token, however the file is mapped.
type inode struct {
	allocation sync.Mutex // the allocation lock within this process; a file lock excludes other processes
	rw, ro     weak.Pointer[mapping]
	cells      race.Cells
}

// attached is the table of all files that this process has mapped.
var attached = struct {
	sync.Mutex
	inodes map[sys.Key]weak.Pointer[inode]
	lent   map[*mapping]struct{} // pointers into these are with the user
	kept   []*resources          // of mappings that were forgotten while they held a lock
}{inodes: map[sys.Key]weak.Pointer[inode]{}, lent: map[*mapping]struct{}{}}

// lend keeps the mapping until the last Close, because the user gets a pointer into it,
// which keeps nothing.
func (m *mapping) lend() {
	if m != nil && !m.lent.Load() {
		m.lendOnce()
	}
}

//go:noinline
func (m *mapping) lendOnce() {
	attached.Lock()
	defer attached.Unlock()
	if m.own.open > 0 { // else the pointer is not valid
		attached.lent[m] = struct{}{}
		m.lent.Store(true)
	}
}

// attach returns the mapping of f. All attachments to the file share it.
// It reserves size bytes of address space, or as many as the system allows, but
// at least need. It maps foreign memory anew each time: that has no locks, so
// nothing needs to be shared.
func attach(f *os.File, key sys.Key, path string, size, need int64, readOnly, foreign bool, home directory.Home) (*mapping, error) {
	if !foreign {
		if m := pin(key, readOnly, nil); m != nil {
			m.party.Remember(key)
			return m, nil
		}
	}
	// The table's lock is not held here: Map may wait for cleanups, and some of
	// them take that lock.
	m, err := newMapping(f, key, path, size, need, readOnly, foreign, home)
	if err != nil {
		return nil, err
	}
	return pin(key, readOnly, m), nil
}

// pin counts one more open Segment of the file's mapping and returns the mapping:
// the one that the table has, or else m, which the table has from then on. A
// foreign m is always itself, and never in the table.
func pin(key sys.Key, readOnly bool, m *mapping) *mapping {
	attached.Lock()
	defer attached.Unlock()
	node := attached.inodes[key].Value()
	switch {
	case node == nil && m == nil:
		return nil
	case node == nil:
		node = new(inode)
		attached.inodes[key] = weak.Make(node)
		runtime.AddCleanup(node, forget, key)
	}
	known := &node.rw
	if readOnly {
		known = &node.ro
	}
	shared := known.Value()
	switch {
	case shared != nil && (m == nil || m.header != nil):
		m = shared
	case m == nil:
		return nil
	default:
		m.file = node
		m.party.ShareAllocation(&node.allocation)
		if m.header != nil {
			*known = weak.Make(m)
		}
	}
	m.own.open++
	m.party.Reopen()
	m.listen()
	return m
}

// listen makes this process answer those that may only read, while the mapping has open
// Segments. The caller holds attached.
func (m *mapping) listen() {
	if m.header == nil || m.region.ReadOnly || m.own.endListening != nil {
		return
	}
	listener := weak.Make(m)
	m.own.endListening = wait.Listen(&m.header.Bell, func() {
		if m := listener.Value(); m != nil {
			m.dir.Answer()
			runtime.KeepAlive(m)
		}
	})
}

// forget drops the table's entry of an unreachable inode, unless the file has
// been attached anew.
func forget(key sys.Key) {
	attached.Lock()
	defer attached.Unlock()
	if attached.inodes[key].Value() == nil {
		delete(attached.inodes, key)
		sys.Unsettle(key)
	}
}

// detach ends one Segment's pin.
func (m *mapping) detach() {
	attached.Lock()
	defer attached.Unlock()
	if m.own.open--; m.own.open == 0 {
		delete(attached.lent, m)
		m.lent.Store(false)
		m.party.Shut()
		m.own.stopListening()
	}
}

func newMapping(f *os.File, key sys.Key, path string, size, need int64, readOnly, foreign bool, home directory.Home) (*mapping, error) {
	memory, err := mem.Map(f, path, size, need, readOnly)
	if err != nil {
		return nil, err
	}
	m := &mapping{
		region: mem.Region{Bytes: memory, Path: path, ReadOnly: readOnly},
		own:    &resources{memory: memory},
	}
	if readOnly {
		m.refusal = fmt.Errorf("%w: change of a value in %s", ErrReadOnly, path)
	}
	if !foreign {
		m.header = mem.At[format.Header](&m.region, 0)
		m.party.Init(m.header, &m.own.control, path, readOnly)
		m.party.Remember(key)
		m.dir.Init(&m.region, m.header, &m.party.Owner, home)
		m.party.Locate(m.dir.Record)
	}
	runtime.AddCleanup(m, (*resources).release, m.own)
	sys.MappingIdle(1)
	return m, nil
}

func (r *resources) stopListening() {
	if r.endListening != nil {
		r.endListening()
		r.endListening = nil
	}
}

// release gives all of that back. If every Segment was forgotten, and none closed last,
// this process may still hold a lock, or count in a gauge. It lives, and nobody may take
// it for dead, so the memory and the lease stay until it ends.
func (r *resources) release() {
	r.stopListening()
	if id := r.control.ID(); r.open > 0 && id != 0 && directory.Holds(r.memory, id) {
		attached.Lock()
		defer attached.Unlock()
		attached.kept = append(attached.kept, r)
		sys.MappingIdle(-1)
		return
	}
	// Unmap fails only for a slice that Map did not return, and this is the one
	// that it returned.
	_ = mem.Unmap(r.memory)
	r.control.Close()
	sys.MappingIdle(-1)
	sys.MappingReleased()
}

// prepare does what a mapping needs before its first use. unfit is why the sizes in
// the header do not fit each other, or nil.
func (m *mapping) prepare(f *os.File, unfit error) error {
	return m.region.Guarded(func() error {
		if err := m.party.Settle(f, m.dir.Vacant()); err != nil {
			return err
		}
		switch {
		case !m.region.ReadOnly:
			return m.dir.Attach(f, unfit)
		case unfit != nil:
			return errs.Path("open", m.region.Path, unfit)
		}
		return m.dir.Check(f)
	})
}

// homeOf returns where a segment is, if it is in this very file.
func homeOf(f *os.File, key sys.Key, identity uint64) directory.Home {
	boot := sys.BootID()
	if sys.InMemory(f) { // a container may have a boot id of its own
		return directory.Home{Stamp: format.Home("", key.Ino, identity), InMemory: true}
	}
	if boot == "" {
		return directory.Home{} // the system does not say
	}
	return directory.Home{Stamp: format.Home(boot, key.Ino, identity)}
}

// size returns how many bytes are allocated.
func (m *mapping) size() (n int64, err error) {
	if m.header == nil {
		return int64(len(m.region.Bytes)), nil
	}
	err = m.region.Guarded(func() error { n, _ = m.header.Allocated.Bytes(); return nil })
	runtime.KeepAlive(m)
	return min(n, int64(len(m.region.Bytes))), err
}

// sync flushes what is allocated to disk. f is the mapping's file.
func (m *mapping) sync(f *os.File) error {
	n, err := m.size()
	if err != nil {
		return err
	}
	err = m.region.Flush(n)
	runtime.KeepAlive(m)
	if err != nil {
		return err
	}
	// The system flushes no more than the file has, without an error.
	have, err := sys.FileSize(f, m.region.Path)
	if err == nil && have < n {
		err = errs.Path("sync", m.region.Path, fmt.Errorf("%w: the file was cut off: it has %d bytes of %d", ErrFormat, have, n))
	}
	return err
}

// attachFile validates what f holds, on a copy that no process can change any
// more, and maps it.
//
// Preconditions: f is a regular file.
func attachFile(f *os.File, path string, opt Options) (*mapping, error) {
	if opt.Foreign {
		key, size, err := sys.Identify(f, path)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			return nil, errs.Path("open", path, fmt.Errorf("%w: the file is empty", ErrFormat))
		}
		return attach(f, key, path, size, size, opt.ReadOnly, true, directory.Home{})
	}
	key, size, start, err := readHeader(f, path)
	if err != nil {
		return nil, err
	}
	home := homeOf(f, key, start.Identity)
	m, err := attach(f, key, path, start.MaxSize, min(size, start.MaxSize), opt.ReadOnly, false, home)
	if err != nil {
		return nil, err
	}
	m.party.Attached(f)
	if err := m.prepare(f, start.Unfit); err != nil {
		m.detach()
		return nil, err
	}
	return m, nil
}

// readHeader reads the header until it is valid, or stays invalid: a copy that is
// made while another process adds values may have an old word beside a new one.
// It takes the file's size after the copy, because the file only grows.
func readHeader(f *os.File, path string) (key sys.Key, size int64, s format.Start, err error) {
	const tries = 100 // against a peer that never stops writing
	var before []byte
	for range tries {
		start := make([]byte, format.TableOffset)
		n, err := f.ReadAt(start, 0)
		if err != nil && err != io.EOF {
			return key, 0, s, err
		}
		start = start[:n] // CheckHeader refuses too short a file
		if key, size, err = sys.Identify(f, path); err != nil {
			return key, 0, s, err
		}
		s, err = format.CheckHeader(start, size)
		switch same := before != nil && bytes.Equal(start, before); {
		case err == nil && (s.Unfit == nil || same):
			return key, size, s, nil
		case same:
			return key, 0, s, errs.Path("open", path, err)
		}
		before = start
	}
	return key, 0, s, errs.Path("open", path, fmt.Errorf("%w: the header kept changing while it was read", ErrFormat))
}
