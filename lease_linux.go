package shm

import (
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// A lease is an open-file-description write lock on byte leaseBase+id of the
// segment's file. The kernel frees it when the description dies with its
// process, in any pid namespace; nothing else proves that an owner is gone.
//
// Invariant: while a word anywhere in the segment holds this mapping's id, the
// mapping is alive and its control description holds the lease.
const (
	leaseBase      = 1 << 62 // a byte no file reaches
	allocationByte = 0       // of the header; locked while a record is appended
	maxID          = 1<<30 - 1
)

// control returns the description that holds the lease and the allocation
// lock. It is opened anew, never duplicated, so that no child shares it.
func (m *mapping) control(f *os.File) (*os.File, error) {
	m.leaseM.Lock()
	defer m.leaseM.Unlock()
	return m.controlLocked(f)
}

func (m *mapping) controlLocked(f *os.File) (*os.File, error) {
	if m.own.ctl == nil {
		ctl, err := reopen(f, m.path)
		if err != nil {
			return nil, err
		}
		m.own.ctl = ctl
	}
	return m.own.ctl, nil
}

// fileLock applies a lock of the given type to one byte.
func fileLock(f *os.File, cmd int, typ int16, off, length int64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: off, Len: length}
	err := withDescriptor(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &l) })
	return l, err
}

// lockAllocation excludes all who append records, here and in other processes.
// It waits for as long as a living one takes.
func (m *mapping) lockAllocation(f *os.File) (unlock func(), err error) {
	m.file.allocM.Lock()
	file, set, wait := f, unix.F_SETLK, unix.F_SETLKW
	switch ctl, err := m.control(f); {
	case err == nil:
		file, set, wait = ctl, unix.F_OFD_SETLK, unix.F_OFD_SETLKW
	case outOfDescriptors(err), outOfMemory(err):
		m.file.allocM.Unlock()
		return nil, err
	}
	// Where no description of our own is ever to be had, f may be shared with a
	// parent or a child, whom an OFD lock would not exclude: a POSIX lock does. But
	// any close of the file in this process drops it, so it is for no other case.
	if _, err := fileLock(file, wait, unix.F_WRLCK, allocationByte, 1); err != nil {
		m.file.allocM.Unlock()
		return nil, pathError("lock", m.path, err)
	}
	return func() {
		// Unlocking a byte that is locked cannot fail.
		_, _ = fileLock(file, set, unix.F_UNLCK, allocationByte, 1)
		m.file.allocM.Unlock()
	}, nil
}

// prepareLocks gives this mapping an id and its lease, once. Order: id, lease,
// table, first use of the id.
func (m *mapping) prepareLocks(f *os.File) error {
	if m.readOnly || m.id.Load() != 0 {
		return nil
	}
	m.leaseM.Lock()
	defer m.leaseM.Unlock()
	if m.id.Load() != 0 {
		return nil
	}
	ctl, err := m.controlLocked(f)
	if err != nil {
		return fmt.Errorf("no lock without a lease: %w", err)
	}
	id, err := m.newID(ctl)
	if err != nil {
		return fmt.Errorf("no lock without a lease: %w", err)
	}
	entry := &m.table[id%tableLen]
	entry.id.Store(0)
	killPoint(26)
	entry.pid, entry.namespace, entry.program = uint32(os.Getpid()), pidNamespace(), [48]byte{}
	copy(entry.program[:], program)
	killPoint(27)
	entry.id.Store(id)
	killPoint(28)
	m.id.Store(id)
	return nil
}

