//go:build linux

package lease

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Each mapping gets one id, which no other has, a lease of it, and an entry of
// the table that says who it is.
func TestTakeGivesEachItsOwn(t *testing.T) {
	s := memtest.New(t)
	const owners, calls = 8, 4
	all := make([]*Owner, owners)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = newOwner(s)
		if all[i].ID() != 0 {
			t.Fatalf("id %d before Take", all[i].ID())
		}
		for range calls {
			wg.Go(func() {
				if err := all[i].Take(s.File); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	var ids []uint32
	for _, o := range all {
		id := o.ID()
		ids = append(ids, id)
		if !held(s.File, id) {
			t.Errorf("nobody holds the lease of id %d", id)
		}
		e := &s.Header.Table[id%format.TableLen]
		if e.ID.Load() != id || e.Pid != uint32(os.Getpid()) || e.Namespace != sys.PidNamespace() || program(e) != sys.Program()[:min(48, len(sys.Program()))] {
			t.Errorf("the entry of id %d is of id %d, process %d in %d, %q", id, e.ID.Load(), e.Pid, e.Namespace, program(e))
		}
	}
	slices.Sort(ids)
	if want := []uint32{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(ids, want) || next(t, s) != owners+1 {
		t.Errorf("the ids are %v, and the next one is %d", ids, next(t, s))
	}
}

func TestReadOnlyOwnerTakesNothing(t *testing.T) {
	rw := memtest.New(t)
	o := taken(t, memtest.Open(t, rw.Path, true))
	if !o.ReadOnly() || o.ID() != 0 || next(t, rw) != 1 || anyHeld(rw.File) {
		t.Errorf("read-only: %v; it has id %d, the next one is %d, a lease is held: %v", o.ReadOnly(), o.ID(), next(t, rw), anyHeld(rw.File))
	}
}

// A Take that fails leaves the owner without an id, and one that comes later
// succeeds.
func TestTakeThatFails(t *testing.T) {
	s := memtest.New(t)
	o := newOwner(s)
	for _, c := range []struct {
		what    string
		f       *os.File
		counter uint64
		want    error
	}{
		{"a closed file", closed(t), format.Seal(1), fs.ErrClosed},
		{"a counter that is no number", s.File, format.Seal(1) + 1, errs.Format},
		{"a counter that gives out 0", s.File, format.Seal(0), errs.Format},
		{"a counter behind the last id", s.File, format.Seal(format.MaxID + 1), errs.Full},
		{"a counter far behind it", s.File, format.Seal(format.SealedMax), errs.Full},
	} {
		s.Header.NextID.Word.Store(c.counter)
		err := o.Take(c.f)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "no lock without a lease") {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if w := s.Header.NextID.Word.Load(); w != c.counter || o.ID() != 0 || anyHeld(s.File) {
			t.Errorf("%s: the counter is %#x, the id %d, a lease is held: %v", c.what, w, o.ID(), anyHeld(s.File))
		}
	}
	s.Header.NextID.Store(5)
	if err := o.Take(s.File); err != nil || o.ID() != 5 {
		t.Errorf("after all that: id %d, %v", o.ID(), err)
	}
}

// Ids are never used twice, not even at the end of the counter.
func TestIDsEnd(t *testing.T) {
	s := memtest.New(t)
	s.Header.NextID.Store(format.MaxID)
	if last := taken(t, s); last.ID() != format.MaxID || !held(s.File, format.MaxID) {
		t.Fatalf("the last id is %d, want %d", last.ID(), format.MaxID)
	}
	for range 2 {
		o := newOwner(s)
		err := o.Take(s.File)
		if !errors.Is(err, errs.Full) || !strings.Contains(err.Error(), "ids are used up") || o.ID() != 0 {
			t.Errorf("after the last id: id %d, %v", o.ID(), err)
		}
		if n := next(t, s); n != format.MaxID+1 {
			t.Errorf("the counter is at %d", n)
		}
	}
}

// Ids share entries of the table. A new id passes over entries of processes that
// live, but not for ever.
func TestIDsPassOverTheLiving(t *testing.T) {
	s := memtest.New(t)
	living := taken(t, s).ID()
	dead := taken(t, s)
	dead.control.Close()

	s.Header.NextID.Store(uint64(living) + format.TableLen)
	if o := taken(t, s); o.ID() != dead.ID()+format.TableLen {
		t.Errorf("id %d, want the one whose entry is a dead process's, %d", o.ID(), dead.ID()+format.TableLen)
	}
	if pid, _ := newOwner(s).Process(living); pid != os.Getpid() {
		t.Errorf("the entry of an owner that lives names process %d", pid)
	}

	const polite = 32
	s.Header.NextID.Store(3 * format.TableLen)
	for i := range polite + 5 {
		s.Header.Table[i].ID.Store(living)
	}
	if o := taken(t, s); o.ID() != 3*format.TableLen+polite {
		t.Errorf("id %d, want %d, after %d entries that are all taken", o.ID(), 3*format.TableLen+polite, polite)
	}
}

// Whoever holds leases of ids that it was not given costs the others these ids,
// and an error if it holds all that come.
func TestLeasesOfIDsToCome(t *testing.T) {
	s := memtest.New(t)
	other := shmtest.Opened(sys.Reopen(s.File, s.Path))(t)
	take := func(from, to int64) {
		for id := from; id < to; id++ {
			if got, err := sys.TryLock(other, format.LeaseBase+id); !got {
				t.Fatal(err)
			}
		}
	}
	take(1, 11)
	if o := taken(t, s); o.ID() != 11 {
		t.Errorf("id %d, where the leases of 10 ids are held", o.ID())
	}
	take(12, 112)
	o := newOwner(s)
	if err := o.Take(s.File); !errors.Is(err, errs.Format) || !strings.Contains(err.Error(), "leases") || o.ID() != 0 {
		t.Errorf("where the leases of 100 ids are held: id %d, %v", o.ID(), err)
	}
}

// Whoever may only read the file can keep others from leases. That is an error of its
// own, and uses up no id.
func TestReaderLocksTheLeases(t *testing.T) {
	shmtest.NeedLinux(t, "locks on the bytes of a segment")
	s := memtest.New(t)
	living := taken(t, s)
	reader := shmtest.Opened(os.Open(s.Path))(t)
	share(t, reader, format.LeaseBase+int64(next(t, s)), format.MaxID)
	before := next(t, s)
	o := newOwner(s)
	for range 3 {
		if err := o.Take(s.File); !errors.Is(err, sys.ErrLocked) || !strings.Contains(err.Error(), s.Path) || !strings.Contains(err.Error(), "may only read") || o.ID() != 0 {
			t.Errorf("id %d, %v", o.ID(), err)
		}
	}
	if n := next(t, s); n != before {
		t.Errorf("%d ids are used up", n-before)
	}
	if !o.Held(s.File, living.ID()) || o.Held(s.File, uint32(before)) {
		t.Error("the reader's lock looks like a lease, or hides one")
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Take(s.File); err != nil || uint64(o.ID()) != before {
		t.Errorf("without the reader: id %d, %v", o.ID(), err)
	}
}

// No id that stands in a lock word is given out, and the owner stays for whoever
// takes the lock over. An id far above the counter was never given out.
func TestAdopt(t *testing.T) {
	s := memtest.New(t)
	o := newOwner(s)
	cell, _ := s.Cell(0)
	living := taken(t, s)
	held := shmtest.Opened(sys.Reopen(s.File, s.Path))(t)
	const far = 3 << 20
	if got, err := sys.TryLock(held, format.LeaseBase+far); !got {
		t.Fatal(err)
	}
	for _, c := range []struct {
		word        uint32
		next, after uint64
		removed     bool
	}{
		{0, 5, 5, false},
		{format.KernelWaiters, 5, 5, false},
		{living.ID(), 5, 5, false},
		{4, 5, 5, false},
		{5, 5, 6, false},
		{9 | format.LocalWaiters, 5, 10, false},
		{4 + nextIDGap | format.KernelWaiters, 5, 5 + nextIDGap, false},
		{5 + nextIDGap, 5, 5, true},
		{format.OwnerMask | format.KernelWaiters, 5, 5, true},
		{format.MaxID, format.MaxID, format.MaxID + 1, false},
		{format.MaxID, format.MaxID + 1, format.MaxID + 1, false},
		{far, 5, 5, false}, // its lease is held
	} {
		s.Header.NextID.Store(c.next)
		cell.Word.Store(c.word)
		cell.Abandoned.Store(0)
		o.Adopt(s.File, cell)
		want := c.word
		if c.removed {
			want = 0
		}
		if got := next(t, s); got != c.after || cell.Word.Load() != want || (cell.Abandoned.Load() == 1) != c.removed {
			t.Errorf("word %#x, next id %d: now %#x, %d, abandoned %d", c.word, c.next, cell.Word.Load(), got, cell.Abandoned.Load())
		}
	}
	damaged := format.Seal(7) + 1
	s.Header.NextID.Word.Store(damaged)
	cell.Word.Store(500)
	if o.Adopt(s.File, cell); s.Header.NextID.Word.Load() != damaged || cell.Word.Load() != 500 {
		t.Errorf("a damaged counter has become %#x", s.Header.NextID.Word.Load())
	}
}

// The bit that wakes this mapping's sleepers is one bit, and that of its id once
// it has one.
func TestWakeBit(t *testing.T) {
	s := memtest.New(t)
	o := newOwner(s)
	if got := o.WakeBit(); got != 1<<(os.Getpid()%32) {
		t.Errorf("without an id: %#x", got)
	}
	for _, id := range []uint64{31, 32, 33} {
		s.Header.NextID.Store(id)
		if got := taken(t, s).WakeBit(); got != 1<<(id%32) {
			t.Errorf("of id %d: %#x", id, got)
		}
	}
}

// What the table says of an id is this id's or nothing.
func TestProcess(t *testing.T) {
	s := memtest.New(t)
	o := taken(t, s)
	if pid, name := o.Process(o.ID()); pid != os.Getpid() || name != sys.Program() || o.Pid(o.ID()) != uint32(pid) {
		t.Errorf("the table has process %d, %q, and %d", pid, name, o.Pid(o.ID()))
	}
	e := &s.Header.Table[o.ID()]
	for i := range e.Program {
		e.Program[i] = 'x'
	}
	if _, name := o.Process(o.ID()); name != strings.Repeat("x", 48) {
		t.Errorf("a name without an end is %q", name)
	}
	other := o.ID() + format.TableLen // of the same entry
	if pid, name := o.Process(other); pid != 0 || name != "" || o.WatchDeath(other) != nil {
		t.Errorf("the table has process %d, %q, for an id that it does not have", pid, name)
	}
	if pid := o.Pid(other); pid != uint32(os.Getpid()) {
		t.Errorf("the entry of the id has process %d", pid)
	}
}

// Nobody reads of an id what belongs to the one that takes its entry over.
func TestProcessBesideANewOwner(t *testing.T) {
	s := memtest.New(t)
	reader := newOwner(s)
	const old, pid = 7, 12345
	e := &s.Header.Table[old]
	for range shmtest.Rounds(80) {
		e.Pid, e.Program = pid, [48]byte{'o', 'l', 'd'}
		e.ID.Store(old)
		s.Header.NextID.Store(old + format.TableLen)
		began, done := make(chan struct{}), make(chan bool)
		go func() {
			close(began)
			for {
				switch got, name := reader.Process(old); {
				case got == 0 && name == "":
					done <- true
					return
				case got != pid || name != "old":
					t.Errorf("the table has process %d, %q", got, name)
					done <- false
					return
				}
			}
		}()
		<-began
		next := newOwner(s)
		if err := next.Take(s.File); err != nil || next.ID() != old+format.TableLen {
			t.Fatalf("id %d, %v", next.ID(), err)
		}
		next.control.Close()
		if !<-done {
			return
		}
	}
}
