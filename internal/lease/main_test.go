//go:build linux

package lease

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// newOwner returns an owner with a description of its own, so it may stand for
// another process. To close its control is its death.
func newOwner(s *memtest.Segment) *Owner {
	o := new(Owner)
	o.Init(s.Header, new(Control), s.Path, s.ReadOnly)
	o.ShareAllocation(new(sync.Mutex))
	memtest.Keep(o)
	return o
}

// taken is newOwner with an id.
func taken(t shmtest.TB, s *memtest.Segment) *Owner {
	t.Helper()
	o := newOwner(s)
	if err := o.Take(s.File); err != nil {
		t.Fatal(err)
	}
	return o
}

// next returns the id that the next owner is given.
func next(t shmtest.TB, s *memtest.Segment) uint64 {
	t.Helper()
	n, ok := s.Header.NextID.Load()
	if !ok {
		t.Fatal("the counter of ids is damaged")
	}
	return n
}

// holder is a process that has an id. It prints the id, and then does what it is
// told:
//
//	lock    take the allocation lock
//	unlock  release it
//	count n add 1 to Extent of cell 0 under the allocation lock, n times
var holder = shmtest.Helper("holder", func(args []string) error {
	s := memtest.Open(shmtest.InHelper, args[0], false)
	o := taken(shmtest.InHelper, s)
	fmt.Println(o.ID())
	var unlock func()
	return shmtest.Replies(func(words []string) (answer string, err error) {
		switch words[0] {
		case "lock":
			unlock, err = o.LockAllocation(s.File)
		case "unlock":
			unlock()
		case "count":
			var n int
			if _, err := fmt.Sscan(words[1], &n); err != nil {
				return "", err
			}
			err = count(s, o, n)
		}
		return words[0] + " done", err
	})
})

// startHolder starts a holder and returns its id as well.
func startHolder(t *testing.T, s *memtest.Segment) (p *shmtest.Process, id uint32) {
	t.Helper()
	p = shmtest.Start(t, holder, s.Path)
	if _, err := fmt.Sscan(p.Line(), &id); err != nil {
		t.Fatal(err)
	}
	return p, id
}

// count adds in two steps, so additions are lost unless the lock excludes others.
func count(s *memtest.Segment, o *Owner, n int) error {
	cell, _ := s.Cell(0)
	for range n {
		unlock, err := o.LockAllocation(s.File)
		if err != nil {
			return err
		}
		n := cell.Extent.Load()
		for range 500 { // for a little while
			_ = cell.Word.Load()
		}
		cell.Extent.Store(n + 1)
		unlock()
	}
	return nil
}

// program returns a table entry's program name.
func program(e *format.TableEntry) string { return strings.TrimRight(string(e.Program[:]), "\x00") }

func TestHelpersAreUsed(t *testing.T) {
	n, unused, err := shmtest.UnusedHelpers(".")
	if err != nil || n == 0 || len(unused) > 0 {
		t.Errorf("of %d helpers these are unused: %v; %v", n, unused, err)
	}
}

// closed returns a file that is closed.
func closed(t *testing.T) *os.File {
	t.Helper()
	f := shmtest.Must(os.Open(os.DevNull))(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

// share puts a read lock on bytes of the segment's file, for which permission to read
// is enough.
func share(t *testing.T, f *os.File, from, length int64) {
	t.Helper()
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: from, Len: length}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil {
		t.Fatal(err)
	}
}

// steal lets the number of a descriptor lead to another file, as it does after other
// code of the program has closed it and has opened a file. to must stay open.
func steal(t *testing.T, f, to *os.File) {
	t.Helper()
	if err := unix.Dup3(int(to.Fd()), int(f.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}
