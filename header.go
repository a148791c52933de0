package shm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// The first bytes of a segment. docs/FORMAT.md draws them; a test holds the
// two together.
const (
	magic         = "\x93SHM\r\n\x1a\n" // no text, and broken by whatever translates line ends
	formatVersion = 1
	byteOrderMark = 0x01020304

	line        = 64 // bytes of a cache line: records, cells and slots start on one
	tableOffset = 256
	tableLen    = 512
	headerSize  = tableOffset + tableLen*line // offset of the first record

	firstAllocation = 64 << 10
	maxSegment      = 1 << 45 // bytes; far below leaseBase, and in reach of a sealed word
)

// header is what every segment starts with. The first cache line never
// changes; each word of the second changes by one atomic store.
type header struct {
	magic     [8]byte
	version   uint32
	order     uint32
	size      uint32 // bytes up to the first record
	tableLen  uint32 // entries in the table of attached ids
	maxSize   uint64 // bytes
	check     uint32 // crc32 of all before
	_         [28]byte
	allocated sealed     // units of line: reserved on the filesystem, so touching it cannot fault
	used      sealed     // units of line: what is below is published; the commit point of the directory
	dirty     sealed     // units of line: above used, what a dead writer may have left behind ends here
	nextID    sealed     // the id that the next attachment takes
	boot      sealed     // which boot of the system wrote the lock words
	names     changeWord // moves when a name has been added
	_         [148]byte
	table     [tableLen]tableEntry
}

const staticHeader = 32 // bytes that check covers

// tableEntry says who attached under an id, a hint for watches and tools:
// it is written once, without a lock, and proves nothing.
type tableEntry struct {
	id        atomic.Uint32
	pid       uint32
	namespace uint64 // inode of the pid namespace; 0: unknown
	program   [48]byte
}

// sealed is a 40-bit number and 24 bits of check in one 64-bit word, so that
// it changes by one store and yet a flipped byte is noticed.
type sealed struct{ word atomic.Uint64 }

const sealedMax = 1<<40 - 1

func seal(n uint64) uint64 {
	return n | (n*0x9E3779B97F4A7C15+0x5348)>>40<<40
}

// unseal reports ok == false for a word that seal did not make.
func unseal(w uint64) (n uint64, ok bool) {
	n = w & sealedMax
	return n, seal(n) == w
}

func (s *sealed) load() (n uint64, ok bool) { return unseal(s.word.Load()) }
func (s *sealed) store(n uint64)            { s.word.Store(seal(n)) }

// bytes reads a size that is kept in lines.
func (s *sealed) bytes() (n int64, ok bool) {
	u, ok := s.load()
	return int64(u) * line, ok && u <= maxSegment/line
}

func (s *sealed) storeBytes(n int64) { s.store(uint64(n / line)) }

// newHeader returns the first tableOffset bytes of a new segment; the table
// behind them starts as zeros.
func newHeader(maxSize, allocated int64, boot uint64) []byte {
	b := make([]byte, 0, tableOffset)
	ne := binary.NativeEndian
	b = append(b, magic...)
	b = ne.AppendUint32(b, formatVersion)
	b = ne.AppendUint32(b, byteOrderMark)
	b = ne.AppendUint32(b, headerSize)
	b = ne.AppendUint32(b, tableLen)
	b = ne.AppendUint64(b, uint64(maxSize))
	b = ne.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = b[:line]
	for _, n := range []uint64{uint64(allocated / line), headerSize / line, headerSize / line, 1, boot} {
		b = ne.AppendUint64(b, seal(n))
	}
	return b[:tableOffset]
}

// checkHeader validates a copy of a segment's first tableOffset bytes against
// the size of its file and returns its maximum size in bytes.
func checkHeader(b []byte, fileSize int64) (maxSize int64, err error) {
	if len(b) < tableOffset {
		return 0, fmt.Errorf("%w: %d bytes are too few", ErrFormat, fileSize)
	}
	if string(b[:8]) != magic {
		return 0, fmt.Errorf("%w: no magic number", ErrFormat)
	}
	ne := binary.NativeEndian
	switch order := ne.Uint32(b[12:]); order {
	case byteOrderMark:
	case 0x04030201:
		return 0, fmt.Errorf("%w: made on a machine of the other byte order", ErrVersion)
	default:
		return 0, fmt.Errorf("%w: byte-order mark %#x", ErrFormat, order)
	}
	if crc32.ChecksumIEEE(b[:staticHeader]) != ne.Uint32(b[staticHeader:]) {
		return 0, fmt.Errorf("%w: header checksum", ErrFormat)
	}
	if v := ne.Uint32(b[8:]); v != formatVersion {
		return 0, fmt.Errorf("%w: version %d, this program reads %d", ErrVersion, v, formatVersion)
	}
	if size, n := ne.Uint32(b[16:]), ne.Uint32(b[20:]); size != headerSize || n != tableLen {
		return 0, fmt.Errorf("%w: header of %d bytes with %d ids", ErrFormat, size, n)
	}
	for i, c := range b[staticHeader+4 : line] {
		if c != 0 {
			return 0, fmt.Errorf("%w: byte %d is not zero", ErrFormat, staticHeader+4+i)
		}
	}
	for i, c := range b[108:] {
		if c != 0 {
			return 0, fmt.Errorf("%w: byte %d is not zero", ErrFormat, 108+i)
		}
	}
	var words [5]uint64
	for i := range words {
		var ok bool
		if words[i], ok = unseal(ne.Uint64(b[line+8*i:])); !ok {
			return 0, fmt.Errorf("%w: header word at %d", ErrFormat, line+8*i)
		}
	}
	maximum, allocated, used, dirty := ne.Uint64(b[24:]), words[0], words[1], words[2]
	if maximum > maxSegment || maximum < headerSize || maximum%line != 0 {
		return 0, fmt.Errorf("%w: maximum size %d", ErrFormat, maximum)
	}
	if allocated > maximum/line || used > allocated || used < headerSize/line || dirty > allocated {
		return 0, fmt.Errorf("%w: %d lines used and %d written of %d, at most %d", ErrFormat, used, dirty, allocated, maximum/line)
	}
	if int64(allocated)*line > fileSize {
		return 0, fmt.Errorf("%w: cut off: %d bytes of %d are there", ErrFormat, fileSize, int64(allocated)*line)
	}
	return int64(maximum), nil
}
