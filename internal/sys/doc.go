// Package sys is everything that shm asks of the operating system: files,
// locks on single bytes of a file, sleeping on a word of memory, the exit of a
// process, and the clock. No other package of the module makes system calls in a
// user's program, apart from the memory mapping itself, which package mem makes.
//
// Only Linux is implemented. On other systems each function that can fail
// returns an error that wraps [errors.ErrUnsupported], so no segment is ever
// made or attached there and the remaining functions are never called.
//
// To port the package, write another set of the files whose names end in
// _linux. The rest of the module relies on these promises:
//
//   - Publication. [CreateNamed] gives a file its name only when its bytes are
//     complete, by one step that fails if the name exists. Unless the filesystem is
//     memory, the bytes are on disk before the name is.
//
//   - Reservation. After [Reserve] returns, no access to the reserved bytes of a
//     mapping fails for lack of space.
//
//   - Byte locks. A lock belongs to one open file description, excludes all
//     others on the system, also in another container, and is released by the
//     system when the description is closed or its last process ends, however
//     it ends. The byte need not exist: offsets up to 1<<62 + 1<<30 are used.
//     [Locked] asks whether another description holds a lock, without taking one.
//
//   - Descriptions. [Reopen] makes a description that no other process shares.
//     [Send] and [Receive] move one to a child process, and leave no other descriptor.
//     No child process inherits a descriptor that this package makes.
//
//   - Sleeping. [FutexWait] and [FutexWake] work between processes that map the
//     same page of a file at different addresses. The comparison of the word and
//     the start of the sleep are one step, as seen by a process that changes the
//     word and then wakes sleepers.
//
//   - Clock. [Monotonic] is the same clock in all processes of the system, also in a
//     bubble of package testing/synctest, which has a clock of its own ([Bubble]).
//
//   - Identity. [Key] is the same for two descriptors exactly if they are of the
//     same file.
//
//   - Memory. [InMemory] returns true only for a file that no reboot outlives.
//
// A hint may fail: [WatchPid] may return nil, [CanWaitAny] may return false, [BootID]
// may return "", and [PidNamespace] may return 0. Then the module works more slowly,
// or leaves out a check, and is still correct.
//
// A call that the system may lack or refuse has a second way, see [Calls]. A hint
// that is refused is left out: [OmitFromDumps] does nothing then.
//
// Unless a function says otherwise, its calls are repeated after a signal, a
// file that is closed during the call is an error and never another file's
// descriptor, and a call that fails for lack of descriptors is repeated after
// [Reclaim].
//
// The package imports only package errs of this module.
package sys
