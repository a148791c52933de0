package crash_test

import (
	"testing"

	"example.org/shm/internal/killpoint"
)

// exempt says how many stores of a function have no kill point in it, and why.
type exempt struct {
	stores int
	why    string
}

// all is the number of stores of a function that has no kill point at all.
const all = -1

const (
	fastPath  = "inlined: a build with kill points takes the slow path, which has the point"
	primitive = "stores for its caller, which has the point"
	userData  = "writes the user's numbers, any bytes of which are valid, and nothing else"
	idleSlot  = "writes the slot that nobody reads: Publish has the point SlotFilled"
	ownMemory = "writes memory of this process alone"
)

var exempts = map[string]exempt{
	"robust.Lock.Lock":    {1, fastPath},
	"robust.Lock.Acquire": {1, fastPath},
	"robust.Lock.Free":    {1, fastPath},
	"robust.Lock.Release": {1, fastPath},

	"format.Sealed.Store": {all, primitive},
	"mem.Store":           {all, primitive},
	"mem.StoreRelease":    {all, primitive},
	"mem.storePlain":      {all, primitive},
	"mem.CopyFields":      {all, primitive},

	"robust.Lock.mark": {1, "sets a bit as KernelWaiterMarked has left it, in a word on which others sleep already"},

	"shm.RawValue.Set":          {1, userData},
	"shm.RawArray.Set":          {1, userData},
	"shm.RawStruct.Set":         {1, userData},
	"shm.Atomic.Store":          {all, userData},
	"shm.Atomic.Swap":           {all, userData},
	"shm.Atomic.CompareAndSwap": {all, userData},
	"shm.Atomic.Add":            {all, userData},
	"shm.Atomic.And":            {all, userData},
	"shm.Atomic.Or":             {all, userData},
	"shm.Entry.storeNumbers":    {all, userData},
	"shm.Counter.Add":           {all, userData},
	"shm.Gauge.Set":             {all, userData},
	"shm.addTo":                 {all, userData},
	"shm.Entry.swapNumber":      {all, userData},

	"shm.String.commit":    {2, idleSlot},
	"shm.Struct.Store":     {1, idleSlot},
	"shm.Struct.StoreFrom": {1, idleSlot},
	"shm.Struct.commit":    {1, idleSlot},
	"shm.Struct.fill":      {1, idleSlot},
	"shm.Entry.storeHeld":  {1, idleSlot},
	"shm.Entry.storeRow":   {1, idleSlot},

	"robust.neverFree": {1, ownMemory},
	"sys.napper.enter": {1, ownMemory}, // on Windows
	"sys.napper.leave": {2, ownMemory},
	"wait.joinBubbled": {1, ownMemory},
	"mem.Normalise":    {1, ownMemory}, // a copy that a Load or an Update has made

	"lease.Owner.Settle":      {1, "stores where the locks are, which on Linux never changes; whoever attaches next does it again"},
	"lease.Owner.Adopt":       {1, "adopt has the point of the store, StaleOwnerRemoved"},
	"lease.Owner.AdoptCell":   {1, "adopt has the point of the store, StaleOwnerRemoved"},
	"shm.Segment.placeBounds": {1, "writes the bounds of a new histogram: Add of the directory has the point ValueInitialised"},
	"shm.placeOne":            {1, "writes the first value of a number: Add of the directory has the point ValueInitialised"},
	"lease.Owner.Take":        {1, "writes the plain fields of an entry by two statements, with one point, TableWritten"},
}

// Each store to shared memory has a kill point, behind which TestKillPoints kills a
// process. Whoever adds a store adds a point, or says above why there is none.
func TestEveryStoreHasAKillPoint(t *testing.T) {
	names := killPoints(t)
	if len(names) != int(killpoint.Last) {
		t.Errorf("there are %d constants, and Last is %d", len(names), killpoint.Last)
	}
	uses, found := map[string][]string{}, map[string]bool{}
	stores := 0
	for _, f := range libraryFunctions(t) {
		found[f.name] = true
		stores += len(f.stores)
		for _, p := range f.points {
			uses[p] = append(uses[p], f.name)
		}
		missing := len(f.stores) - len(f.points)
		e, listed := exempts[f.name]
		if e.stores == all && len(f.points) == 0 {
			e.stores = len(f.stores)
		}
		if missing > e.stores || listed && missing != e.stores {
			t.Errorf("%s has %d stores to shared memory, %v, and %d kill points, %v: want %d without a point",
				f.name, len(f.stores), f.stores, len(f.points), f.points, e.stores)
		}
	}
	for name, e := range exempts {
		if !found[name] {
			t.Errorf("there is no function %s, which %s", name, e.why)
		}
	}
	for _, name := range names {
		if len(uses[name]) != 1 {
			t.Errorf("kill point %s is passed by %v, want one place", name, uses[name])
		}
		delete(uses, name)
	}
	for name, places := range uses {
		t.Errorf("%v: kill point %s is not a constant of killpoint", places, name)
	}
	t.Logf("%d stores, %d kill points", stores, len(names))
}
