package shm

import "time"

// What tests need that no user can reach.

// Shown returns a copy of the value's bytes as Any and Text read them.
func (e Entry) Shown() []byte {
	b, _ := e.load()
	return b
}

// Slots returns the two slots of the struct in shared memory.
func (v Struct[T]) Slots() [2]*T { return [2]*T{v.slot(0), v.slot(1)} }

// LimitSnapshots makes a Snapshot give up after d, until the function is called.
func LimitSnapshots(d time.Duration) (undo func()) {
	old := snapshotAtMost
	snapshotAtMost = d
	return func() { snapshotAtMost = old }
}
