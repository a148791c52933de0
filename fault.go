package shm

import (
	"fmt"
	"runtime/debug"
)

// Why this file: whoever may write to a file may also cut it off while others
// have it mapped, and foreign memory may never have been reserved. Touching what
// is not there is SIGBUS, which ends a Go program, unless the goroutine has asked
// for a panic instead. The calls that return errors, or check and copy, ask for
// it; Get, Set and the locks do not, since asking costs more than they do.

// guarded calls f, which touches the mapping, and returns its error, or one that
// wraps ErrFormat where a part of the mapping has no memory behind it. What f
// locks it must unlock in a defer.
func (m *mapping) guarded(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface{ Addr() uintptr })
		if !ok || !m.contains(fault.Addr()) {
			panic(r)
		}
		// Not of which length the file is now: its descriptor may be closed.
		err = pathError("access", m.path, fmt.Errorf("%w: no memory at byte %d: the file was cut off, or its filesystem is full", ErrFormat, m.offset(fault.Addr())))
	}()
	return f()
}
