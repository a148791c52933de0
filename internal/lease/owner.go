// Package lease gives each mapping of a segment an id, and proves whether the
// process with another id lives.
//
// A lease is a write lock on byte format.LeaseBase+id of the segment's file,
// held through an open file description that only this mapping has. The system drops
// it when the description is closed, which is when its process ends, in any pid
// namespace. Nothing else proves that the owner of a lock is gone: a pid may
// belong to another process by now, or to another namespace.
//
// The package may import sys, format, errs and killpoint.
//
// Invariants:
//   - While a lock word anywhere in the segment holds this mapping's id, the
//     mapping lives and its control description holds the lease.
//   - No id is given to two mappings.
//   - A lease that was found free stays free.
//   - Nothing is concluded from a lock that is not there, unless the description
//     that was asked through is shown to be one of the segment's file. Other code of
//     the program may close descriptors that are not its own, and then a number is
//     another file's.
//
// From below to above: handover.go has what a parent has passed, owner.go asks for
// leases, ids.go takes an id and its lease, allocation.go takes the allocation lock,
// ask.go asks others to announce a process that may only read.
//
// Source: fcntl(2) on open file description locks.
package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/sys"
)

// blindFor is how long a process whose probe failed leaves probing to others.
const blindFor = int64(time.Second)

// Control is the open file description that holds a mapping's lease and takes
// the allocation lock. The zero value has no file yet.
type Control struct {
	file  *os.File
	kept  bool  // the file is in the variable passed, and stays open
	lease int64 // byte of the lease; 0: none
}

// Close drops the lease.
func (c *Control) Close() {
	switch {
	case c.kept && c.lease != 0:
		sys.Unlock(c.file, c.lease)
	case c.file != nil && !c.kept:
		_ = sys.CloseLocks(c.file)
	}
}

// ID returns the id whose lease it is; 0: none.
func (c *Control) ID() uint32 {
	if c.lease == 0 {
		return 0
	}
	return uint32(c.lease - format.LeaseBase)
}

// Owner is one mapping of a segment as an owner of locks. It is safe for
// concurrent use. Init must be called before any other method.
type Owner struct {
	header     *format.Header
	control    *Control
	allocation *sync.Mutex // excludes this process's other mappings of the file
	path       string
	readOnly   bool

	mu         sync.Mutex // guards control.file and key, and the taking of an id
	key        sys.Key    // of the segment's file; zero: not known yet; never changes then
	id         atomic.Uint32
	dead       deadIDs
	blindUntil atomic.Int64 // a probe failed: until then other processes probe
	checkedAt  atomic.Int64 // the last look at this mapping's own lease
	lost       atomic.Bool  // its own lease is gone, and others take it for dead
	questions  questions    // guarded by mu
}

// questions is what a mapping needs to ask or to answer.
type questions struct {
	files []weak.Pointer[os.File] // of the file's open segments in this process
	next  int64                   // where Asked goes on
}

// Init sets the parts of the owner. The caller closes control after the last use of
// the owner. ShareAllocation sets the remaining part.
func (o *Owner) Init(header *format.Header, control *Control, path string, readOnly bool) {
	o.header, o.control, o.path, o.readOnly = header, control, path, readOnly
}

// ShareAllocation sets the mutex that excludes this process's other mappings of
// the file from allocating. All of them share it.
func (o *Owner) ShareAllocation(mu *sync.Mutex) { o.allocation = mu }

// Remember tells the owner which file is the segment's. Without it, that is the file
// that leads to the first description.
func (o *Owner) Remember(key sys.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.key == (sys.Key{}) {
		o.key = key
	}
	if o.control.file == nil || o.control.kept || o.readOnly {
		return
	}
	passed.Lock()
	defer passed.Unlock()
	if file := passed.files[key]; file != nil { // This process opens the file by itself.
		_ = sys.CloseLocks(file)
		delete(passed.files, key)
	}
}

