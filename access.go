package shm

import "fmt"

// Access says how the memory of a named value is synchronised. The directory
// records it beside the value's layout, so that a program that would use the value
// without its lock is refused. The numbers are part of the memory format.
type Access uint8

// The kinds of access.
const (
	AccessRaw       Access = 1 // plain memory, unsynchronised
	AccessAtomic    Access = 2 // no lock, only atomic operations: Atomic, AtomicArray, Counter, Gauge and Histogram
	AccessLocked    Access = 3 // a lock, and a value that its holder changes in place: Value, Array, Mutex and Mutexes
	AccessPublished Access = 4 // a lock, and slots of which the holder publishes one: Struct, String, Table and Ring
)

// String returns raw, atomic, locked or published.
func (a Access) String() string {
	switch a {
	case AccessRaw:
		return "raw"
	case AccessAtomic:
		return "atomic"
	case AccessLocked:
		return "locked"
	case AccessPublished:
		return "published"
	}
	return fmt.Sprintf("access(%d)", uint8(a))
}
