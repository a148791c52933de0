// Package format defines what the bytes of a segment mean: the header, the
// records of the directory, lock cells and change words. docs/FORMAT.md is its
// specification, for programs in other languages too. c/shm.h, and header.py,
// record.py and cell.py in python/shm, repeat the numbers here. If you change a
// byte, change all of them: CONTRIBUTING.md has the list.
//
// It imports the packages layout and errs. It makes no system call and knows no
// file: it works on bytes that others have mapped or read.
//
// Invariants:
//
//   - CheckHeader and Decode read each byte of shared memory once, into a copy,
//     and check the copy, since another process may change the memory meanwhile.
//   - What they return is sound: offsets and sizes are within the bounds they
//     were given, and arithmetic on them does not overflow.
//   - Their errors wrap errs.Format, or errs.Version for a segment of another
//     version or byte order. They never panic, whatever the bytes are.
package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"sync/atomic"

	"example.org/shm/internal/errs"
)

// Where things are in the first bytes of a segment.
const (
	Magic         = "\x93SHM\r\n\x1a\n" // not text, and damaged by every program that translates line ends
	Version       = 2
	ByteOrderMark = 0x01020304

	TableOffset = 256
	TableLen    = 512
	HeaderSize  = TableOffset + TableLen*Line // offset of the first record

	FirstAllocation = 64 << 10 // bytes of a new segment's file

	HeaderChecked = 40 // the first bytes of the header, which Header.Check covers
)

// Bytes of the file whose locks have a meaning. They are locked, not read.
const (
	AllocationByte = 0       // in the header; locked while a record is appended
	LeaseBase      = 1 << 62 // the lease of id n is a lock on byte LeaseBase+n, which no file reaches
	MaxID          = 1<<30 - 1
	AskBase        = 5 << 60 // the first byte by which a process that may only read asks, see AskByte
	AskBytes       = 1 << 61 // so many there are
)

// Header is at the start of each segment. The first cache line never changes.
// Each word of the others changes by one atomic store.
type Header struct {
	Magic     [8]byte
	Version   uint32
	Order     uint32 // ByteOrderMark
	Size      uint32 // bytes up to the first record
	TableLen  uint32 // entries in Table
	MaxSize   uint64 // bytes
	Identity  uint64 // a random number that tells this segment from others; a copy has it too
	Check     uint32 // CRC-32 of all bytes before it
	_         [20]byte
	Allocated Sealed     // lines that are reserved on the filesystem, so that touching them cannot fail
	Used      Sealed     // lines up to the end of the last published record; the commit point of the directory
	Indexed   Sealed     // lines up to which the records are in the index
	Dirty     Sealed     // lines up to which a writer that died may have left bytes after Used
	NextID    Sealed     // the id that the next attachment takes
	Home      Sealed     // for which boot of the system and which file the leases are valid; 0: unknown
	Index     Sealed     // line at which the record of the index starts
	Values    Sealed     // names in the index
	Names     ChangeWord // changes when a name has been added
	Bell      ChangeWord // always 0: a futex word, on which processes that may write wait for those that may not
	Place     Sealed     // where the locks of the segment are; 0: on bytes of its file
	_         [112]byte
	Table     [TableLen]TableEntry // the entry of an id is at the id modulo TableLen
}

// TableEntry says which process attached under an id. It is a hint for watches
// and tools: it is written once, without a lock, and proves nothing.
type TableEntry struct {
	ID        atomic.Uint32
	Pid       uint32
	Namespace uint64 // inode of the pid namespace; 0: unknown
	Program   [48]byte
}

// NewHeader returns what a new segment starts with: the header, and the record of
// its index. All bytes after that are zero. allocated and maxSize are in bytes,
// multiples of Line. place is where the locks of the segment are, as package sys says. The
// segment's home is unknown.
func NewHeader(maxSize, allocated int64, identity, place uint64) []byte {
	index := Shape{Access: Raw, Kind: KindIndex, Count: IndexSlots}
	meta, size := index.Encode(index.Room(), Maker{}, 0)
	used := uint64(HeaderSize+size) / Line
	ne := binary.NativeEndian
	b := make([]byte, 0, HeaderSize+len(meta))
	b = append(b, Magic...)
	b = ne.AppendUint32(b, Version)
	b = ne.AppendUint32(b, ByteOrderMark)
	b = ne.AppendUint32(b, HeaderSize)
	b = ne.AppendUint32(b, TableLen)
	b = ne.AppendUint64(b, uint64(maxSize))
	b = ne.AppendUint64(b, identity)
	b = ne.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = b[:Line]
	for _, n := range []uint64{uint64(allocated / Line), used, used, used, 1, 0, HeaderSize / Line, 0} {
		b = ne.AppendUint64(b, Seal(n))
	}
	ne.PutUint64(b[:placeOffset+8][placeOffset:], Seal(place))
	return append(b[:HeaderSize], meta...)
}

