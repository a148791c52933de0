package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/layout"
)

// Where things are in a record, in bytes from its start. A record is the fixed
// part, then name, format, unit and help, then, from the next line on, the data.
// Nothing before the data changes once the record is published.
// The data of an index change.
const (
	RecordFixed   = 112 // bytes of the fixed part
	RecordCheck   = 12  // offset of the checksum
	recordHint    = 64  // offset of the hint, before some zeros
	recordProgram = 72  // offset of the program
)

// Maker says which process made a record.
type Maker struct {
	Pid     int32
	Program string
}

// Record is a validated copy of a record's part before the data. Offsets count
// from the start of the segment and are inside what was allocated when the
// record was read.
//
// The fields that attaching looks at come first: among many records that is one
// cache miss.
type Record struct {
	Data     int64 // offset
	Capacity int64 // bytes of one slot, or of the value
	Shape
	Maker
	Start int64 // offset of the record itself
	Older int64 // of a growth record: offset of the struct's own record; 0 in others
}

// Outgrows reports whether s is what the record has with fields appended, and
// whether the longer struct fits in the record's slots.
func (s *Shape) Outgrows(r *Record) bool {
	return s.Grows() && s.Kind == r.Kind && r.Grows() && s.Count == r.Count && !layout.Same(s.Layout, r.Layout) && s.Layout.Extends(*r.Layout) && int64(s.Layout.Size) <= r.Capacity
}

// Elements returns the offset of the value itself. That is the offset of the
// first slot if there are two, of cell 0 if there are cells, and of the lock cell if there
// is nothing else.
func (r *Record) Elements() int64 {
	switch {
	case r.Kind == KindMutex:
		return r.Data
	case r.HasCells():
		return r.Data + r.cellsOffset()
	case r.Access == Locked && r.Kind == KindSingle:
		return r.Data + NumberOffset
	case r.Access == Locked, r.Access == Published:
		return r.Data + LockedOffset
	}
	return r.Data
}

// Encode returns the bytes of a new record up to its data, and the size of the
// whole record. A program name that is too long is cut. older is the offset of the
// record that a growth record is for, and 0 for others.
//
// Preconditions: Check returns nil.
func (s *Shape) Encode(capacity int64, by Maker, older int64) (meta []byte, size int64) {
	var format string
	elem := 0
	switch {
	case s.Layout != nil:
		format, elem = s.Layout.Format, s.Layout.Size
	case s.Kind == KindIndex:
		elem = slotSize
	}
	texts := s.Name + format + s.Unit + s.Help
	meta = make([]byte, RoundUp(RecordFixed+int64(len(texts))))
	size = int64(len(meta)) + s.DataSize(capacity)
	ne := binary.NativeEndian
	ne.PutUint64(meta[0:], uint64(size))
	ne.PutUint32(meta[8:], uint32(len(meta)))
	ne.PutUint64(meta[16:], uint64(s.Count))
	ne.PutUint64(meta[24:], uint64(elem))
	ne.PutUint64(meta[32:], uint64(capacity))
	meta[40] = byte(s.Access)
	meta[41] = byte(s.Kind)
	ne.PutUint16(meta[42:], uint16(len(s.Name)))
	ne.PutUint32(meta[44:], uint32(len(format)))
	ne.PutUint16(meta[48:], uint16(len(s.Unit)))
	ne.PutUint16(meta[50:], uint16(len(s.Help)))
	ne.PutUint32(meta[52:], uint32(by.Pid))
	ne.PutUint64(meta[56:], uint64(older/Line))
	meta[recordHint] = byte(s.Hint)
	copy(meta[recordProgram:RecordFixed], by.Program)
	copy(meta[RecordFixed:], texts)
	ne.PutUint32(meta[RecordCheck:], RecordChecksum(meta))
	return meta, size
}

// RecordChecksum returns the CRC-32 of a record's bytes up to its data, without
// the checksum itself.
func RecordChecksum(meta []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(meta[:RecordCheck]), crc32.IEEETable, meta[RecordCheck+4:])
}

// copies has room for the bytes that Decode validates, which nobody may change meanwhile.
var copies = sync.Pool{New: func() any { return new([4 * Line]byte) }}

