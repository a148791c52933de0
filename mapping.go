package shm

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/edsrzf/mmap-go"
)

// mapping is one file's memory in this process. All attachments to a file
// share one, or two where one of them is read-only. It stays pinned while a
// Segment is open; afterwards handles keep it, and a cleanup unmaps it when
// none is left.
type mapping struct {
	mem      []byte // the whole reserved address range
	path     string // for messages
	readOnly bool
	refusal  error // what a change panics with; nil where it is allowed
	file     *inode
	own      *resources
	closed   atomic.Bool // no Segment of it is open

	*header               // nil in foreign memory
	dir     directory     // the named values
	lobby   lobby         // who waits for a name
	id      atomic.Uint32 // this attachment's, held by a lease; 0 before the first locked handle
	leaseM  sync.Mutex    // guards taking the id, and own.ctl
	dead    graveyard     // owners that are gone
	locks   lockTable     // one Mutex for each place
	watches watchTable    // who watches which owner
}

// resources is what the cleanup gives back: it must not reach the mapping.
type resources struct {
	mem mmap.MMap
	ctl *os.File // see control; nil until somebody needs it
}

// inodeKey identifies a file in this process, and inode is what its mappings
// share, so that each place in memory has one race token however it is mapped.
type inodeKey struct{ dev, ino uint64 }

type inode struct {
	key    inodeKey
	allocM sync.Mutex // allocation lock within the process; the file lock excludes other processes
	rw, ro weak.Pointer[mapping]
	cells  raceCells
}

// attached is the table of all files this process has mapped.
var attached = struct {
	sync.Mutex
	inodes map[inodeKey]weak.Pointer[inode]
	open   map[*mapping]int // open Segments of each mapping: the pin
}{inodes: map[inodeKey]weak.Pointer[inode]{}, open: map[*mapping]int{}}

// attach returns the mapping of f, shared with whoever attached it already.
// It reserves size bytes of address space, or as many as the system lets it
// have but at least need. Foreign memory is mapped anew each time: it has no
// locks, so nothing needs to be shared.
func attach(f *os.File, key inodeKey, path string, size, need int64, readOnly, foreign bool) (*mapping, error) {
	if !foreign {
		if m := pin(key, readOnly, nil); m != nil {
			return m, nil
		}
	}
	// Without the lock: mapping may wait for cleanups, of which some take it.
	m, err := newMapping(f, path, size, need, readOnly, foreign)
	if err != nil {
		return nil, err
	}
	return pin(key, readOnly, m), nil
}

// pin counts one more open Segment of the file's mapping and returns that: the
// one that is known, or else m, which is known from then on. A foreign m is
// always itself, and never known to others.
func pin(key inodeKey, readOnly bool, m *mapping) *mapping {
	attached.Lock()
	defer attached.Unlock()
	node := attached.inodes[key].Value()
	switch {
	case node == nil && m == nil:
		return nil
	case node == nil:
		node = &inode{key: key}
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
		if m.header != nil {
			*known = weak.Make(m)
		}
	}
	if attached.open[m]++; attached.open[m] == 1 {
		idle.Add(-1)
	}
	m.closed.Store(false)
	return m
}

// forget drops the table's entry of an unreachable inode, unless the file has
// been attached anew.
func forget(key inodeKey) {
	attached.Lock()
	defer attached.Unlock()
	if attached.inodes[key].Value() == nil {
		delete(attached.inodes, key)
	}
}

// detach ends one Segment's pin.
func (m *mapping) detach() {
	attached.Lock()
	defer attached.Unlock()
	if attached.open[m]--; attached.open[m] == 0 {
		delete(attached.open, m)
		m.closed.Store(true)
		idle.Add(1)
	}
}

// Mappings without an open Segment are garbage once no handle reaches them, but
// the collector sees only a few bytes of each.
var (
	idle     atomic.Int64 // how many there are
	released atomic.Int64 // how many have been unmapped, ever
)

