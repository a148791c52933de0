// Package slots keeps a value twice in shared memory, so that it changes as a
// whole, or the last values of a stream.
//
// A [Ring] is the slots of a stream. A [Pair] is two slots for the value, and in the lock cell a counter of commits
// whose low bit names the committed slot. A writer holds the lock, fills the
// other slot with plain stores and publishes it by one store of the counter.
//
// The package may import robust, mem, format, race and killpoint.
//
// Invariants:
//   - The committed slot is never written. A writer that dies before the store
//     of the counter has changed nothing.
//   - A writer commits once while it holds the lock. Its unlock and the next lock
//     are a release and an acquire of the same word, so every reader sees this
//     publication before it sees a store of the next fill.
//   - A reader accepts a copy only if it made it between two loads of the same
//     count. It compares the whole counter: two commits later the low bit is the
//     same again, and the slot that was being copied has new contents.
package slots

import (
	"bytes"
	"context"
	"runtime"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
)

// Pair is the two slots of a published value in this process's memory.
type Pair struct {
	Lock   *robust.Lock        // nil for a Pair that only reads
	LockOf func() *robust.Lock // returns the lock for Read if Lock is nil; may be nil too
	Cell   *format.LockCell    // in the mapping, also if that is read-only
	Data   [2][]byte           // capacity bytes each
	Token  race.Token
	region *mem.Region
}

// At returns the slots of a published value. They can be read; to write, the
// caller sets Lock.
//
// Preconditions: r is a published value of the segment in region.
func At(region *mem.Region, r *format.Record, token race.Token) *Pair {
	p := Behind(region, r.Data, r.Capacity, token)
	return &p
}

// Behind returns the slots of a value whose lock cell is at off, as At does.
//
// Preconditions: the cell and two slots of that capacity are in the region.
func Behind(region *mem.Region, off, capacity int64, token race.Token) Pair {
	first, n := off+format.LockedOffset, int(capacity)
	return Pair{
		Cell: mem.At[format.LockCell](region, off),
		Data: [2][]byte{
			mem.Slice[byte](region, first, n),
			mem.Slice[byte](region, first+format.RoundUp(capacity), n),
		},
		Token:  token,
		region: region,
	}
}

// A reader copies maxTries times before it takes the lock. Beside a writer that
// never pauses, one reader was seen to try 2,334 times. It waits for
// the lock for at most lockAtMost: a holder that is stopped, or that waits for
// this very reader, makes no more commits, so the next copy succeeds.
const (
	maxTries   = 64
	lockAtMost = 10 * time.Millisecond
)

// Read calls copySlot with the committed slot until no commit came in between, and
// returns the number of that commit. copySlot makes its copy with loads that this
// processor keeps in order (mem.CopyBytes).
func (p *Pair) Read(copySlot func(slot []byte)) (count uint64) {
	for tries := 1; ; tries++ {
		count = p.Cell.Commit.Load()
		copySlot(p.Data[count&1])
		if p.Cell.Commit.Load() == count {
			break
		}
		if tries%maxTries != 0 {
			continue
		}
		lock := p.lock()
		if briefly(lock) {
			count = p.Cell.Commit.Load()
			copySlot(p.Data[count&1])
			lock.Release()
			break
		}
	}
	p.Token.Acquire()
	runtime.KeepAlive(p.region)
	return count
}

// lock returns the lock that a reader may take, or nil.
func (p *Pair) lock() *robust.Lock {
	switch {
	case p.region.ReadOnly:
		return nil
	case p.Lock == nil && p.LockOf != nil:
		return p.LockOf()
	}
	return p.Lock
}

// briefly takes the lock for a copy, and reports whether it did. It is nil if the process
// cannot take it.
func briefly(lock *robust.Lock) bool {
	if lock == nil {
		runtime.Gosched()
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockAtMost)
	defer cancel()
	return lock.LockSlow(ctx) == nil
}

// Amend publishes a copy of the committed slot in which change has been made, unless
// that leaves all bits as they were, and reports whether it did. The caller holds the
// lock, and releases it before the next commit.
func (p *Pair) Amend(change func(idle []byte)) (changed bool) {
	count := p.Cell.Commit.Load()
	idle := p.Data[(count+1)&1]
	copy(idle, p.Data[count&1])
	killpoint.At(killpoint.SlotCopied)
	change(idle)
	if bytes.Equal(idle, p.Data[count&1]) {
		return false
	}
	p.Publish(count)
	return true
}

// Publish is the function Publish for this pair.
func (p *Pair) Publish(count uint64) { Publish(p.Cell, p.Token, count) }

// Carry is the function Carry for this pair.
func (p *Pair) Carry(count uint64, n int) { Carry(p.Cell, p.Data[(count+1)&1], p.Data[count&1], n) }

// Reach is the function Reach for this pair.
func (p *Pair) Reach(n uint32) { Reach(p.Cell, n) }

// Publish commits the idle slot; count is the counter as the caller read it under
// the lock. The caller holds the lock, and releases it before the next commit.
func Publish(cell *format.LockCell, token race.Token, count uint64) {
	killpoint.At(killpoint.SlotFilled)
	token.Release() // a reader may see the commit before the unlock
	mem.StoreRelease(&cell.Commit, count+1)
	killpoint.At(killpoint.SlotCommitted)
}

// Carry copies from the committed to the idle slot what a newer program may keep
// after the first n bytes. The caller holds the lock.
func Carry(cell *format.LockCell, idle, committed []byte, n int) {
	if end := min(int(cell.Extent.Load()), len(idle)); end > n {
		copy(idle[n:end], committed[n:end])
		killpoint.At(killpoint.TailCarried)
	}
}

// Reach makes writers carry over at least n bytes. A program calls it before its
// first commit. The lock orders it before the commits of others.
func Reach(cell *format.LockCell, n uint32) {
	for {
		old := cell.Extent.Load()
		if old >= n || cell.Extent.CompareAndSwap(old, n) {
			killpoint.At(killpoint.ExtentRaised)
			return
		}
	}
}
