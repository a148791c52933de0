//go:build linux

package agent

import (
	"os"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Map maps a segment's file again, to read and write its bytes, also if s is
// read-only. It maps what the file has now. The memory is unmapped when the test
// ends.
func Map(t shmtest.TB, s *shm.Segment) *mem.Region {
	t.Helper()
	path := s.Name()
	if path != "" {
		path = sys.Path(path)
	}
	return mapAll(t, shmtest.Must(sys.Reopen(s.File(), path))(t), path)
}

// MapFile is Map for the file of a segment that nobody needs to have open.
func MapFile(t shmtest.TB, path string) *mem.Region {
	t.Helper()
	return mapAll(t, shmtest.Must(sys.OpenExisting(path, false))(t), path)
}

// mapAll maps f and closes it.
func mapAll(t shmtest.TB, f *os.File, path string) *mem.Region {
	t.Helper()
	defer f.Close()
	size := shmtest.Must(sys.FileSize(f, path))(t)
	b := shmtest.Must(mem.Map(f, path, size, size, false))(t)
	t.Cleanup(func() { _ = mem.Unmap(b) })
	return &mem.Region{Bytes: b, Path: path}
}

// Header returns the header of a segment, which may be changed until the test
// ends.
func Header(t shmtest.TB, s *shm.Segment) *format.Header {
	t.Helper()
	return HeaderOf(Map(t, s))
}

// Away makes a segment in a file look as another boot of the system has left it, or
// as the copy of another file.
func Away(h *format.Header) {
	home, _ := h.Home.Load()
	h.Home.Store((home ^ 2) & format.SealedMax)
}

// HeaderOf returns the header of a segment that is mapped from its start.
func HeaderOf(r *mem.Region) *format.Header { return mem.At[format.Header](r, 0) }

// Cells returns the header of the cells of a Counter or a Gauge, and a function that
// returns a cell.
func Cells(t shmtest.TB, s *shm.Segment, name string) (*format.CellHeader, func(i int64) *format.Cell) {
	t.Helper()
	e, ok := s.Lookup(name)
	if !ok {
		t.Fatalf("there is no value %q", name)
	}
	region := Map(t, s)
	return mem.At[format.CellHeader](region, e.Offset-format.CellLine), func(i int64) *format.Cell {
		return mem.At[format.Cell](region, e.Offset+i*format.CellLine)
	}
}

// Cell returns the lock cell of the value of that name, which may be changed
// until the test ends. It ends the test if the value has no lock.
func Cell(t shmtest.TB, s *shm.Segment, name string) *format.LockCell {
	t.Helper()
	e, ok := s.Lookup(name)
	if !ok {
		t.Fatalf("there is no value %q", name)
	}
	start := e.Offset
	switch {
	case e.Layout.Format == "": // a Mutex
	case e.Access == shm.AccessLocked && e.Len == 0 && e.Size > 0: // a Value
		start -= format.NumberOffset
	case e.Access == shm.AccessLocked, e.Access == shm.AccessPublished:
		start -= format.LockedOffset
	default:
		t.Fatalf("value %q has no lock: its access is %v", name, e.Access)
	}
	return mem.At[format.LockCell](Map(t, s), start)
}

// Sleeping returns once a waiter for the lock sleeps in the kernel. If long is
// true, it returns once one has waited so long that it asks for a reservation.
func Sleeping(t shmtest.TB, c *format.LockCell, long bool) {
	t.Helper()
	shmtest.Eventually(t, "a waiter sleeps", func() bool {
		return c.Word.Load()&format.KernelWaiters != 0 && (!long || c.Starve.Load() != 0)
	})
}