// placeOffset is the offset of Header.Place.
const placeOffset = 2*Line + 8

// Start is what the first bytes of a segment say.
type Start struct {
	MaxSize  int64  // bytes to which the segment can grow
	Identity uint64 // tells this segment from others
	Home     uint64 // see Home; 0: unknown
	Place    uint64 // where the locks are
	Unfit    error  // why the sizes do not fit each other or the file; nil if they do
}

// CheckHeader validates a copy of a segment's first TableOffset bytes against
// the size of its file. A file whose pages reached the disk in any order before the
// power failed is Unfit, and not an error.
func CheckHeader(b []byte, fileSize int64) (Start, error) {
	if len(b) < TableOffset {
		return Start{}, fmt.Errorf("%w: %d bytes are too few for a header", errs.Format, fileSize)
	}
	if string(b[:8]) != Magic {
		return Start{}, fmt.Errorf("%w: no magic number", errs.Format)
	}
	ne := binary.NativeEndian
	switch order := ne.Uint32(b[12:]); order {
	case ByteOrderMark:
	case 0x04030201:
		return Start{}, fmt.Errorf("%w: made on a machine of the other byte order", errs.Version)
	default:
		return Start{}, fmt.Errorf("%w: byte-order mark %#x", errs.Format, order)
	}
	if v := ne.Uint32(b[8:]); v != Version {
		return Start{}, fmt.Errorf("%w: the segment has version %d, this program reads version %d; update the older program", errs.Version, v, Version)
	}
	if crc32.ChecksumIEEE(b[:HeaderChecked]) != ne.Uint32(b[HeaderChecked:]) {
		return Start{}, fmt.Errorf("%w: header checksum does not match", errs.Format)
	}
	if size, n := ne.Uint32(b[16:]), ne.Uint32(b[20:]); size != HeaderSize || n != TableLen {
		return Start{}, fmt.Errorf("%w: header of %d bytes with %d ids", errs.Format, size, n)
	}
	const namesEnd = 2*Line + 4
	for _, zeros := range [][2]int{{HeaderChecked + 4, Line}, {namesEnd, placeOffset}, {placeOffset + 8, TableOffset}} {
		for i := zeros[0]; i < zeros[1]; i++ {
			if b[i] != 0 {
				return Start{}, fmt.Errorf("%w: byte %d is not zero", errs.Format, i)
			}
		}
	}
	return checkSizes(b, fileSize)
}

// checkSizes validates the words of the header that change.
func checkSizes(b []byte, fileSize int64) (Start, error) {
	ne := binary.NativeEndian
	var words [8]uint64
	for i := range words {
		var ok bool
		if words[i], ok = Unseal(ne.Uint64(b[Line+8*i:])); !ok {
			return Start{}, fmt.Errorf("%w: damaged header word at byte %d", errs.Format, Line+8*i)
		}
	}
	place, ok := Unseal(ne.Uint64(b[placeOffset:]))
	if !ok {
		return Start{}, fmt.Errorf("%w: damaged header word at byte %d", errs.Format, placeOffset)
	}
	maximum, allocated, used, indexed, dirty, index := ne.Uint64(b[24:]), words[0], words[1], words[2], words[3], words[6]
	if maximum > MaxSegment || maximum < FirstAllocation || maximum%Line != 0 {
		return Start{}, fmt.Errorf("%w: maximum size of %d bytes", errs.Format, maximum)
	}
	if most := maximum / Line; max(allocated, used, indexed, dirty, index) > most || fileSize < FirstAllocation {
		return Start{}, fmt.Errorf("%w: cut off, or damaged: %d lines allocated, %d used, %d indexed, %d written of at most %d; the file has %d bytes", errs.Format, allocated, used, indexed, dirty, most, fileSize)
	}
	start := Start{MaxSize: int64(maximum), Identity: ne.Uint64(b[32:]), Home: words[5], Place: place}
	switch {
	case index < HeaderSize/Line || index >= used || used > allocated || indexed < HeaderSize/Line || indexed > used || dirty > allocated:
		start.Unfit = fmt.Errorf("%w: %d lines used, %d indexed and %d written of %d, with the index at %d", errs.Format, used, indexed, dirty, allocated, index)
	case int64(allocated)*Line > fileSize:
		start.Unfit = fmt.Errorf("%w: cut off: the file has %d bytes of %d", errs.Format, fileSize, int64(allocated)*Line)
	}
	return start, nil
}

// Home returns what Header.Home has for a boot of the system, a file's inode number
// and a segment's identity: 40 bits that are not 0. bootID is the system's text; it
// is empty for a file in memory, which no reboot leaves.
func Home(bootID string, inode, identity uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(bootID)) // never fails
	ne := binary.NativeEndian
	_, _ = h.Write(ne.AppendUint64(ne.AppendUint64(nil, inode), identity))
	return h.Sum64()&SealedMax | 1
}