// newID takes an id that nobody had before, and its lease. It passes over a few
// whose place in the table belongs to a living process, so that long-lived ones
// keep theirs.
func (m *mapping) newID(ctl *os.File) (uint32, error) {
	const polite = 32
	for tries := 0; ; tries++ {
		w := m.nextID.word.Load()
		n, ok := unseal(w)
		if !ok || n == 0 {
			return 0, pathError("attach", m.path, fmt.Errorf("%w: id counter", ErrFormat))
		}
		if n > maxID {
			return 0, pathError("attach", m.path, fmt.Errorf("%w: all %d ids were used", ErrFull, maxID))
		}
		if !m.nextID.word.CompareAndSwap(w, seal(n+1)) {
			continue
		}
		killPoint(29)
		id := uint32(n)
		if other := m.table[id%tableLen].id.Load() & maxID; tries < polite && other != 0 && leased(ctl, other) {
			continue
		}
		switch _, err := fileLock(ctl, unix.F_OFD_SETLK, unix.F_WRLCK, leaseBase+int64(id), 1); err {
		case nil:
			killPoint(30)
			return id, nil
		case unix.EAGAIN, unix.EACCES:
			if tries > 2*polite { // a peer that holds leases it has no right to
				return 0, pathError("attach", m.path, fmt.Errorf("%w: the leases of %d fresh ids are held", ErrFormat, tries))
			}
		default:
			return 0, pathError("lease", m.path, err)
		}
	}
}

// leased probes an id's lease. It asks as a reader, with whom only a write lock
// conflicts, so that whoever may only read the file cannot fake life; and an
// error means alive.
//
// Preconditions: the lease is not held through ctl itself.
func leased(ctl *os.File, id uint32) bool {
	l, err := fileLock(ctl, unix.F_OFD_GETLK, unix.F_RDLCK, leaseBase+int64(id), 1)
	return err != nil || l.Type != unix.F_UNLCK
}

// alive reports whether the process behind an id lives, as far as can be told.
// Death is for ever, but for an id that nobody has had yet: only a broken peer
// can have written that into a word.
func (m *mapping) alive(id uint32) bool {
	if id == m.id.Load() {
		return true
	}
	if m.dead.has(id) {
		return false
	}
	// Not by fileLock, which takes longer, and somebody waits: this description is
	// closed by nothing but the mapping's own end.
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: leaseBase + int64(id), Len: 1}
	err := unix.FcntlFlock(m.own.ctl.Fd(), unix.F_OFD_GETLK, &l)
	runtime.KeepAlive(m)
	if err != nil {
		m.watches.blindUntil.Store(monotonic() + blindFor)
		return true
	}
	if l.Type == unix.F_UNLCK {
		if next, ok := m.nextID.load(); ok && uint64(id) < next {
			m.dead.add(id)
		}
		return false
	}
	return true
}

// recoverBoot brings the locks of a file that outlived a reboot in order: no
// owner of then lives. It leaves them alone while anybody holds a lease, which
// then is on another host that shares the file.
func (m *mapping) recoverBoot(f *os.File) error {
	mine := bootID()
	if boot, _ := m.boot.load(); mine == 0 || boot == mine {
		return nil
	}
	unlock, err := m.lockAllocation(f)
	if err != nil {
		return err
	}
	defer unlock()
	if boot, _ := m.boot.load(); boot == mine {
		return nil // somebody was first
	}
	l, err := fileLock(f, unix.F_OFD_GETLK, unix.F_RDLCK, leaseBase, maxID+1)
	if err != nil || l.Type != unix.F_UNLCK {
		return nil
	}
	if err := m.dir.extend(m, f); err != nil {
		return err
	}
	for _, r := range m.dir.all() {
		if r.hasLock() {
			at[lockCell](m, r.data).reset()
		}
	}
	if n, ok := m.nextID.load(); ok {
		m.nextID.store(min(n+1<<20, maxID+1))
		killPoint(31)
	}
	m.boot.store(mine) // last: whoever dies before leaves all to the next
	killPoint(32)
	return nil
}

// bootID returns 40 bits that tell this boot of the system from others; 0 where
// the system does not say.
var bootID = sync.OnceValue(func() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()&sealedMax | 1
})

// pidNamespace identifies the namespace in which os.Getpid means something; 0
// where the system does not say.
var pidNamespace = sync.OnceValue(func() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) != nil {
		return 0
	}
	return st.Ino
})