// ID returns the mapping's id; 0 before Take.
func (o *Owner) ID() uint32 { return o.id.Load() }

// ReadOnly reports whether the mapping is read-only. Such an owner never has an
// id.
func (o *Owner) ReadOnly() bool { return o.readOnly }

// Path returns the path of the segment's file, for messages.
func (o *Owner) Path() string { return o.path }

// WakeBit returns the futex bit by which this mapping's own sleepers are woken,
// together with few of other processes.
func (o *Owner) WakeBit() uint32 {
	if id := o.ID(); id != 0 {
		return 1 << (id % 32)
	}
	return 1 << (uint(os.Getpid()) % 32)
}

// description returns the control file. It is the one that the parent of this process
// has handed over for this, or is opened anew. It is never duplicated, so that no child
// process shares it. o.mu is held.
func (o *Owner) description(f *os.File) (*os.File, error) {
	if o.control.file != nil {
		return o.control.file, nil
	}
	passed.Lock()
	file := passed.files[o.key]
	passed.Unlock()
	if file != nil {
		if err := o.check(file); err != nil {
			return nil, err
		}
		o.control.file, o.control.kept = file, true
		return file, nil
	}
	file, err := sys.Reopen(f, o.path)
	if err != nil {
		return nil, err
	}
	if o.key == (sys.Key{}) {
		o.key, _, err = sys.Identify(f, o.path)
	}
	if err == nil {
		err = o.check(file)
	}
	if err != nil {
		return nil, sys.CloseAfter(file, err)
	}
	o.control.file = file
	return file, nil
}

// check returns an error unless f leads to the segment's file: what the system says
// of f's locks is of the segment only then.
//
// Preconditions: o.key is set.
func (o *Owner) check(f *os.File) error {
	key, _, err := sys.Identify(f, o.path)
	if err == nil && key != o.key {
		err = errs.Path("lock", o.path, fmt.Errorf("%w: a descriptor of the segment leads to another file; %s", fs.ErrClosed, advice))
	}
	return err
}

// advice says what makes descriptors lead to other files, and what to do.
const advice = "this program closes descriptors that are not its own (close_range, closefrom, a number closed twice): do that before it opens a segment, and start it anew"

// open is description for a caller that does not hold o.mu. If this process can never
// have one, the error says what to do.
func (o *Owner) open(f *os.File) (*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	control, err := o.description(f)
	switch {
	case err == nil, errors.Is(err, fs.ErrClosed), sys.OutOfDescriptors(err), sys.OutOfMemory(err):
		return control, err
	}
	return nil, fmt.Errorf("a process adds no value and takes no lock without an open file description of its own: %w; let its parent hand the segment over with Pass, or let it open the file", err)
}

func (o *Owner) entry(id uint32) *format.TableEntry { return &o.header.Table[id%format.TableLen] }

// held reports whether a process holds the lease of an id. It asks for a read
// lock, with which only a write lock conflicts, so a process that may only read
// the file cannot make a dead owner look alive. An error counts as held.
//
// Preconditions: f is a description of the segment's file, and not the one that holds
// the lease itself.
func held(f *os.File, id uint32) bool {
	locked, err := sys.Locked(f, format.LeaseBase+int64(id), 1)
	return locked || err != nil
}

// anyHeld reports whether a process holds any lease. An error counts as held.
//
// Preconditions: f is a description of the segment's file.
func anyHeld(f *os.File) bool {
	locked, err := sys.Locked(f, format.LeaseBase, format.MaxID+1)
	return locked || err != nil
}

// Held reports whether a process holds the lease of an id. It also returns true if f
// does not lead to the segment any more, and after an error.
//
// Preconditions: f is not the description that holds the lease itself.
func (o *Owner) Held(f *os.File, id uint32) bool { return held(f, id) || !o.leadsTo(f) }

// AnyHeld reports whether a process holds any lease. It also returns true if f does
// not lead to the segment any more, and after an error.
func (o *Owner) AnyHeld(f *os.File) bool { return anyHeld(f) || !o.leadsTo(f) }

