// Package memtest has mapped segments for the tests of packages that work on the
// bytes of one: a file with a header, and no values. Only tests import it.
//
// It imports the packages mem, format, sys and shmtest.
package memtest

import (
	"os"
	"sync"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// cells is the offset of the first cell. It is after the record of the index.
const cells = format.FirstAllocation/2/format.Line*format.Line + 128*format.Line

// MaxSize is the maximum size of a new segment, in bytes.
const MaxSize = 4 << 20

// Segment is a mapping of a segment's file.
type Segment struct {
	mem.Region
	File   *os.File
	Header *format.Header
}

// New creates a segment and maps it. The file is removed when the test ends.
func New(t shmtest.TB) *Segment {
	t.Helper()
	path := sys.Path(shmtest.Name(t))
	header := format.NewHeader(MaxSize, format.FirstAllocation, 1, shmtest.Must(sys.NewPlace(0o600))(t))
	shmtest.Opened(sys.CreateNamed(path, 0o600, header, format.FirstAllocation))(t)
	return Open(t, path, false)
}

// Open maps an existing segment: in another process, or once more in the same
// one, where the two mappings may stand for two processes.
//
// The memory stays mapped and the file stays open until the process ends, because
// some goroutines look at the memory once more after whatever they served.
func Open(t shmtest.TB, path string, readOnly bool) *Segment {
	t.Helper()
	f := shmtest.Must(sys.OpenExisting(path, readOnly))(t)
	size := shmtest.Must(sys.FileSize(f, path))(t)
	b := shmtest.Must(mem.Map(f, path, MaxSize, size, readOnly))(t)
	s := &Segment{Region: mem.Region{Bytes: b, Path: path, ReadOnly: readOnly}, File: f}
	s.Header = mem.At[format.Header](&s.Region, 0)
	place, _ := s.Header.Place.Load()
	shmtest.Must(sys.Settle(f, path, place, false))(t)
	Keep(s)
	return s
}

// Cell returns the lock cell at a place of its own for each i, and its offset.
// There are 100 of them. No record describes them.
func (s *Segment) Cell(i int) (cell *format.LockCell, off int64) {
	off = cells + int64(i)*format.Line
	return mem.At[format.LockCell](&s.Region, off), off
}

// CellBytes returns a copy of the bytes of Cell(i).
func (s *Segment) CellBytes(i int) string {
	_, off := s.Cell(i)
	return string(mem.Slice[byte](&s.Region, off, format.Line))
}

var kept struct {
	sync.Mutex
	all []any
}

// Keep keeps x, and what it refers to, from the garbage collector until the
// process ends.
func Keep(x any) {
	kept.Lock()
	defer kept.Unlock()
	kept.all = append(kept.all, x)
}
