// Package formattest helps tests of the memory format: it makes corrupt segments
// and reads the tables of docs/FORMAT.md. Only tests import it.
//
// It imports the package format.
package formattest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"

	"example.org/shm/internal/format"
)

// A Corrupt segment is a valid one with one change.
type Corrupt struct {
	Off   int64  // of the change
	What  string // the change in words
	Bytes []byte // valid until the next one
}

// Forge sets the checksums of a segment to match what is in it, so that a test
// reaches the checks that follow. It follows the records as far as it can.
func Forge(b []byte) {
	ne := binary.NativeEndian
	if len(b) < format.HeaderSize {
		return
	}
	ne.PutUint32(b[format.HeaderChecked:], crc32.ChecksumIEEE(b[:format.HeaderChecked]))
	for i := range 8 {
		word := b[format.Line+8*i:]
		ne.PutUint64(word, format.Seal(ne.Uint64(word)&format.SealedMax))
	}
	for off := uint64(format.HeaderSize); off+format.RecordFixed <= uint64(len(b)); {
		size, meta := ne.Uint64(b[off:]), uint64(ne.Uint32(b[off+8:]))
		if meta >= format.RecordFixed && meta <= uint64(len(b))-off {
			ne.PutUint32(b[off+format.RecordCheck:], format.RecordChecksum(b[off:off+meta]))
		}
		if size == 0 || size > uint64(len(b)) {
			return
		}
		off += size
	}
}

// corruptible yields the offsets of the header without its table, and of the
// directory.
func corruptible(valid []byte, step int64) iter.Seq[int64] {
	lines, _ := format.Unseal(binary.NativeEndian.Uint64(valid[72:]))
	return func(yield func(int64) bool) {
		for off := int64(0); off < int64(lines)*format.Line; off += step {
			if off == format.TableOffset {
				off = format.HeaderSize
			}
			if !yield(off) {
				return
			}
		}
	}
}

// Flips yields the segment with each byte of the header and the directory
// changed by each mask. The checksums do not match.
func Flips(valid []byte, masks ...byte) iter.Seq[Corrupt] {
	return func(yield func(Corrupt) bool) {
		b := make([]byte, len(valid))
		for off := range corruptible(valid, 1) {
			for _, mask := range masks {
				copy(b, valid)
				b[off] ^= mask
				if !yield(Corrupt{off, fmt.Sprintf("byte %d flipped by %#x", off, mask), b}) {
					return
				}
			}
		}
	}
}

// Forgeries yields the segment with each number of 1, 2, 4 and 8 bytes in the
// header and the directory set to each of the numbers. The checksums match.
func Forgeries(valid []byte, numbers ...uint64) iter.Seq[Corrupt] {
	return func(yield func(Corrupt) bool) {
		b := make([]byte, len(valid))
		for off := range corruptible(valid, 2) {
			for _, n := range numbers {
				for width := 1; width <= 8; width *= 2 {
					if off%int64(width) != 0 || width < 8 && n>>(8*width) != 0 {
						continue
					}
					copy(b, valid)
					putNumber(b[off:], n, width)
					Forge(b)
					if !yield(Corrupt{off, fmt.Sprintf("%d bytes at %d are %#x", width, off, n), b}) {
						return
					}
				}
			}
		}
	}
}

func putNumber(b []byte, n uint64, width int) {
	ne := binary.NativeEndian
	switch width {
	case 1:
		b[0] = byte(n)
	case 2:
		ne.PutUint16(b, uint16(n))
	case 4:
		ne.PutUint32(b, uint32(n))
	default:
		ne.PutUint64(b, n)
	}
}