// leadsTo reports whether f is known to be the segment's file. It comes after what it
// is to confirm.
func (o *Owner) leadsTo(f *os.File) bool {
	key, _, err := sys.Identify(f, o.path)
	o.mu.Lock()
	defer o.mu.Unlock()
	return err == nil && (key == o.key || o.key == (sys.Key{}))
}

// Dead reports whether an id is already known to be dead. It does not probe.
func (o *Owner) Dead(id uint32) bool { return o.dead.has(id) }

// Alive reports whether the process with an id lives, as far as the system can
// tell. An id that is dead stays dead, except one that no mapping has had yet:
// only a faulty peer can have written that into a lock word.
//
// Preconditions: this mapping has an id.
func (o *Owner) Alive(id uint32) bool {
	if id == o.ID() {
		return true
	}
	if o.dead.has(id) {
		return false
	}
	// A goroutine waits for the answer, so this uses the faster call. Its
	// precondition holds: only the end of the mapping closes this description.
	held, err := sys.LockedFast(o.control.file, format.LeaseBase+int64(id))
	if err == nil && !held {
		err = o.check(o.control.file)
	}
	runtime.KeepAlive(o)
	if err != nil {
		o.blindUntil.Store(sys.Monotonic() + blindFor)
		return true
	}
	if held {
		return true
	}
	if next, ok := o.header.NextID.Load(); ok && uint64(id) < next {
		o.dead.add(id)
	}
	return false
}

// MayProbe reports whether the caller is to probe an owner's lease now. It returns
// true to one process, and only if the last probe, whose time is in probed, was at
// least the duration every ago. A time in the future is an error of some process and
// counts as long ago.
func (o *Owner) MayProbe(probed *atomic.Int64, every time.Duration) bool {
	last, now := probed.Load(), sys.Monotonic()
	if now < o.blindUntil.Load() {
		return false
	}
	// The difference is unsigned, so a time in the future counts as long ago.
	if uint64(now-last) < uint64(every) || !probed.CompareAndSwap(last, now) {
		return false
	}
	killpoint.At(killpoint.ProbeStamped)
	return true
}

// Process returns what the table says of the process that attached under an id;
// 0 and "" if its entry has been reused.
func (o *Owner) Process(id uint32) (pid int, program string) {
	pid, _, program = o.Who(id)
	return pid, program
}

// Who is Process that also returns the pid namespace to which the pid belongs; 0
// if that is not known.
func (o *Owner) Who(id uint32) (pid int, namespace uint64, program string) {
	entry := o.entry(id)
	if entry.ID.Load() != id {
		return 0, 0, ""
	}
	name := entry.Program
	pid, namespace = int(entry.Pid), entry.Namespace
	if entry.ID.Load() != id {
		return 0, 0, ""
	}
	program, _, _ = strings.Cut(string(name[:]), "\x00")
	return pid, namespace, program
}

// Pid returns the pid in the table entry of an id, although the entry may belong to
// another process by now. It is for messages.
func (o *Owner) Pid(id uint32) uint32 { return o.entry(id).Pid }

// WatchDeath returns a Death that reports when the process with an id exits, or nil.
// It is only a hint: the table that names the process may be wrong, and the lease
// decides.
func (o *Owner) WatchDeath(id uint32) *sys.Death {
	entry := o.entry(id)
	if entry.ID.Load() != id {
		return nil
	}
	pid, namespace := int(entry.Pid), entry.Namespace
	if entry.ID.Load() != id {
		return nil
	}
	return sys.WatchPid(pid, namespace)
}

// deadIDs has ids whose lease was found free. It has room for a few: a new one
// replaces another, and the replaced one is probed again.
type deadIDs [64]atomic.Uint32

func (d *deadIDs) add(id uint32)      { d[id%uint32(len(d))].Store(id) }
func (d *deadIDs) has(id uint32) bool { return id != 0 && d[id%uint32(len(d))].Load() == id }
