// Package shm puts typed values into memory that several processes map: numbers,
// arrays, structs and C strings, each in an unsynchronised form that costs what
// a Go pointer costs, and in a synchronised form that survives kill -9 of
// whoever is changing it. It is the counterpart of CPython's
// multiprocessing.sharedctypes, in pure Go, for Linux.
//
//	seg, err := shm.Open("board", nil)               // the same name in each process
//	hits, err := shm.NewValue[int64](seg, "hits", 0) // found, or made
//	hits.Add(1)
//
// # Why
//
// Whoever maps a file and casts a pointer has four problems left. A process that
// dies with a lock held blocks all others for ever. A reader beside a writer
// sees half of a struct. Two programs that disagree about a type read each
// other's bytes as something else. And a full filesystem is a SIGBUS, long after
// the call that was to blame. Here a lock passes on from the dead, a struct
// changes as a whole, each value carries its name and layout, which are compared
// when a program attaches, and memory is reserved before it is used.
//
// # Which type
//
//	               unsynchronised          synchronised
//	number         RawValue[T Numeric]     Value[T Word], Atomic[T AtomicInteger]
//	numbers        RawArray[T Numeric]     Array[T Word]
//	struct         RawStruct[T any]        Struct[T any]
//	C string       CharArray               String
//	lock                                   Mutex
//
// The verbs carry the promise, so that a reviewer can search for unsynchronised
// access. Get, Set, Ptr, Slice and Bytes promise nothing: they are plain memory.
// Load, Store, Swap, CompareAndSwap, Add, Update and Await deal in whole values.
//
// Each change of an Atomic is one atomic operation and never waits. A Value is a
// number under a lock of its own; its Load takes no lock. A Struct and a String
// are kept twice: a writer fills the idle copy and publishes it by one store, so
// Load copies what was committed last and does not wait for a writer that is
// stopped or dead. An Array changes in place under its lock. Several numbers
// under one invariant are one Struct and one Update.
//
// Numeric leaves out int, uint and uintptr, whose size differs between
// processes; Word leaves out complex128 as well, which no single store commits.
// What a struct may consist of, LayoutOf says.
//
// # Segments
//
// A Segment is a file with a directory of named values: a POSIX shared-memory
// object for a name without a slash, a file that outlives a reboot for a path,
// a memfd for Anonymous. A constructor attaches to the value of a name, or makes
// it; when several do so at once, the first one's initial value stands. A name
// that stands for another type, length or access is a *LayoutError, except that
// a Struct may grow: a type that only appends fields attaches to the shorter
// one, and the shorter one to it. Names are never freed. Bind fills a struct of
// handles in one call. Pass and Inherited hand a segment to a child process.
//
// A segment grows as values are added, up to Options.MaxSize. Its address space
// is reserved at the start, so nothing ever moves.
//
// # Lifetime
//
// Handles are small values, copied freely, and safe for use by several
// goroutines as far as their verbs promise. They work on after Close: the memory
// is unmapped when no handle can reach it any more. What Ptr, Slice and Bytes
// return is valid until Close only. A lock that is held stays held during Close
// and can be unlocked after it; to lock a Mutex after Close panics.
//
// The zero value of a handle is attached to nothing: its methods panic. So does
// what has no error to return: changes of a read-only attachment (ErrReadOnly),
// locking after Close (ErrClosed), unlocking what this process has not locked, an
// index out of range.
//
// In a read-only attachment loads work, changes panic with ErrReadOnly, and a
// raw Set is a fault of the hardware.
//
// # What a crash does
//
// A process may die at any instruction, and the next one to come goes on:
//
//   - Its locks pass to who waits or comes later. Each process that uses locks
//     holds a file lock, its lease, that the kernel drops when the process ends,
//     so a live owner is never robbed, however long it is stopped.
//   - A Value, a Struct and a String are what was committed last. An Array, and
//     whatever else a Mutex guards, may be half changed: Abandoned tells the next
//     holder so, until one that has asked unlocks.
//   - A value that was being made is there as a whole or not at all.
//   - A function given to Update that panics, or calls runtime.Goexit, commits
//     nothing and unlocks.
//
// # Caveats
//
//   - A function given to Update or WithLock must not use the same value's
//     locking verbs, nor whoever holds the Mutex: locks are not recursive.
//   - The kernel gives back a dead process's memory before its files, some 55 ms
//     a GiB, and writes a core dump first. Until then its locks are held.
//   - Whoever truncates a segment's file makes the others fault (SIGBUS). An
//     anonymous segment cannot be truncated.
//   - Against a peer that may write to the segment and means harm, the promise is
//     no access out of bounds and no endless loop; not exclusion, not progress.
//   - A file that survived a crash of the system holds what the last Sync left,
//     or later changes in any order.
//   - Network filesystems are not supported: another host sees neither the memory
//     nor the futexes of this one.
//
// docs/FORMAT.md is the memory format and the lock's protocol, README.md the way
// in.
package shm
