package format

import "hash/crc32"

// The index of a segment is an array of slots, in the data of a record of its
// own. It leads from a name to the newest record that has it.
const (
	IndexSlots    = 512     // of a new segment
	MaxIndexSlots = 1 << 24 // tags have no more bits

	slotSize = 8 // bytes
	tagShift = 40
)

// Slot is a slot of an index: the 24 bits of a name's tag, and the line at which a
// record starts. 0 is a free slot.
type Slot uint64

// Tag returns the tag of a name. The search for the name begins at the slot of that
// number modulo the number of slots.
func Tag(name string) uint64 {
	return uint64(crc32.ChecksumIEEE([]byte(name))*0x9E3779B1) >> 8
}

// MakeSlot returns the slot of a record.
func MakeSlot(tag uint64, start int64) Slot { return Slot(tag<<tagShift | uint64(start/Line)) }

// Tag returns the tag of the record's name.
func (s Slot) Tag() uint64 { return uint64(s >> tagShift) }

// Start returns the offset of the record, which may be anywhere.
func (s Slot) Start() int64 { return int64(s&(1<<tagShift-1)) * Line }