// Decode validates the record that starts at off in mem and ends by end. size is
// the size of the whole record. layouts has the layouts of the formats that were
// read before; Decode adds to it.
//
// Preconditions: mem has the bytes from off up to the data.
func Decode(mem []byte, off, end int64, layouts map[string]*layout.Layout) (r *Record, size int64, err error) {
	corrupt := func(what string, args ...any) (*Record, int64, error) {
		return nil, 0, fmt.Errorf("%w: record at byte %d: %s", errs.Format, off, fmt.Sprintf(what, args...))
	}
	if end-off < RecordFixed {
		return corrupt("cut off")
	}
	var fixed [RecordFixed]byte
	copy(fixed[:], mem[off:])
	ne := binary.NativeEndian
	usize, ulen := ne.Uint64(fixed[0:]), int64(ne.Uint32(fixed[8:]))
	if usize > uint64(end-off) || usize%Line != 0 || ulen < RecordFixed || ulen%Line != 0 || uint64(ulen) > usize {
		return corrupt("%d bytes with data from byte %d", usize, ulen)
	}
	size = int64(usize)
	n, f, u, h := int64(ne.Uint16(fixed[42:])), int64(ne.Uint32(fixed[44:])), int64(ne.Uint16(fixed[48:])), int64(ne.Uint16(fixed[50:]))
	if ulen != RoundUp(RecordFixed+n+f+u+h) || f > MaxText {
		return corrupt("texts of %d, %d, %d and %d bytes before byte %d", n, f, u, h, ulen)
	}
	small := copies.Get().(*[4 * Line]byte) // most records are short
	defer copies.Put(small)
	meta := small[:]
	if ulen > int64(len(meta)) {
		meta = make([]byte, ulen)
	}
	meta = meta[:ulen]
	copy(meta, fixed[:])
	copy(meta[RecordFixed:], mem[off+RecordFixed:off+ulen])
	if RecordChecksum(meta) != ne.Uint32(meta[RecordCheck:]) {
		return corrupt("checksum does not match")
	}
	for _, zeros := range [][2]int64{{recordHint + 1, recordProgram}, {RecordFixed + n + f + u + h, ulen}} {
		if i := nonZero(meta[zeros[0]:zeros[1]]); i >= 0 {
			return corrupt("byte %d is not zero", zeros[0]+int64(i))
		}
	}
	texts := string(meta[recordProgram : RecordFixed+n+f+u+h]) // one copy for all of them
	program, _, _ := strings.Cut(texts[:RecordFixed-recordProgram], "\x00")
	texts = texts[RecordFixed-recordProgram:]
	r = &Record{
		Shape: Shape{
			Label: Label{Name: texts[:n], Unit: texts[n+f : n+f+u], Help: texts[n+f+u:], Hint: Hint(meta[recordHint])},
			Count: int64(ne.Uint64(meta[16:])), Access: Access(meta[40]), Kind: Kind(meta[41]),
		},
		Maker: Maker{Pid: int32(ne.Uint32(meta[52:])), Program: program},
		Data:  off + ulen, Capacity: int64(ne.Uint64(meta[32:])), Start: off,
	}
	older := ne.Uint64(meta[56:])
	if older > uint64(off)/Line || (older != 0) != (r.Kind == KindGrowth) {
		return corrupt("it is of kind %d, and line %d has an older record", r.Kind, older)
	}
	r.Older = int64(older) * Line
	format, element := texts[n:n+f], ne.Uint64(meta[24:])
	switch r.Kind {
	case KindMutex, KindIndex:
		if want := map[Kind]uint64{KindIndex: slotSize}[r.Kind]; f != 0 || element != want {
			return corrupt("kind %d with a format of %d bytes and elements of %d bytes", r.Kind, f, element)
		}
	default:
		if r.Layout = layouts[format]; r.Layout == nil {
			l, err := layout.Parse(format)
			if err != nil {
				return corrupt("layout: %v", err)
			}
			r.Layout = &l
			layouts[strings.Clone(format)] = r.Layout
		}
		if r.Layout.Format != format || uint64(r.Layout.Size) != element {
			return corrupt("format %q of %d bytes", format, element)
		}
	}
	if err := r.Check(); err != nil {
		return corrupt("%v", err)
	}
	need, _ := r.SlotSize()
	if !r.fills(r.Capacity) || r.Data+r.DataSize(r.Capacity) != off+size {
		return corrupt("capacity of %d bytes, data of %d, for a value of %d", r.Capacity, size-ulen, need)
	}
	return r, size, nil
}

// Peek returns the kind and the size of what may be a record at off in mem, without
// validating it. ok is false if no record of that size can end by end.
func Peek(mem []byte, off, end int64) (kind Kind, size int64, ok bool) {
	if off < 0 || end > int64(len(mem)) || end-off < RecordFixed {
		return 0, 0, false
	}
	n := binary.NativeEndian.Uint64(mem[off:])
	if n < RecordFixed || n%Line != 0 || n > uint64(end-off) {
		return 0, 0, false
	}
	return Kind(mem[off+41]), int64(n), true
}

// nonZero returns the index of the first byte that is not zero, or -1.
func nonZero(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return -1
}

// Locks yields the offset of each lock of a value.
func (r *Record) Locks(yield func(off int64) bool) {
	n, stride := r.locks()
	for i := range n {
		if !yield(r.Data + i*stride) {
			return
		}
	}
}

// HasLockAt reports whether one of those locks is at an offset.
func (r *Record) HasLockAt(off int64) bool {
	n, stride := r.locks()
	off -= r.Data
	return off >= 0 && off%stride == 0 && off/stride < n
}

// locks returns how many locks a value has, and how many bytes are from one to the next.
func (r *Record) locks() (n, stride int64) {
	switch {
	case !r.HasLock() || r.Kind == KindGrowth:
		return 0, Line
	case r.IsTable():
		return r.Count, RowSize(r.Capacity)
	case r.Kind == KindMutex:
		return max(r.Count, 1), r.Stride()
	}
	return 1, Line
}

// CellsInUse yields the offset of each cell that a process may own, up to cell high of
// a value that has cells.
func (r *Record) CellsInUse(high uint64) func(yield func(off int64) bool) {
	return func(yield func(off int64) bool) {
		if !r.HasCells() {
			return
		}
		last := min(high, uint64(r.Capacity/r.Stride()-1))
		for i := range int64(last) {
			if !yield(r.Elements() + (i+1)*r.Stride()) {
				return
			}
		}
	}
}

// Grown returns the record of a struct with the layout of a growth record.
//
// Preconditions: own was decoded at r.Older.
func (r *Record) Grown(own *Record) (*Record, error) {
	want := Shape{Layout: r.Layout, Access: r.Access, Kind: own.Kind, Count: own.Count}
	if own.Name != r.Name || own.Data+own.DataSize(own.Capacity) > r.Start || !want.Outgrows(own) || r.Capacity != own.Capacity {
		return nil, fmt.Errorf("%w: record at byte %d: %q does not grow into %q", errs.Format, r.Start, r.Name, r.Layout.Format)
	}
	grown := *own
	grown.Layout = r.Layout
	return &grown, nil
}
