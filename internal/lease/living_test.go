//go:build linux

package lease

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"golang.org/x/sys/unix"
)

// occupy takes write locks of n bytes from off on, as a peer may.
func occupy(t *testing.T, f *os.File, off, n int64) {
	t.Helper()
	l := unix.Flock_t{Type: unix.F_WRLCK, Start: off, Len: n}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil {
		t.Fatal(err)
	}
}

// Living has the ids whose leases are held, whatever the table says.
func TestLiving(t *testing.T) {
	s := memtest.New(t)
	reader := newOwner(memtest.Open(t, s.Path, true))
	if got, err := reader.Living(s.File); got != nil || err != nil {
		t.Errorf("nobody has come: %v, %v", got, err)
	}
	var all []*Owner
	for range 40 {
		all = append(all, taken(t, s))
	}
	for i := 1; i < len(all); i += 3 {
		all[i].control.Close()
	}
	clear(s.Header.Table[:])
	var want []uint32
	for i, o := range all {
		if i%3 != 1 {
			want = append(want, o.ID())
		}
	}
	if got, err := reader.Living(s.File); !slices.Equal(got, want) || err != nil {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for i, o := range all {
		if got := reader.Lives(s.File, o.ID()); got != (i%3 != 1) || reader.ID() == 0 && all[0].Lives(s.File, o.ID()) != got {
			t.Errorf("id %d lives: %v", o.ID(), got)
		}
	}
	if reader.Lives(s.File, 0) {
		t.Error("nobody lives")
	}
}

// Locks that are no leases are no processes, and no endless loop.
func TestLivingBesideForgedLeases(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	for what, lock := range map[string]struct{ off, n int64 }{
		"some":                  {format.LeaseBase + 100, 1 << 19},
		"from before the first": {format.LeaseBase - 1000, 5000},
		"from zero":             {0, format.LeaseBase + 5000},
		"to the end":            {format.LeaseBase + 100, 0},
		"all":                   {0, 0},
	} {
		s := memtest.New(t)
		a, b := taken(t, s), taken(t, s)
		b.control.Close()
		s.Header.NextID.Store(format.MaxID + 1)
		forger := shmtest.Opened(os.OpenFile(s.Path, os.O_RDWR, 0))(t)
		if lock.off < format.LeaseBase+100 {
			a.control.Close() // else the forger gets no lock
		}
		occupy(t, forger, lock.off, lock.n)
		got, err := newOwner(s).Living(s.File)
		want := []uint32{a.ID()}
		if lock.off < format.LeaseBase+100 {
			want = []uint32{a.ID(), b.ID()} // they look alive, and the table names them
		}
		if !slices.Equal(got, want) || err != nil {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
}

func TestLivingFails(t *testing.T) {
	s, another := memtest.New(t), memtest.New(t)
	o := taken(t, s)
	if _, err := o.Living(closed(t)); !errors.Is(err, fs.ErrClosed) || !shmtest.IsPathError(err, s.Path) {
		t.Errorf("a closed file: %v", err)
	}
	if _, err := o.Living(another.File); err == nil {
		t.Error("another file has no leases")
	}
	s.Header.NextID.Word.Store(format.Seal(1) + 1)
	if _, err := o.Living(s.File); !errors.Is(err, errs.Format) {
		t.Errorf("a damaged counter: %v", err)
	}
}
