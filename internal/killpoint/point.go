// Package killpoint lets a test kill a process directly after any store to
// shared memory.
//
// A [Point] names a store. The statement after that store calls [At]. In the
// build with the tag killpoints, At kills the process with SIGKILL if the
// environment asks for that point. In every other build At does nothing and is
// compiled away.
//
// The package imports nothing of this module, so every package may use it.
//
// Invariant: every store to the memory of a segment has a point, and every
// point is after exactly one store. A test reads all sources of the module
// and checks both.
package killpoint

// Point names a store to shared memory.
type Point int

// The points. Their numbers mean nothing outside one build.
const (
	_ Point = iota

	// A lock is taken.
	LockedUncontended
	LockedContext
	LockedSlow
	LockedAsHead
	TryLocked
	TryLockedSlow
	LockedAny
	LockedAnyReserved

	// A goroutine waits for a lock.
	LocalWaiterMarked
	NextWaiterMarked
	KernelWaiterMarked
	StarvingInKernel
	StarvingInGo
	ReservationDropped

	// A lock is released.
	StarveCleared
	Unlocked
	AbandonedCleared
	AbandonedMarked

	// The lock of a dead process is taken over.
	ProbeStamped
	TakenOver
	TakeoverMarked
	TakeoverCounted

	// A goroutine awaits a change, and another makes it.
	ChangeAwaited
	ChangeCounted

	// A process takes an id and its lease.
	IDTaken
	LeaseTaken
	TableCleared
	TableWritten
	TablePublished

	// A file that outlived its system, or was copied, is repaired.
	NextIDRaised
	StaleOwnerMarked
	StaleOwnerRemoved
	AllocatedCorrected
	DirtyCorrected
	UsedCutBack
	IndexReplaced
	IndexForgotten
	IndexCleared
	ValuesForgotten
	ValuesRecounted
	IndexCompleted
	HomeStored
	HomeChosen

	// A value is added to the directory.
	SpaceReserved
	AllocatedStored
	DirtWiped
	DirtyStored
	RecordWritten
	StructInitialised
	ExtentInitialised
	ValueInitialised
	RecordPublished
	SlotStored
	ValuesCounted
	IndexedStored
	IndexFilled
	IndexPublished

	// A value changes.
	NumberStored
	SlotCopied
	SlotFilled
	SlotCommitted
	TailCarried
	ExtentRaised
	RingFilled
	RingCommitted

	// A process counts in a cell of its own.
	HighRaised
	CellClaimed
	CellInherited
	GaugeCleared
	GaugeStored
	GaugeShown
	GaugeRemoved
	SumAdded
	BucketCounted
	CellCorrected

	end
)

// Last is the highest point.
const Last = end - 1
