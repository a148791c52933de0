package shm

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
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
	file     *inode
	own      *resources
	closed   atomic.Bool // no Segment of it is open

	*header               // nil in foreign memory
	dir     directory     // the named values
	lobby   lobby         // who waits for a name
	id      atomic.Uint32 // this attachment's, held by a lease; 0 before the first locked handle
	leaseM  sync.Mutex    // guards taking the id, and own.ctl
	dead    sync.Map      // ids whose lease was found free: they never live again
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
	attached.Lock()
	defer attached.Unlock()
	node := attached.inodes[key].Value()
	if node == nil {
		node = &inode{key: key}
		attached.inodes[key] = weak.Make(node)
		runtime.AddCleanup(node, forget, key)
	}
	known := &node.rw
	if readOnly {
		known = &node.ro
	}
	m := known.Value()
	if m == nil || foreign {
		var err error
		if m, err = newMapping(f, path, size, need, readOnly, foreign); err != nil {
			return nil, err
		}
		m.file = node
		if !foreign {
			*known = weak.Make(m)
		}
	}
	attached.open[m]++
	m.closed.Store(false)
	return m, nil
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
	}
}

func newMapping(f *os.File, path string, size, need int64, readOnly, foreign bool) (*mapping, error) {
	prot := mmap.RDWR
	if readOnly {
		prot = mmap.RDONLY
	}
	if size > math.MaxInt {
		return nil, pathError("mmap", path, fmt.Errorf("%w: %d bytes do not fit this system's address space", ErrFull, size))
	}
	var mem mmap.MMap
	for {
		var err error
		if mem, err = mmap.MapRegion(f, int(size), prot, 0, 0); err == nil {
			break
		}
		if !outOfMemory(err) || size/2 < need {
			return nil, pathError("mmap", path, err)
		}
		size = (size/2 + pageSize - 1) / pageSize * pageSize
	}
	m := &mapping{mem: mem, path: path, readOnly: readOnly, own: &resources{mem: mem}}
	if !foreign {
		m.header = at[header](m, 0)
	}
	runtime.AddCleanup(m, (*resources).release, m.own)
	return m, nil
}

var pageSize = int64(os.Getpagesize())

func (r *resources) release() {
	// Nobody is left to tell: an error here could only be a slice that is no
	// mapping, and it is the one that MapRegion returned.
	_ = r.mem.Unmap()
	if r.ctl != nil {
		_ = r.ctl.Close()
	}
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

// sync flushes the first size bytes to disk.
func (m *mapping) sync(size int64) error {
	if err := mmap.MMap(m.mem[:size]).Flush(); err != nil {
		return pathError("msync", m.path, err)
	}
	runtime.KeepAlive(m)
	return nil
}
