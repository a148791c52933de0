package lease

import (
	"os"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// pause is how long LockAllocationWithin sleeps between two tries.
const pause = 2 * time.Millisecond

// LockAllocation takes the allocation lock, which excludes all goroutines and
// processes that add values, and returns the function that releases it. It waits for
// as long as a process holds the lock, also one that may only read the file. f is the
// segment's file. An error wraps what the system says if this process can have no
// description of its own. A POSIX lock would not do instead: any close of the file in
// this process drops it.
func (o *Owner) LockAllocation(f *os.File) (unlock func(), err error) {
	o.allocation.Lock()
	unlock, ok, err := o.lockFile(f, func(control *os.File) (bool, error) {
		return true, sys.WaitLock(control, format.AllocationByte)
	})
	if !ok {
		o.allocation.Unlock()
		return nil, err
	}
	return unlock, nil
}

// LockAllocationWithin is LockAllocation that waits for at most d. It returns false,
// without an error, if others hold the lock for so long. It may return false early if
// this process was stopped.
func (o *Owner) LockAllocationWithin(f *os.File, d time.Duration) (unlock func(), ok bool, err error) {
	deadline := sys.Monotonic() + int64(d) // other processes have no other clock, whatever a test's bubble says
	again := func() bool {
		sys.Pause(pause)
		return sys.Monotonic() < deadline
	}
	for !o.allocation.TryLock() {
		if !again() {
			return nil, false, nil
		}
	}
	unlock, ok, err = o.lockFile(f, func(control *os.File) (bool, error) {
		for {
			got, err := sys.TryLock(control, format.AllocationByte)
			if got || err != nil || !again() {
				return got, err
			}
		}
	})
	if !ok {
		o.allocation.Unlock()
	}
	return unlock, ok, err
}

// lockFile takes the allocation lock among processes by calling lock, and returns
// what releases it together with o.allocation, which the caller holds. If ok is false,
// the caller still holds that.
func (o *Owner) lockFile(f *os.File, lock func(control *os.File) (bool, error)) (unlock func(), ok bool, err error) {
	control, err := o.open(f)
	if err != nil {
		return nil, false, err
	}
	if got, err := lock(control); err != nil {
		return nil, false, errs.Path("lock", o.path, err)
	} else if !got {
		return nil, false, nil
	}
	err = o.check(control)
	if err == nil {
		err = o.check(f) // through which the caller makes the file longer
	}
	if err != nil {
		sys.Unlock(control, format.AllocationByte)
		return nil, false, err
	}
	return func() {
		sys.Unlock(control, format.AllocationByte)
		o.allocation.Unlock()
	}, true, nil
}
