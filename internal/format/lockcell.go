package format

import "sync/atomic"

// ChangeWord is a futex word that counts changes. Bit 0, Awaited, says that a
// process waits for the next change. So a change costs one load if no process waits.
//
// A waiter sets the bit, reads the word, then checks what it waits for, and then
// sleeps while the word is unchanged. A process that changes something does so
// first and reads the bit afterwards. In the total order of these atomics either
// it sees the bit or the waiter sees the change.
type ChangeWord struct{ Word atomic.Uint32 }

// Awaited is the bit of a ChangeWord.
const Awaited = 1

// LockCell is a lock in shared memory. It is a cache line together with the
// number that it guards, if it guards a single number: that is at NumberOffset.
type LockCell struct {
	Word      atomic.Uint32 // the owner's id, LocalWaiters, KernelWaiters
	Change    ChangeWord    // changes when a process waits for a change and there is one
	Probed    atomic.Int64  // when the owner's lease was last probed, in ns of CLOCK_MONOTONIC
	Starve    atomic.Uint32 // not 0 if a process has waited long, StarveKernel or StarveGo: the lock is to be reserved for it
	Abandoned atomic.Uint32 // sticky: an owner died, panicked or exited while it held the lock
	Takeovers atomic.Uint32 // how often a dead owner was replaced, for tools
	Extent    atomic.Uint32 // of a published value: bytes of a slot that the longest type of any program covers
	Commit    atomic.Uint64 // of a published value: how many commits there were; the low bit names the slot
	_         [24]byte
}

// The lock word. An uncontended Lock and Unlock write nothing else.
const (
	OwnerMask     = 1<<30 - 1
	LocalWaiters  = 1 << 30 // a goroutine of the owner's process waits in Go
	KernelWaiters = 1 << 31 // a waiter sleeps in the kernel; in a word without an owner: the lock is reserved for waiters
)

// Values of LockCell.Starve.
const (
	StarveKernel = 1 // the long-waiting process sleeps in the kernel
	StarveGo     = 2 // it waits in Go, because its kernel waiting slots are taken: no wake-up reaches it
)
