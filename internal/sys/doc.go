// Package sys is everything that shm asks of the operating system: files and their
// mappings, locks on single bytes of a file, sleeping on a word of memory, the exit of a
// process, and the clock. No other package makes system calls in a user's program, or
// has build tags of a system.
//
// A system is a set of files that has the functions below. Each set keeps these promises,
// and the tests of package systest show that it does. A new system is done when they pass.
//
//   - Publication. [CreateNamed] gives a file its name only when its bytes are
//     complete, by one step that fails if the name exists. A creator that is killed leaves
//     no name, or one that the next creator removes. Unless the filesystem is memory, the
//     bytes are on disk before the name is. Whoever opens the name meanwhile finds nothing,
//     or all of it. [CreateAnonymous] makes a file that has no name.
//
//   - Reservation. After [Reserve] returns, no access to the reserved bytes of a
//     mapping fails for lack of space.
//
//   - Mapping. [Map] maps a file beyond its end. When the file grows, all mappings have the
//     new bytes. A store of one process is seen by loads of others, also by reads of the
//     file. An access beyond the end of the file is a fault that debug.SetPanicOnFault
//     makes a panic.
//
//   - Trust. [OpenExisting] follows no link. [CheckNamed] refuses a file that another
//     user than Options.Mode lets write could have put there, or could change.
//
//   - Byte locks. [TryLock], [WaitLock] and [TryShared] take a lock on one byte for a file
//     that [Reopen], [ReopenToRead] or [Receive] has returned. It excludes all other files
//     on the system, also of the same process, and is released by [Unlock], by
//     [CloseLocks], and when the process ends, however it ends: at the latest when its
//     threads have stopped to change memory, and never earlier. [Locked] and [Obstacle] ask
//     through any other file of the segment whether there is such a lock, and take none that
//     others could notice. Bytes that are locked: format.AllocationByte, the bytes of leases
//     and those by which readers ask.
//
//   - Places. Where the system drops a lock with any close of its file, or where a byte
//     that is locked cannot be read, locks are not on bytes of the segment's file but in
//     another file, which other code of the program does not know. [NewPlace] returns a number
//     for such a place, which the segment's header has. [Settle] leads the functions for
//     locks of that segment there. If the place is gone (somebody has cleaned /tmp), Settle
//     returns an error, and never another place beside the one that living processes use.
//     So two processes see each other's locks, or one of them cannot attach.
//
//   - Descriptions. A file that [Reopen] returns has locks that no other process shares.
//     [Send] and [Receive] move one to a child process, and leave no other descriptor.
//     No child process inherits a descriptor that this package makes.
//
//   - Sleeping. [FutexWait] and [FutexWake] work between processes that map the
//     same page of a file at different addresses. The comparison of the word and
//     the start of the sleep are one step, as seen by a process that changes the
//     word and then wakes sleepers. A sleep may end early. FutexWake may return 0 only if
//     nobody sleeps for certain: an unlock that woke nobody takes its reservation back.
//     There are two kinds of words. Sleepers on a lock word or a bell are woken one by
//     one, by FutexWake. Sleepers on a change word sleep by [FutexWaitChange] or
//     [FutexWaitAny], and [FutexWakeChanged] wakes all of them that have seen the values
//     that it names. A system that cannot find sleepers by the address of a word
//     finds them by the file and offset, which Map knows, and on a change word by the value.
//     A killed process may take a wake-up of one with it: waiters look again after
//     some milliseconds.
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
// may return "", [PidNamespace] may return 0, and TryShared may return an error of
// errors.ErrUnsupported. Then the module works more slowly, or leaves out a check, and is
// still correct: waiters probe a lease 250 times a second at first, and 50 times a second
// later, in place of the news of a death, and a process that may only read looks from time
// to time instead of asking.
//
// A call that the system may lack or refuse has a second way, see [Calls]. A hint
// that is refused is left out: [OmitFromDumps] does nothing then.
//
// Unless a function says otherwise, its calls are repeated after a signal, a
// file that is closed during the call is an error and never another file's
// descriptor, and a call that fails for lack of descriptors is repeated after
// [Reclaim].
//
// Two packages below this one ask the system for what only tests and tools need: child
// stops, kills and describes processes, and trace follows the stores of one.
//
// The package imports only package errs of this module.
package sys
