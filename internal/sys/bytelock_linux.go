//go:build linux && !shmportable

package sys

import (
	"io"
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The locks are those of an open file description (F_OFD_SETLK of fcntl(2)).
// Unlike POSIX locks they survive the close of another descriptor of the file,
// and they exclude other descriptions in the same process.

// ErrLocked is what the system says of a byte that others have locked.
var ErrLocked error = unix.EAGAIN

// TryLock takes the exclusive lock of one byte for f's open file description. It
// returns false if another description holds a lock there. A second call for a
// byte that f holds succeeds and changes nothing. It does not wait for the lock.
// The error is the system's own, or fs.ErrClosed.
func TryLock(f *os.File, off int64) (got bool, err error) {
	switch _, err := fileLock(f, unix.F_OFD_SETLK, unix.F_WRLCK, off, 1); err {
	case nil:
		return true, nil
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	default:
		return false, err
	}
}

// TryShared takes the shared lock of one byte for f's open file description, for which
// permission to read the file is enough. Otherwise it is TryLock.
func TryShared(f *os.File, off int64) (got bool, err error) {
	switch _, err := fileLock(f, unix.F_OFD_SETLK, unix.F_RDLCK, off, 1); err {
	case nil:
		return true, nil
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	default:
		return false, err
	}
}

// AnyLock returns the bytes of a lock that a description other than f's holds on any of
// length bytes from off. There may be more such locks. It takes no lock and never
// blocks.
func AnyLock(f *os.File, off, length int64) (at, bytes int64, found bool, err error) {
	l, err := fileLock(f, unix.F_OFD_GETLK, unix.F_WRLCK, off, length)
	if err != nil || l.Type == unix.F_UNLCK {
		return 0, 0, false, err
	}
	if l.Len == 0 { // up to the last byte that there can be
		l.Len = math.MaxInt64 - l.Start
	}
	return l.Start, l.Len, true, nil
}

// WaitLock is TryLock that waits until no other description holds a lock there.
// It may block for as long as another process holds the lock, and keeps a thread
// meanwhile.
func WaitLock(f *os.File, off int64) error {
	_, err := fileLock(f, unix.F_OFD_SETLKW, unix.F_WRLCK, off, 1)
	return err
}

// Unlock releases the lock that f's description holds on one byte. It never
// blocks.
func Unlock(f *os.File, off int64) {
	// Unlocking a byte that is locked cannot fail.
	_, _ = fileLock(f, unix.F_OFD_SETLK, unix.F_UNLCK, off, 1)
}

// Obstacle returns what keeps f's description from the exclusive lock of one byte.
// It takes no lock and never blocks.
func Obstacle(f *os.File, off int64) (Lock, error) {
	l, err := fileLock(f, unix.F_OFD_GETLK, unix.F_WRLCK, off, 1)
	switch {
	case err != nil:
		return 0, err
	case l.Type == unix.F_UNLCK:
		return NoLock, nil
	case l.Type == unix.F_RDLCK:
		return SharedLock, nil
	}
	return ExclusiveLock, nil
}

// Locked reports whether a description other than f's holds an exclusive lock on
// any of length bytes from off. It asks for a shared lock, with which only
// an exclusive lock conflicts, so a process that may only read the file cannot make
// a byte look locked. It takes no lock and never blocks. It returns true with an
// error, as nothing is known then.
func Locked(f *os.File, off, length int64) (bool, error) {
	l, err := fileLock(f, unix.F_OFD_GETLK, unix.F_RDLCK, off, length)
	return err != nil || l.Type != unix.F_UNLCK, err
}

// LockedRange returns bytes on which a description other than f's holds an exclusive
// lock: some of them, if there are several such locks among length bytes from off. If
// there are none, n is 0. It takes no lock and never blocks.
func LockedRange(f *os.File, off, length int64) (start, n int64, err error) {
	l, err := fileLock(f, unix.F_OFD_GETLK, unix.F_RDLCK, off, length)
	switch {
	case err != nil || l.Type == unix.F_UNLCK:
		return 0, 0, err
	case l.Len == 0: // to the end of all files
		return l.Start, math.MaxInt64 - l.Start, nil
	}
	return l.Start, l.Len, nil
}

// LockedFast is Locked for one byte, and takes less time. It is for a caller on which
// a goroutine waits.
//
// Preconditions: nothing closes f during the call.
func LockedFast(f *os.File, off int64) (bool, error) {
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: off, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l)
	runtime.KeepAlive(f)
	return err != nil || l.Type != unix.F_UNLCK, err
}

// fileLock makes one call of fcntl(2) about a lock of the given type on length
// bytes from off.
func fileLock(f *os.File, cmd int, typ int16, off, length int64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: off, Len: length}
	err := withDescriptor(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &l) })
	return l, err
}
