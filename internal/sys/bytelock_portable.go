//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A lock is a POSIX lock (F_SETLK) in the lease file, of the process. Which file of the
// process it belongs to, place.held says.

// ErrLocked is what the system says of a byte that others have locked.
var ErrLocked error = unix.EAGAIN

// locate returns where bytes of a segment's file are in its lease file.
func locate(f *os.File, off, length int64) (p *place, at int64, err error) {
	st, err := stat(f, f.Name())
	if err != nil {
		return nil, 0, errors.Unwrap(err)
	}
	if p = placeOf(keyOf(&st)); p == nil {
		return nil, 0, fmt.Errorf("%w: the segment of this file has no place for locks yet", unix.ENOLCK)
	}
	switch {
	case off == 0 && length == 1:
		return p, firstByte(keyOf(&st)) + allocationBit, nil
	case off >= leaseBase && off-leaseBase+length <= leaseIDs:
		return p, firstByte(keyOf(&st)) + off - leaseBase, nil
	}
	return nil, 0, fmt.Errorf("%w: there are no such locks on this system", errors.ErrUnsupported)
}

// TryLock takes the exclusive lock of one byte for f. It returns false if another file has
// it, of this process or another. A second call for a byte that f holds succeeds and
// changes nothing. It does not wait for the lock. The error is the system's own, or
// fs.ErrClosed.
func TryLock(f *os.File, off int64) (got bool, err error) {
	p, at, err := locate(f, off, 1)
	if err != nil {
		return false, err
	}
	if !p.writes {
		return false, unix.EBADF
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if owner, locked := p.held[at]; locked {
		return owner == f, nil
	}
	switch _, err := p.fcntl(unix.F_SETLK, unix.F_WRLCK, at, 1); err {
	case nil:
		p.keep(f, at)
		return true, p.alive()
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	default:
		return false, err
	}
}

// keep notes that f has a lock. p.mu is held.
func (p *place) keep(f *os.File, at int64) {
	p.held[at] = f
	p.of[f] = append(p.of[f], at)
}

// TryShared fails: a process that may only read has no locks on this system.
func TryShared(*os.File, int64) (got bool, err error) {
	return false, fmt.Errorf("%w: no shared locks", errors.ErrUnsupported)
}

// AnyLock fails, as TryShared does.
func AnyLock(*os.File, int64, int64) (at, bytes int64, found bool, err error) {
	return 0, 0, false, fmt.Errorf("%w: no shared locks", errors.ErrUnsupported)
}

// WaitLock is TryLock that waits until no other file holds a lock there. It may block for
// as long as another process holds the lock, and keeps a thread meanwhile.
func WaitLock(f *os.File, off int64) error {
	p, at, err := locate(f, off, 1)
	if err != nil {
		return err
	}
	if !p.writes {
		return unix.EBADF
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		owner, locked := p.held[at]
		if !locked {
			break
		}
		if owner == f {
			return nil
		}
		p.free.Wait()
	}
	p.held[at] = nil
	p.mu.Unlock()
	// The system takes all threads of the process for one. So two of them that wait for
	// different bytes may look as if they waited for each other.
	_, err = p.fcntl(unix.F_SETLKW, unix.F_WRLCK, at, 1)
	for err == unix.EDEADLK {
		time.Sleep(time.Millisecond)
		_, err = p.fcntl(unix.F_SETLKW, unix.F_WRLCK, at, 1)
	}
	p.mu.Lock()
	delete(p.held, at)
	if err == nil {
		p.keep(f, at)
		err = p.alive()
	}
	p.free.Broadcast()
	return err
}

// Unlock releases the lock that f holds on one byte. It never blocks.
func Unlock(f *os.File, off int64) {
	p, at, err := locate(f, off, 1)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[at] == f {
		p.release(f, at)
		if p.of[f] = slices.DeleteFunc(p.of[f], func(other int64) bool { return other == at }); len(p.of[f]) == 0 {
			delete(p.of, f)
		}
	}
}

// release releases one lock. p.mu is held.
func (p *place) release(f *os.File, at int64) {
	// Unlocking a byte that is locked cannot fail.
	_, _ = p.fcntl(unix.F_SETLK, unix.F_UNLCK, at, 1)
	delete(p.held, at)
	p.free.Broadcast()
}

// CloseLocks closes a file that has locks, and releases them.
func CloseLocks(f *os.File) error {
	places.Lock()
	all := make([]*place, 0, len(places.byNumber))
	for _, p := range places.byNumber {
		all = append(all, p)
	}
	places.Unlock()
	for _, p := range all {
		p.mu.Lock()
		for _, at := range p.of[f] {
			p.release(f, at)
		}
		delete(p.of, f)
		p.mu.Unlock()
	}
	return f.Close()
}

// Obstacle returns what keeps f from the exclusive lock of one byte. It takes no lock and
// never blocks.
func Obstacle(f *os.File, off int64) (Lock, error) {
	_, n, err := LockedRange(f, off, 1)
	if n != 0 {
		return ExclusiveLock, nil
	}
	return NoLock, err
}

// Locked reports whether another file than f holds a lock on any of length bytes from off.
// It takes no lock and never blocks. It returns true with an error, as nothing is known
// then.
func Locked(f *os.File, off, length int64) (bool, error) {
	_, n, err := LockedRange(f, off, length)
	return err != nil || n != 0, err
}

// LockedFast is Locked for one byte.
//
// Preconditions: nothing closes f during the call.
func LockedFast(f *os.File, off int64) (bool, error) { return Locked(f, off, 1) }

// LockedRange returns bytes on which another file than f holds a lock: some of them, if
// there are several such locks among length bytes from off. If there are none, n is 0. It
// takes no lock and never blocks.
func LockedRange(f *os.File, off, length int64) (start, n int64, err error) {
	p, at, err := locate(f, off, length)
	if off >= leaseBase+leaseIDs && errors.Is(err, errors.ErrUnsupported) {
		return 0, 0, nil // no process can lock these
	}
	if err != nil {
		return 0, 0, err
	}
	if mine, found := p.ofOthers(f, at, length); found {
		// The system does not say whether this process still has its own locks.
		return off + mine - at, 1, p.alive()
	}
	l, err := p.fcntl(unix.F_GETLK, unix.F_RDLCK, at, length)
	if err == nil && l.Type == unix.F_UNLCK {
		return 0, 0, p.alive() // a closed descriptor may lead to a file without locks
	}
	if err != nil {
		return 0, 0, err
	}
	if l.Len == 0 {
		l.Len = math.MaxInt64 - l.Start
	}
	from, end := max(l.Start, at), min(l.Start+l.Len, at+length)
	return off + from - at, end - from, nil
}

// ofOthers returns a byte that another file of this process has locked.
func (p *place) ofOthers(f *os.File, at, length int64) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if length == 1 {
		owner := p.held[at]
		return at, owner != nil && owner != f
	}
	first, found := int64(math.MaxInt64), false
	for other, owner := range p.held {
		if at <= other && other < at+length && owner != nil && owner != f && other < first {
			first, found = other, true
		}
	}
	return first, found
}

// fcntl makes one call of fcntl(2) about a lock of the given type on length bytes of the
// lease file.
func (p *place) fcntl(cmd int, typ int16, at, length int64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: at, Len: length}
	err := withDescriptor(p.file, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &l) })
	return l, err
}
