package mem

import (
	"fmt"
	"runtime/debug"

	"example.org/shm/internal/errs"
)

// A process that may write to a file may also truncate it while others have it
// mapped, and foreign memory may never have been reserved. Touching memory
// that is not there is SIGBUS, which ends a Go program unless the goroutine has
// asked for a panic instead. The calls that return errors, or check and copy, ask
// for it. Get, Set and the locks do not, since asking costs more than they do.

// Guarded calls f, which touches the region, and returns its error. If f touches a
// part of the region that has no memory behind it, Guarded returns an
// *fs.PathError that wraps errs.Format. Other panics go on. f must unlock in a
// deferred function what it locks.
func (r *Region) Guarded(f func() error) (err error) {
	done, old := false, debug.SetPanicOnFault(true)
	defer func() {
		if !done {
			err = r.Faulted(old, recover())
		}
	}()
	err = f()
	done = true
	if !old {
		debug.SetPanicOnFault(false)
	}
	return err
}

// Faulted ends a guarded access that panicked with cause. It restores what
// debug.SetPanicOnFault was, and returns the error of Guarded. If cause is not a
// fault in the region, Faulted panics with it. After runtime.Goexit cause is nil,
// and so is the error.
//
// A caller that cannot afford Guarded's function sets a variable when its access
// is done, and calls Faulted from its deferred function if that is not set.
func (r *Region) Faulted(old bool, cause any) error {
	if !old {
		debug.SetPanicOnFault(false)
	}
	if cause == nil {
		return nil
	}
	fault, ok := cause.(interface{ Addr() uintptr })
	if !ok || !r.Contains(fault.Addr()) {
		panic(cause)
	}
	// The message does not give the file's length: the descriptor may be closed.
	return errs.Path("access", r.Path, fmt.Errorf("%w: no memory at byte %d: the file was cut off, or its filesystem is full", errs.Format, r.Offset(fault.Addr())))
}
