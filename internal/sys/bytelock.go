package sys

// Lock is a kind of lock on a byte of a file.
type Lock int

const (
	NoLock        Lock = iota
	SharedLock         // a read lock: to take it, permission to read the file is enough
	ExclusiveLock      // a write lock
)
