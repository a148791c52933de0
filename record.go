package shm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// kind is what a name stands for.
type kind uint8

const (
	kindSingle kind = iota + 1 // one number or struct
	kindArray                  // count elements
	kindChars                  // count bytes of a C string
	kindMutex                  // a lock and nothing else
	kindGrowth                 // a longer layout for the struct of that name, made before
)

// Where things are in a record, in bytes from its start; docs/FORMAT.md draws
// it. Everything up to its data never changes once the record is published.
const (
	recordFixed = 112 // then name, format, unit and help
	recordCheck = 12

	maxName = 255
	maxText = 32 << 10 // bytes of format; unit and help are far shorter
)

// Where things are in the data of a locked or published value.
const (
	numberOffset = 48   // of a locked number, in the line of its lock
	lockedOffset = line // of a locked array's elements, or the first slot
)

// label is what people call a value.
type label struct {
	name string
	unit string // of the number, such as bytes
	help string // what it means
}

// shape is what a constructor asks for and a record answers.
type shape struct {
	layout *Layout // of one element; nil for a mutex
	count  int64   // elements of an array, bytes of a C string; 0: one value
	access Access
	kind   kind
	label
}

// record is a validated copy of a record's fixed part. Offsets are from the
// start of the segment and inside what was allocated when it was read.
//
// What attaching looks at comes first: among many records it is one miss of the
// cache.
type record struct {
	data     int64 // offset
	capacity int64 // bytes of one slot, or of the value
	shape
	pid     int32
	program string
	index   int // in the directory
}

// room returns the bytes that a slot of a new record gets: structs that change
// as a whole have some to spare for the fields that later programs append.
func (s *shape) room() int64 {
	n, _ := s.slotSize()
	if s.grows() {
		return roundUp(n + n/2)
	}
	return n
}

// grows reports whether longer and shorter types may share the value.
func (s *shape) grows() bool { return s.access == AccessPublished && s.kind == kindSingle }

// slotSize returns the bytes of the elements, and whether they can exist at all.
func (s *shape) slotSize() (int64, bool) {
	if s.layout == nil {
		return 0, true
	}
	n := max(s.count, 1)
	if s.count < 0 || n > maxSegment/int64(s.layout.Size) {
		return 0, false
	}
	n *= int64(s.layout.Size)
	return n, n <= math.MaxInt/4
}

// dataSize returns the bytes that slots of a capacity take with their lock.
func (s *shape) dataSize(capacity int64) int64 {
	switch {
	case s.kind == kindGrowth:
		return 0
	case s.access == AccessPublished:
		return lockedOffset + 2*roundUp(capacity)
	case s.kind == kindMutex, s.access == AccessLocked && s.kind == kindSingle:
		return line
	case s.access == AccessLocked:
		return lockedOffset + roundUp(capacity)
	}
	return roundUp(capacity)
}

func roundUp(n int64) int64 { return (n + line - 1) / line * line }

// elements returns the offset of the value itself, the first slot's where
// there are two.
func (r *record) elements() int64 {
	switch {
	case r.access == AccessLocked && r.kind == kindSingle:
		return r.data + numberOffset
	case r.access == AccessLocked, r.access == AccessPublished:
		return r.data + lockedOffset
	}
	return r.data
}

// hasLock reports whether a lock cell starts the data.
func (s *shape) hasLock() bool { return s.access == AccessLocked || s.access == AccessPublished }

