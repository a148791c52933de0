package sys

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"
	"weak"

	"golang.org/x/sys/windows"
)

// The locks are those of LockFileEx. They belong to a file object, which Reopen makes
// anew, and Windows drops them when its last handle is closed, or its process ends.
//
// A byte that is locked cannot be read or written by others, so the locks are all
// beyond the data. There is no question without a lock: whoever asks takes a shared lock
// and drops it. That can keep another process from an exclusive lock for a moment,
// but never makes a lock look free.

// ErrLocked is what the system says of a byte that others have locked.
var ErrLocked error = windows.ERROR_LOCK_VIOLATION

// held has the locks of this process's files. Windows does not say which lock is a
// file's own, and takes a shared lock beside an exclusive one of the same file. The
// table keeps no file in memory: the collector closes one that nobody has any more, and
// Windows drops its locks.
var held = struct {
	sync.Mutex
	by map[weak.Pointer[os.File]]map[int64]bool
}{by: map[weak.Pointer[os.File]]map[int64]bool{}}

// holds reports whether f has the lock of one byte. The error is fs.ErrClosed if f was
// closed, so that it has no lock any more.
func holds(f *os.File, off int64) (bool, error) {
	held.Lock()
	had := held.by[weak.Make(f)][off]
	held.Unlock()
	if !had {
		return false, nil
	}
	err := withHandle(f, func(windows.Handle) error { return nil })
	return err == nil, err
}

// keep notes that f has a lock.
func keep(f *os.File, off int64) {
	held.Lock()
	defer held.Unlock()
	key := weak.Make(f)
	if held.by[key] == nil {
		held.by[key] = map[int64]bool{}
		runtime.AddCleanup(f, forgetAll, key)
	}
	held.by[key][off] = true
}

// forgetAll notes that a file is gone.
func forgetAll(key weak.Pointer[os.File]) {
	held.Lock()
	defer held.Unlock()
	delete(held.by, key)
}

// forget notes that f does not have a lock any more, and reports whether it had.
func forget(f *os.File, off int64) (had bool) {
	held.Lock()
	defer held.Unlock()
	locks := held.by[weak.Make(f)]
	had = locks[off]
	delete(locks, off)
	return had
}

// CloseLocks closes a file that has locks, which Windows drops.
func CloseLocks(f *os.File) error {
	held.Lock()
	clear(held.by[weak.Make(f)])
	held.Unlock()
	return f.Close()
}

// beyond is added to bytes that the data may reach.
const beyond = 1 << 60

// span is a range of bytes for LockFileEx.
func span(off, length int64) (o *windows.Overlapped, low, high uint32) {
	if off < beyond {
		off += beyond
	}
	return &windows.Overlapped{Offset: uint32(off), OffsetHigh: uint32(off >> 32)}, uint32(length), uint32(length >> 32)
}

// lockNow takes a lock on length bytes from off if that takes no time.
func lockNow(f *os.File, off, length int64, flags uint32) (got bool, err error) {
	err = withHandle(f, func(h windows.Handle) error {
		o, low, high := span(off, length)
		return windows.LockFileEx(h, flags|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, low, high, o)
	})
	switch err {
	case nil:
		return true, nil
	case windows.ERROR_LOCK_VIOLATION, windows.ERROR_IO_PENDING:
		return false, nil
	}
	return false, err
}

func unlock(f *os.File, off, length int64) {
	// Unlocking what is locked cannot fail.
	_ = withHandle(f, func(h windows.Handle) error {
		o, low, high := span(off, length)
		return windows.UnlockFileEx(h, 0, low, high, o)
	})
}

// TryLock takes the exclusive lock of one byte for f. It returns false if another file
// holds a lock there. A second call for a byte that f holds succeeds and changes nothing.
// It does not wait for the lock, but for those who only ask. The error is the system's
// own, or fs.ErrClosed.
func TryLock(f *os.File, off int64) (got bool, err error) {
	if got, err := holds(f, off); got || err != nil {
		return got, err
	}
	const tries = 50
	for range tries {
		if got, err = lockNow(f, off, 1, windows.LOCKFILE_EXCLUSIVE_LOCK); err != nil {
			return got, err
		}
		if got {
			keep(f, off)
			return true, nil
		}
		if off < beyond { // Nobody asks for the allocation lock, and many wait for it.
			return false, nil
		}
		Pause(100 * time.Microsecond)
	}
	return false, nil
}

// TryShared returns an error: a process that may only read looks from time to time.
func TryShared(*os.File, int64) (got bool, err error) { return false, errors.ErrUnsupported }

// AnyLock finds none, since TryShared takes none.
func AnyLock(*os.File, int64, int64) (at, bytes int64, found bool, err error) {
	return 0, 0, false, nil
}

// WaitLock is TryLock that waits until no other file holds a lock there. It may block for
// as long as another process holds the lock. It asks again and again: while a thread
// waits in LockFileEx, no other can do anything with the same file.
func WaitLock(f *os.File, off int64) error {
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 2*time.Millisecond) {
		if got, err := TryLock(f, off); got || err != nil {
			return err
		}
		Pause(pause)
	}
}

// Unlock releases the lock that f holds on one byte. It never blocks.
func Unlock(f *os.File, off int64) {
	if forget(f, off) {
		unlock(f, off, 1)
	}
}

// Obstacle returns what keeps f from the exclusive lock of one byte, as far as Windows
// tells: it does not tell of shared locks. It never blocks.
func Obstacle(f *os.File, off int64) (Lock, error) {
	if locked, err := Locked(f, off, 1); locked || err != nil {
		return ExclusiveLock, err
	}
	return NoLock, nil
}

// Locked reports whether a file other than f holds an exclusive lock on any of length
// bytes from off. It never blocks. It returns true with an error, as nothing is known
// then.
//
// Preconditions: if length is not 1, f itself holds no lock of these bytes.
func Locked(f *os.File, off, length int64) (bool, error) {
	if length == 1 {
		if own, err := holds(f, off); own || err != nil {
			return err != nil, err
		}
	}
	got, err := lockNow(f, off, length, 0)
	if got {
		unlock(f, off, length)
	}
	return !got, err
}

// LockedRange returns a byte on which a file other than f holds an exclusive lock, if
// there are any among length bytes from off, with n 1. If there are none, n is 0. It never
// blocks.
func LockedRange(f *os.File, off, length int64) (start, n int64, err error) {
	const tries = 3 // A lock may vanish during the search.
	for range tries {
		start, n = off, length
		for {
			locked, err := Locked(f, start, n)
			switch {
			case err != nil:
				return 0, 0, err
			case locked && n == 1:
				return start, 1, nil
			case locked:
				first := n / 2
				locked, err := Locked(f, start, first)
				if err != nil {
					return 0, 0, err
				}
				if locked {
					n = first
				} else {
					start, n = start+first, n-first
				}
				continue
			case n == length:
				return 0, 0, nil
			}
			break
		}
	}
	return 0, 0, nil
}

// LockedFast is Locked for one byte.
func LockedFast(f *os.File, off int64) (bool, error) { return Locked(f, off, 1) }
