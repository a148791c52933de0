package directory

import "sync/atomic"

// table is the slots of an index in this process's memory.
type table struct {
	start int64           // offset of its record; 0: none was read yet
	slots []atomic.Uint64 // a power of two of format.Slot
}

// free returns the first free slot of a tag. It is nil if there is none, which only a
// faulty process brings about.
func (t table) free(tag uint64) *atomic.Uint64 {
	for i := range uint64(len(t.slots)) {
		if slot := t.at(tag + i); slot.Load() == 0 {
			return slot
		}
	}
	return nil
}

// at returns a slot, after the last one the first again.
func (t table) at(i uint64) *atomic.Uint64 { return &t.slots[i&uint64(len(t.slots)-1)] }

// inUse counts the slots that are not free.
func (t table) inUse() (n uint64) {
	for i := range t.slots {
		if t.slots[i].Load() != 0 {
			n++
		}
	}
	return n
}