// reclaim lets the collector give back what closed segments have, where the
// system has run out of it, and reports whether to try again.
func reclaim() bool {
	if idle.Load() == 0 {
		return false
	}
	before := released.Load()
	runtime.GC()
	// Cleanups run after the collection, in goroutines of their own.
	for range 100 {
		if released.Load() > before {
			return true
		}
		time.Sleep(100 * time.Microsecond)
	}
	return false
}

func newMapping(f *os.File, path string, size, need int64, readOnly, foreign bool) (*mapping, error) {
	prot := mmap.RDWR
	if readOnly {
		prot = mmap.RDONLY
	}
	if need > math.MaxInt {
		return nil, pathError("mmap", path, fmt.Errorf("%w: %d bytes do not fit this system's address space", ErrFull, need))
	}
	if size > math.MaxInt { // a 64-bit program made it
		size = max(need, smallReserve)
	}
	mem, err := mapFile(f, size, need, prot)
	if err != nil {
		return nil, pathError("mmap", path, err)
	}
	m := &mapping{mem: mem, path: path, readOnly: readOnly, own: &resources{mem: mem}}
	if readOnly {
		m.refusal = fmt.Errorf("%w: change of a value in %s", ErrReadOnly, path)
	}
	if !foreign {
		m.header = at[header](m, 0)
	}
	runtime.AddCleanup(m, (*resources).release, m.own)
	idle.Add(1)
	return m, nil
}

// mapFile maps the first size bytes of f, or fewer but at least need where
// address space is short.
func mapFile(f *os.File, size, need int64, prot int) (mmap.MMap, error) {
	mem, err := mmap.MapRegion(f, int(size), prot, 0, 0)
	for outOfMemory(err) && reclaim() {
		mem, err = mmap.MapRegion(f, int(size), prot, 0, 0)
	}
	half := func() int64 { return (size/2 + pageSize - 1) / pageSize * pageSize }
	if !outOfMemory(err) || size/2 < need {
		return mem, err
	}
	for outOfMemory(err) && size/2 >= need {
		size = half()
		mem, err = mmap.MapRegion(f, int(size), prot, 0, 0)
	}
	if err != nil || size/2 < need {
		return mem, err
	}
	// As much again is left to the program, whose heap has to grow too.
	if err := mem.Unmap(); err != nil {
		return nil, err
	}
	return mmap.MapRegion(f, int(half()), prot, 0, 0)
}

var pageSize = int64(os.Getpagesize())

func (r *resources) release() {
	// Nobody is left to tell: an error here could only be a slice that is no
	// mapping, and it is the one that MapRegion returned.
	_ = r.mem.Unmap()
	if r.ctl != nil {
		_ = r.ctl.Close()
	}
	idle.Add(-1)
	released.Add(1)
}

// wakeBit is the futex bit by which this mapping's own sleepers are woken, and
// few of other processes'.
func (m *mapping) wakeBit() uint32 {
	if id := m.id.Load(); id != 0 {
		return 1 << (id % 32)
	}
	return 1 << (uint(os.Getpid()) % 32)
}

// mustContain panics unless size bytes from off are inside and aligned. Callers
// have validated what they pass; a panic here is this package's own error.
func (m *mapping) mustContain(off, size, align int64) {
	if off < 0 || size < 0 || off > int64(len(m.mem)) || size > int64(len(m.mem))-off || off%align != 0 {
		panic(fmt.Sprintf("shm: %s: %d bytes at %d are not inside its %d bytes or not aligned to %d", m.path, size, off, len(m.mem), align))
	}
}

// size returns how many bytes are allocated.
func (m *mapping) size() (n int64, err error) {
	if m.header == nil {
		return int64(len(m.mem)), nil
	}
	err = m.guarded(func() error { n, _ = m.allocated.bytes(); return nil })
	runtime.KeepAlive(m)
	return min(n, int64(len(m.mem))), err
}

// sync flushes what is allocated to disk.
func (m *mapping) sync() error {
	n, err := m.size()
	if err != nil {
		return err
	}
	if err := mmap.MMap(m.mem[:n]).Flush(); err != nil {
		return pathError("msync", m.path, err)
	}
	runtime.KeepAlive(m)
	return nil
}
