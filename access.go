package shm

import "fmt"

// Access says how the memory of a named value is synchronised. It is recorded
// beside the value's layout, so that a program that would use the value without
// its lock is refused. The numbers are part of the memory format.
type Access uint8

const (
	AccessRaw       Access = 1 // plain memory, unsynchronised
	AccessAtomic    Access = 2 // lock-free: every access is one atomic operation
	AccessLocked    Access = 3 // a lock, and a value that its holder changes in place
	AccessPublished Access = 4 // a lock, and two slots of which the holder publishes one: Struct and String
)

// String returns the word that error messages use: raw, atomic, locked (a Value,
// an Array, a Mutex) or published (a Struct, a String).
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