// check says why a shape cannot be made.
func (s *shape) check() error {
	switch {
	case s.name == "":
		return fmt.Errorf("empty name")
	case len(s.name) > maxName:
		return fmt.Errorf("name of %d bytes, at most %d", len(s.name), maxName)
	case !utf8.ValidString(s.name) || strings.ContainsFunc(s.name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("name is not printable UTF-8")
	case len(s.unit) > maxName || len(s.help) > 4<<10:
		return fmt.Errorf("unit of %d or help of %d bytes is too long", len(s.unit), len(s.help))
	case s.layout != nil && len(s.layout.Format) > maxText:
		return fmt.Errorf("format of %d bytes, at most %d", len(s.layout.Format), maxText)
	}
	if _, ok := s.slotSize(); !ok || s.count < 0 {
		return fmt.Errorf("%d elements", s.count)
	}
	return nil
}

// program is what this process is called in records and in the table of ids.
var program = func() string {
	if len(os.Args) == 0 { // in a library that another language loaded
		return ""
	}
	return filepath.Base(os.Args[0])
}()

// encode returns the record's bytes up to its data, and the size of the whole.
func (s *shape) encode(capacity int64) (meta []byte, size int64) {
	var format string
	var elem int
	if s.layout != nil {
		format, elem = s.layout.Format, s.layout.Size
	}
	texts := s.name + format + s.unit + s.help
	meta = make([]byte, roundUp(recordFixed+int64(len(texts))))
	size = int64(len(meta)) + s.dataSize(capacity)
	ne := binary.NativeEndian
	ne.PutUint64(meta[0:], uint64(size))
	ne.PutUint32(meta[8:], uint32(len(meta)))
	ne.PutUint64(meta[16:], uint64(s.count))
	ne.PutUint64(meta[24:], uint64(elem))
	ne.PutUint64(meta[32:], uint64(capacity))
	meta[40] = byte(s.access)
	meta[41] = byte(s.kind)
	ne.PutUint16(meta[42:], uint16(len(s.name)))
	ne.PutUint32(meta[44:], uint32(len(format)))
	ne.PutUint16(meta[48:], uint16(len(s.unit)))
	ne.PutUint16(meta[50:], uint16(len(s.help)))
	ne.PutUint32(meta[52:], uint32(os.Getpid()))
	copy(meta[56:recordFixed], program)
	copy(meta[recordFixed:], texts)
	ne.PutUint32(meta[recordCheck:], checkRecord(meta))
	return meta, size
}

// checkRecord is the checksum of a record's bytes up to its data, but for the
// checksum itself.
func checkRecord(meta []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(meta[:recordCheck]), crc32.IEEETable, meta[recordCheck+4:])
}

// decode validates the record that starts at off in mem and ends by end. It
// reads each byte of shared memory once, into a copy.
func decode(mem []byte, off, end int64, layouts map[string]*Layout) (r *record, size int64, err error) {
	broken := func(what string, args ...any) (*record, int64, error) {
		return nil, 0, fmt.Errorf("%w: record at %d: %s", ErrFormat, off, fmt.Sprintf(what, args...))
	}
	if end-off < recordFixed {
		return broken("cut off")
	}
	var fixed [recordFixed]byte
	copy(fixed[:], mem[off:])
	ne := binary.NativeEndian
	usize, ulen := ne.Uint64(fixed[0:]), int64(ne.Uint32(fixed[8:]))
	if usize > uint64(end-off) || usize%line != 0 || ulen < recordFixed || ulen%line != 0 || uint64(ulen) > usize {
		return broken("%d bytes, data from %d", usize, ulen)
	}
	size = int64(usize)
	n, f, u, h := int64(ne.Uint16(fixed[42:])), int64(ne.Uint32(fixed[44:])), int64(ne.Uint16(fixed[48:])), int64(ne.Uint16(fixed[50:]))
	if ulen != roundUp(recordFixed+n+f+u+h) || f > maxText {
		return broken("texts of %d, %d, %d and %d bytes before %d", n, f, u, h, ulen)
	}
	meta := make([]byte, ulen)
	copy(meta, fixed[:])
	copy(meta[recordFixed:], mem[off+recordFixed:off+ulen])
	if checkRecord(meta) != ne.Uint32(meta[recordCheck:]) {
		return broken("checksum")
	}
	texts := string(meta[recordFixed : recordFixed+n+f+u+h])
	r = &record{
		shape: shape{
			label: label{name: texts[:n], unit: texts[n+f : n+f+u], help: texts[n+f+u:]},
			count: int64(ne.Uint64(meta[16:])), access: Access(meta[40]), kind: kind(meta[41]),
		},
		data: off + ulen, capacity: int64(ne.Uint64(meta[32:])),
		pid: int32(ne.Uint32(meta[52:])), program: strings.TrimRight(string(meta[56:recordFixed]), "\x00"),
	}
	if r.kind < kindSingle || r.kind > kindGrowth || r.access < AccessRaw || r.access > AccessPublished {
		return broken("kind %d with access %d", r.kind, r.access)
	}
	format := texts[n : n+f]
	if r.kind != kindMutex {
		if r.layout = layouts[format]; r.layout == nil {
			l, err := ParseLayout(format)
			if err != nil {
				return broken("%v", err)
			}
			r.layout = &l
			layouts[strings.Clone(format)] = r.layout
		}
		if r.layout.Format != format || uint64(r.layout.Size) != ne.Uint64(meta[24:]) {
			return broken("format %q of %d bytes", format, ne.Uint64(meta[24:]))
		}
	}
	if err := r.check(); err != nil {
		return broken("%v", err)
	}
	need, _ := r.slotSize()
	inside := r.kind == kindGrowth || r.kind == kindMutex || r.elements()-r.data+need <= r.dataSize(r.capacity)
	if r.capacity < need || r.capacity > maxSegment || r.data+r.dataSize(r.capacity) != off+size || !inside {
		return broken("capacity %d of %d bytes for %d", r.capacity, size-ulen, need)
	}
	return r, size, nil
}
