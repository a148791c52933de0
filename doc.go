// Package shm puts typed values into memory that several processes map: numbers,
// arrays, structs and C strings. Each type has an unsynchronised form, which costs
// what a Go pointer costs, and a synchronised form, which survives kill -9 of the
// process that is changing it. The package is a counterpart of CPython's
// multiprocessing.sharedctypes in pure Go, for Linux.
//
//	seg, err := shm.Open("board", nil)               // the same name in each process
//	hits, err := shm.NewValue[int64](seg, "hits", 0) // attaches, or makes it
//	hits.Add(1)
//
// # Why
//
// A program that maps a file and converts a pointer still has four problems. A process
// that dies while it holds a lock blocks all others forever. A reader beside a
// writer sees half of a struct. Two programs that disagree about a type read each
// other's bytes as something else. A full filesystem is a SIGBUS long after the call
// that caused it.
//
// This package solves them. A dead process's lock goes to the next one. A struct
// changes as a whole. Each value carries its name and layout, which are compared
// when a program attaches. Memory is reserved before it is used.
//
// # Which type
//
//	               unsynchronised          synchronised
//	number         RawValue[T Numeric]     Value[T Word], Atomic[T AtomicInteger]
//	numbers        RawArray[T Numeric]     Array[T Word], AtomicArray[T AtomicInteger]
//	struct         RawStruct[T any]        Struct[T any]
//	structs                                Table[T any]
//	C string       CharArray               String
//	stream                                 Ring[T any]
//	lock                                   Mutex
//	locks                                  Mutexes
//	count                                  Counter[T CounterNumber], Gauge[T], Histogram
//
// The name of a method says what it promises, so that a reviewer can search for
// unsynchronised access. Load, Store, Swap, CompareAndSwap, Add, Update, Await and
// Changes promise whole values. The methods of the raw types access plain memory and
// promise nothing: Get, Set, All, Ptr, Slice and Bytes, and Value, SetValue, Raw and
// SetRaw of a CharArray. StoreContext, UpdateContext and WithLockContext give up waiting
// for the lock when their context is done.
//
// Each change of an Atomic is one atomic operation and never waits. A Value is a
// number with a lock of its own; its Load takes no lock. A Struct and a String have
// two slots: a writer fills the idle one and commits it by one store, so Load copies
// the newest commit and does not wait for a writer that is stopped or dead. An Array
// changes in place under its lock. If several numbers share one invariant, use one
// Struct and one Update. A Counter, a Gauge and a Histogram have a number for each
// process, so those that count do not slow each other down. A Ring keeps the last values that any process appended: each of
// its readers sees each value, or is told how many it missed. Each row of a Table is a
// Struct, each part of an AtomicArray an Atomic, and each of Mutexes a Mutex: LockAny
// takes any of them, as workers take places that death gives back. Segment.Processes says
// who is there, and AwaitExit waits for the death of one. Snapshot reads several Structs,
// Strings, Tables and Rings as they were at one instant.
//
// Numeric leaves out int, uint and uintptr, whose size differs between processes.
// Word leaves out complex128 as well, which no single store writes. LayoutOf says
// what a struct may consist of.
//
// # Segments
//
// A Segment is a file with a directory of named values. It is a POSIX shared-memory
// object for a name without a slash, a file that outlives a reboot for a path, and a
// memfd for Anonymous. A constructor attaches to the value of a name, or makes it. If
// several processes do so at the same time, the first one's initial value stands. A
// name that exists with another type, length or access is a *LayoutError. There is one
// exception: a Struct may grow at its end. A type that only appends fields
// attaches to the shorter one, and the shorter one to it. Names are never freed. Bind
// fills a struct of handles in one call. Pass and Inherited hand a segment to a child
// process.
//
// A segment grows as values are added, up to Options.MaxSize. Its address space is
// reserved at the start, so no value ever moves.
//
// # Lifetime
//
// A handle is what a constructor returns, such as a Value. Handles are small and may be
// copied. Several goroutines may use one handle as far as its methods promise. Handles
// work after Close: the memory is unmapped when no handle can reach it any more. The
// memory of a Segment that was not closed is unmapped likewise, when nothing reaches
// the Segment either. What Ptr, Slice and Bytes return is valid until Close only. A
// lock that is held during Close stays held and can be unlocked. To lock a Mutex after
// Close panics.
//
// The zero value of a handle is attached to nothing. Its methods panic, or find nothing: an
// array is empty, and a pointer is nil. These panic as well: a change through a read-only
// attachment (ErrReadOnly), Lock, TryLock and LockContext after Close (ErrClosed), Unlock
// of a lock that this process does not hold, and an index out of range.
//
// In a read-only attachment loads work, changes panic with ErrReadOnly, and a raw Set
// crashes the program (SIGSEGV).
//
// # What a crash does
//
// A process may die at any instruction, and the others go on:
//
//   - Its locks go to processes that wait or come later. Each process that uses locks
//     holds a file lock, its lease, which the kernel drops when the process ends. So
//     a live owner never loses a lock, however long it is stopped.
//   - A Value, a Struct and a String have the newest commit. A Ring has each value
//     that was appended, whole. An Array, and other
//     memory that a Mutex guards, may be half changed: Mutex.Abandoned returns true
//     to each later holder, until one calls it and then unlocks.
//   - A value that was being made exists completely or not at all.
//   - If a function given to Update panics or calls runtime.Goexit, nothing is
//     committed, and the lock is released. The function must not unlock the value's own
//     Mutex. If it has, Update panics and commits nothing, unless another goroutine of
//     this process has the lock by then: then what Update commits may be that one's.
//
// # Caveats
//
//   - Locks are not recursive. A function given to Update or WithLock must not call
//     the same value's locking methods, nor may a holder of its Mutex: that is a
//     self-deadlock.
//   - The kernel frees a dead process's memory, about 55 ms a GiB, before it closes
//     its files, and writes a core dump first. Until then the locks stay held.
//   - If a program truncates a segment's file, accesses of the others fault (SIGBUS).
//     Methods that can return an error return one that wraps ErrFormat. An anonymous
//     segment cannot be truncated.
//   - If the name is removed, or given to another file, attached programs keep what they
//     have, and nothing fails. Segment.Replaced tells it.
//   - A hostile process that may write to the segment can break mutual exclusion and
//     keep locks. It cannot cause an access out of bounds. It cannot cause an endless
//     loop either, with one exception: reads of a Struct, String or Ring that take no
//     lock, by a read-only Load or Last or by an Entry, repeat for as long as it keeps
//     committing.
//   - A file that survived a crash of the system has what the last Sync wrote, and
//     possibly later changes, in any order.
//   - Network filesystems are not supported: another host sees neither the memory nor
//     the futexes of this one.
//
// README.md is the introduction. docs/FORMAT.md describes the memory format and the
// protocol of the lock.
package shm
