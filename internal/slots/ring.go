package slots

import (
	"runtime"

	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
)

// Ring is the slots of a ring in this process's memory: one for each value that is kept,
// and one more, which the next value gets. Values are numbered from 1, and the counter
// of commits is the number of the newest one.
//
// The slot of a value is filled anew only once the value is not kept any more. So a
// reader accepts a copy if the value is still kept after the copy. Nobody tells a
// writer about readers.
type Ring struct {
	Lock   *robust.Lock     // nil for a Ring that only reads
	Cell   *format.LockCell // in the mapping, also if that is read-only
	Kept   uint64           // how many values are kept
	Token  race.Token
	data   []byte // a slot behind the other
	stride uint64 // from one slot to the next
	size   uint64 // bytes of a value
	region *mem.Region

	next, slotOfNext uint64 // the value after the one that this process appended last; guarded by the lock
}

// RingAt returns the slots of a ring. They can be read; to write, the caller sets
// Lock.
//
// Preconditions: r is a ring of the segment in region.
func RingAt(region *mem.Region, r *format.Record, token race.Token) *Ring {
	return &Ring{
		Cell:   mem.At[format.LockCell](region, r.Data),
		Kept:   uint64(r.Count),
		Token:  token,
		data:   mem.Slice[byte](region, r.Elements(), int(r.Capacity)),
		stride: uint64(r.Stride()),
		size:   uint64(r.Layout.Size),
		region: region,
	}
}

// SlotOf returns the slot of a value, as a number below Kept + 1. It takes any number,
// which may come from memory that others write.
func (r *Ring) SlotOf(seq uint64) uint64 { return (seq - 1) % (r.Kept + 1) }

// After returns the slot after that one.
func (r *Ring) After(slot uint64) uint64 {
	if slot == r.Kept {
		return 0
	}
	return slot + 1
}

// Oldest returns the oldest value that is kept when count values have been appended.
func (r *Ring) Oldest(count uint64) uint64 {
	if count < r.Kept {
		return 1
	}
	return count - r.Kept + 1
}

func (r *Ring) bytes(slot uint64) []byte {
	start := slot * r.stride
	return r.data[start : start+r.size]
}

// Append commits the bytes of a value, and returns the value's number. The caller holds
// the lock, and releases it before the next value: the stores of the next fill are then
// after this commit for all readers.
func (r *Ring) Append(b []byte) (seq uint64) {
	seq = r.Cell.Commit.Load() + 1
	if r.next != seq { // another process has appended meanwhile
		r.slotOfNext = r.SlotOf(seq)
	}
	idle := r.bytes(r.slotOfNext)
	copy(idle, b)
	killpoint.At(killpoint.RingFilled)
	r.Token.Release() // a reader may see the commit before the unlock
	mem.StoreRelease(&r.Cell.Commit, seq)
	killpoint.At(killpoint.RingCommitted)
	r.next, r.slotOfNext = seq+1, r.After(r.slotOfNext)
	return seq
}

// Copy copies a value, and reports whether the copy is good: the value was kept until
// the copy was complete. A copy that is not good may be of anything.
func (r *Ring) Copy(b []byte, seq, slot uint64) (good bool) {
	mem.CopyBytes(b, r.bytes(slot))
	if r.Cell.Commit.Load()-seq >= r.Kept { // also if it is less than seq
		return false
	}
	r.Token.Acquire()
	return true
}

// lock returns the lock that a reader may take, or nil.
func (r *Ring) lock() *robust.Lock {
	if r.region.ReadOnly {
		return nil
	}
	return r.Lock
}

// Read copies the value that is number seq, or the oldest one that is kept if that is
// newer, and returns its number. It returns false if there is no such value yet. It
// does not wait, except as Pair.Read does, and it tries as often as that before it asks
// over whether to give up.
func (r *Ring) Read(b []byte, seq uint64, over func() bool) (got uint64, ok bool) {
	defer runtime.KeepAlive(r.region)
	for tries := 1; ; tries++ {
		count := r.Cell.Commit.Load()
		if count == 0 || seq > count {
			return seq, false
		}
		seq = max(seq, r.Oldest(count))
		if r.Copy(b, seq, r.SlotOf(seq)) {
			return seq, true
		}
		if tries%maxTries != 0 {
			continue
		}
		if over() {
			return seq, false
		}
		if !briefly(r.lock()) {
			continue
		}
		// Only a process that does not heed the lock commits now.
		count = r.Cell.Commit.Load()
		ok = count != 0 && seq <= count
		if ok {
			seq = max(seq, r.Oldest(count))
			mem.CopyBytes(b, r.bytes(r.SlotOf(seq)))
			r.Token.Acquire()
		}
		r.Lock.Release()
		return seq, ok
	}
}

// Newest copies the newest value, and returns its number. It returns false if there is
// none. See Read.
func (r *Ring) Newest(b []byte) (seq uint64, ok bool) {
	for {
		count := r.Cell.Commit.Load()
		if seq, ok = r.Read(b, count, never); ok || r.Cell.Commit.Load() == 0 {
			return seq, ok
		}
	}
}

func never() bool { return false }

// All copies the values that are kept, one after the other without gaps, the oldest
// first. It returns the number of the oldest one, and how many there are.
//
// Preconditions: b has room for Kept values.
func (r *Ring) All(b []byte) (first uint64, n int) {
	defer runtime.KeepAlive(r.region)
	for tries := 1; ; tries++ {
		count := r.Cell.Commit.Load()
		first = r.copyAll(b, count)
		if now := r.Cell.Commit.Load(); now-count < r.Kept {
			// Those that are not kept any more may have been overwritten during the copy.
			gone := min(max(r.Oldest(now), first)-first, count+1-first)
			n = int(count + 1 - first - gone)
			copy(b, b[gone*r.size:(gone+uint64(n))*r.size])
			r.Token.Acquire()
			return first + gone, n
		}
		if tries%maxTries == 0 && briefly(r.lock()) {
			count = r.Cell.Commit.Load()
			first = r.copyAll(b, count)
			r.Lock.Release()
			r.Token.Acquire()
			return first, int(count + 1 - first)
		}
	}
}

// copyAll copies all values that are kept when count values have been appended.
func (r *Ring) copyAll(b []byte, count uint64) (first uint64) {
	first = r.Oldest(count)
	slot := r.SlotOf(first)
	for i := range min(count, r.Kept) {
		mem.CopyBytes(b[i*r.size:(i+1)*r.size], r.bytes(slot))
		slot = r.After(slot)
	}
	return first
}
