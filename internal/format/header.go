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
	"sync/atomic"

	"example.org/shm/internal/errs"
)

// Where things are in the first bytes of a segment.
const (
	Magic         = "\x93SHM\r\n\x1a\n" // not text, and damaged by every program that translates line ends
	Version       = 1
	ByteOrderMark = 0x01020304

	TableOffset = 256
	TableLen    = 512
	HeaderSize  = TableOffset + TableLen*Line // offset of the first record

	FirstAllocation = 64 << 10 // bytes of a new segment's file

	HeaderChecked = 32 // the first bytes of the header, which Header.Check covers
)

// Bytes of the file whose locks have a meaning. They are locked, not read.
const (
	AllocationByte = 0       // in the header; locked while a record is appended
	LeaseBase      = 1 << 62 // the lease of id n is a lock on byte LeaseBase+n, which no file reaches
	MaxID          = 1<<30 - 1
)

// Header is at the start of each segment. The first cache line never changes.
// Each word of the second changes by one atomic store.
type Header struct {
	Magic     [8]byte
	Version   uint32
	Order     uint32 // ByteOrderMark
	Size      uint32 // bytes up to the first record
	TableLen  uint32 // entries in Table
	MaxSize   uint64 // bytes
	Check     uint32 // CRC-32 of all bytes before it
	_         [28]byte
	Allocated Sealed     // lines that are reserved on the filesystem, so that touching them cannot fail
	Used      Sealed     // lines up to the end of the last published record; the commit point of the directory
	Dirty     Sealed     // lines up to which a writer that died may have left bytes after Used
	NextID    Sealed     // the id that the next attachment takes
	Boot      Sealed     // which boot of the system wrote the lock words; 0: unknown
	Names     ChangeWord // changes when a name has been added
	_         [148]byte
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

// NewHeader returns the first TableOffset bytes of a new segment. The rest of
// the header is zero. allocated and maxSize are in bytes, multiples of Line.
func NewHeader(maxSize, allocated int64, boot uint64) []byte {
	b := make([]byte, 0, TableOffset)
	ne := binary.NativeEndian
	b = append(b, Magic...)
	b = ne.AppendUint32(b, Version)
	b = ne.AppendUint32(b, ByteOrderMark)
	b = ne.AppendUint32(b, HeaderSize)
	b = ne.AppendUint32(b, TableLen)
	b = ne.AppendUint64(b, uint64(maxSize))
	b = ne.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = b[:Line]
	for _, n := range []uint64{uint64(allocated / Line), HeaderSize / Line, HeaderSize / Line, 1, boot} {
		b = ne.AppendUint64(b, Seal(n))
	}
	return b[:TableOffset]
}

// CheckHeader validates a copy of a segment's first TableOffset bytes against
// the size of its file. It returns the maximum size of the segment in bytes.
func CheckHeader(b []byte, fileSize int64) (maxSize int64, err error) {
	if len(b) < TableOffset {
		return 0, fmt.Errorf("%w: %d bytes are too few for a header", errs.Format, fileSize)
	}
	if string(b[:8]) != Magic {
		return 0, fmt.Errorf("%w: no magic number", errs.Format)
	}
	ne := binary.NativeEndian
	switch order := ne.Uint32(b[12:]); order {
	case ByteOrderMark:
	case 0x04030201:
		return 0, fmt.Errorf("%w: made on a machine of the other byte order", errs.Version)
	default:
		return 0, fmt.Errorf("%w: byte-order mark %#x", errs.Format, order)
	}
	if crc32.ChecksumIEEE(b[:HeaderChecked]) != ne.Uint32(b[HeaderChecked:]) {
		return 0, fmt.Errorf("%w: header checksum does not match", errs.Format)
	}
	if v := ne.Uint32(b[8:]); v != Version {
		return 0, fmt.Errorf("%w: the segment has version %d, this program reads version %d; update the older program", errs.Version, v, Version)
	}
	if size, n := ne.Uint32(b[16:]), ne.Uint32(b[20:]); size != HeaderSize || n != TableLen {
		return 0, fmt.Errorf("%w: header of %d bytes with %d ids", errs.Format, size, n)
	}
	for i, c := range b[HeaderChecked+4 : Line] {
		if c != 0 {
			return 0, fmt.Errorf("%w: byte %d is not zero", errs.Format, HeaderChecked+4+i)
		}
	}
	const namesEnd = Line + 5*8 + 4
	for i, c := range b[namesEnd:TableOffset] {
		if c != 0 {
			return 0, fmt.Errorf("%w: byte %d is not zero", errs.Format, namesEnd+i)
		}
	}
	return checkSizes(b, fileSize)
}

// checkSizes validates the words of the header that change.
func checkSizes(b []byte, fileSize int64) (maxSize int64, err error) {
	ne := binary.NativeEndian
	var words [5]uint64
	for i := range words {
		var ok bool
		if words[i], ok = Unseal(ne.Uint64(b[Line+8*i:])); !ok {
			return 0, fmt.Errorf("%w: damaged header word at byte %d", errs.Format, Line+8*i)
		}
	}
	maximum, allocated, used, dirty := ne.Uint64(b[24:]), words[0], words[1], words[2]
	if maximum > MaxSegment || maximum < HeaderSize || maximum%Line != 0 {
		return 0, fmt.Errorf("%w: maximum size of %d bytes", errs.Format, maximum)
	}
	if allocated > maximum/Line || used > allocated || used < HeaderSize/Line || dirty > allocated {
		return 0, fmt.Errorf("%w: %d lines used and %d written of %d, at most %d", errs.Format, used, dirty, allocated, maximum/Line)
	}
	if int64(allocated)*Line > fileSize {
		return 0, fmt.Errorf("%w: cut off: the file has %d bytes of %d", errs.Format, fileSize, int64(allocated)*Line)
	}
	return int64(maximum), nil
}

// BootStamp returns what Header.Boot has for a boot id of the system: 40 bits that
// are not 0. An id of 0, which the system does not know, stays 0.
func BootStamp(id uint64) uint64 {
	if id == 0 {
		return 0
	}
	return id&SealedMax | 1
}
