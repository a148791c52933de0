//go:build linux

package lease

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// A lease is held for as long as the process lives, and not a moment longer.
func TestLeaseOfAKilledProcess(t *testing.T) {
	s := memtest.New(t)
	o := taken(t, s)
	p, id := startHolder(t, s)
	if !held(s.File, id) || !anyHeld(s.File) || !o.Alive(id) || o.Dead(id) {
		t.Fatalf("a process that lives: its lease is held: %v, it is alive: %v, dead: %v", held(s.File, id), o.Alive(id), o.Dead(id))
	}
	if pid, name := o.Process(id); pid != p.Pid() || name != sys.Program() {
		t.Errorf("the table has process %d, %q, want %d", pid, name, p.Pid())
	}
	p.Stop()
	if !o.Alive(id) {
		t.Fatal("a process that is stopped counts as dead")
	}
	death := o.WatchDeath(id)
	defer death.Close()
	p.Kill() // It returns when the process has ended.
	if death != nil && !death.Wait(time.Minute) {
		t.Error("the hint does not tell of the death")
	}
	if held(s.File, id) || o.Dead(id) || o.Alive(id) || !o.Dead(id) {
		t.Error("a process that was killed does not count as dead once it is probed")
	}
	o.control.Close()
	if anyHeld(s.File) {
		t.Error("a lease is held although all have ended")
	}
}

// A hint needs a process in this pid namespace that exists.
func TestWatchDeathOfNobody(t *testing.T) {
	s := memtest.New(t)
	o := taken(t, s)
	e := &s.Header.Table[o.ID()]
	for what, c := range map[string]struct {
		pid       uint32
		namespace uint64
	}{
		"another namespace":   {e.Pid, e.Namespace + 1},
		"no namespace":        {e.Pid, 0},
		"no pid":              {0, e.Namespace},
		"a pid that is none":  {math.MaxUint32, e.Namespace},
		"a pid of no process": {math.MaxInt32, e.Namespace},
	} {
		e.Pid, e.Namespace = c.pid, c.namespace
		if o.WatchDeath(o.ID()) != nil {
			t.Errorf("%s is watched", what)
		}
		e.Pid, e.Namespace = uint32(os.Getpid()), sys.PidNamespace()
	}
}

func TestAlive(t *testing.T) {
	s := memtest.New(t)
	o, other := taken(t, s), taken(t, s)
	if !o.Alive(o.ID()) || !o.Alive(other.ID()) {
		t.Fatal("one that lives counts as dead")
	}
	// Through its own description a process does not see its own leases, and
	// nobody else's is in the way.
	if !held(s.File, o.ID()) || held(o.control.file, o.ID()) {
		t.Error("the lease is not seen by another description, or is seen by its own")
	}
	other.control.Close()
	if o.Alive(other.ID()) || !o.Dead(other.ID()) {
		t.Fatal("one that is dead counts as alive, or is not remembered")
	}
	// The dead stay dead, whoever locks that byte.
	if got, err := sys.TryLock(s.File, format.LeaseBase+int64(other.ID())); !got {
		t.Fatal(err)
	}
	if o.Alive(other.ID()) {
		t.Error("one that was found dead counts as alive again")
	}
	// Nobody has had this id yet: some day somebody will.
	if id := uint32(next(t, s)); o.Alive(id) || o.Dead(id) {
		t.Error("an id that nobody has had counts as alive, or is remembered as dead")
	} else if late := taken(t, s); late.ID() != id || !o.Alive(id) {
		t.Errorf("the owner with id %d, of which a probe came too early, counts as dead", late.ID())
	}
	// Nor is anything remembered while the counter is damaged.
	gone := taken(t, s)
	gone.control.Close()
	w := s.Header.NextID.Word.Load()
	s.Header.NextID.Word.Store(w + 1)
	if o.Alive(gone.ID()) || o.Dead(gone.ID()) {
		t.Error("beside a damaged counter the dead counts as alive, or is remembered")
	}
}

// An owner that cannot probe takes everybody for alive, and leaves probing to
// other processes for a while.
func TestOwnerThatCannotProbe(t *testing.T) {
	s := memtest.New(t)
	o, other := taken(t, s), taken(t, s)
	other.control.Close()
	file := o.control.file
	o.control.file = closed(t)
	if !o.Alive(other.ID()) || o.Dead(other.ID()) {
		t.Error("one that nobody could probe counts as dead")
	}
	var stamp atomic.Int64
	if o.MayProbe(&stamp, 0) || stamp.Load() != 0 {
		t.Error("it is to probe again at once, or has stamped a probe that it does not make")
	}
	if !newOwner(s).MayProbe(&stamp, time.Millisecond) {
		t.Error("another one may not probe")
	}
	o.control.file = file
	if o.blindUntil.Load() > sys.Monotonic()+blindFor {
		t.Error("it leaves probing to others for too long")
	}
	o.blindUntil.Store(sys.Monotonic() - 1) // as it is a second later
	if !o.MayProbe(&stamp, 0) || o.Alive(other.ID()) {
		t.Error("a second later it does not probe, or finds the dead alive")
	}
	if f := closed(t); !held(f, other.ID()) || !anyHeld(f) {
		t.Error("an error counts as free")
	}
}

// A descriptor that leads to another file finds no lease there. So nobody is dead.
func TestDescriptorOfAnotherFile(t *testing.T) {
	s, another := memtest.New(t), memtest.New(t)
	o, living := taken(t, s), taken(t, s)
	o.Remember(living.key)
	steal(t, o.control.file, another.File)
	if held(o.control.file, living.ID()) {
		t.Fatal("the descriptor does not lead to the other file")
	}
	if !o.Alive(living.ID()) || o.Dead(living.ID()) {
		t.Error("one that lives counts as dead")
	}
	if !o.Held(o.control.file, living.ID()) || !o.AnyHeld(o.control.file) {
		t.Error("what another file says of a lease is believed")
	}
	var stamp atomic.Int64
	if o.MayProbe(&stamp, 0) {
		t.Error("it is to probe again at once")
	}
	if err := o.Take(s.File); !errors.Is(err, fs.ErrClosed) || !shmtest.IsPathError(err, s.Path) || !strings.Contains(err.Error(), "close_range") {
		t.Errorf("it has lost its lease, and Take says %v", err)
	}
	if _, err := o.LockAllocation(s.File); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("it has locked a byte of another file: %v", err)
	}
	if !o.allocation.TryLock() {
		t.Fatal("after the error the mutex of the process is locked")
	}
}

// The segment's own descriptor may lead to another file as well, before this process
// has a description, or after.
func TestSegmentsDescriptorOfAnotherFile(t *testing.T) {
	s, another := memtest.New(t), memtest.New(t)
	o, late := taken(t, s), newOwner(s)
	late.Remember(o.key)
	if unlock, err := o.LockAllocation(s.File); err != nil {
		t.Fatal(err)
	} else {
		unlock()
	}
	steal(t, s.File, another.File)
	for what, o := range map[string]*Owner{"before": late, "after": o} {
		if _, err := o.LockAllocation(s.File); !errors.Is(err, fs.ErrClosed) || !strings.Contains(err.Error(), "close_range") {
			t.Errorf("%s: a lock for changes of another file: %v", what, err)
		}
		if !o.allocation.TryLock() {
			t.Fatalf("%s: the mutex of the process is locked", what)
		}
	}
	if err := late.Take(s.File); !errors.Is(err, fs.ErrClosed) || late.ID() != 0 || late.control.file != nil {
		t.Errorf("id %d of another file: %v", late.ID(), err)
	}
	if free, err := sys.Obstacle(o.control.file, format.AllocationByte); free != sys.NoLock || err != nil {
		t.Errorf("%v is left on the allocation byte: %v", free, err)
	}
}

// If the number of the description that held the lease leads to the segment again,
// through another description, only a look from outside tells that the lease is gone.
func TestLeaseThatIsLost(t *testing.T) {
	shmtest.NeedLinux(t, "description that holds a lease and that other code can close")
	s := memtest.New(t)
	o := taken(t, s)
	again := shmtest.Opened(sys.Reopen(s.File, s.Path))(t)
	keep := func(what string, want error) {
		t.Helper()
		o.checkedAt.Store(0) // as it is a while later
		if err := o.Take(s.File); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	keep("it has its lease", nil)
	if err := o.Take(closed(t)); err != nil {
		t.Errorf("a file that says nothing: %v", err)
	}
	steal(t, o.control.file, again)
	if err := o.Take(s.File); err != nil {
		t.Errorf("it has looked just now, and looks again: %v", err)
	}
	keep("it has lost its lease", fs.ErrClosed)
	if other := taken(t, s); !o.Alive(other.ID()) {
		t.Error("through another description of the segment one that lives counts as dead")
	}
}

func TestMayProbe(t *testing.T) {
	s := memtest.New(t)
	o := newOwner(s)
	const every = time.Minute
	started := sys.Monotonic() >= int64(every) // the clock, long ago
	for what, c := range map[string]struct {
		ago  time.Duration // of the last probe; 0: it is at
		at   int64
		want bool
	}{
		"never":                    {0, 0, started},
		"just now":                 {1, 0, false},
		"half the time ago":        {every / 2, 0, false},
		"nearly long ago":          {every - 10*time.Second, 0, false},
		"long ago":                 {every, 0, true},
		"very long ago":            {1000 * every, 0, true},
		"soon":                     {-time.Millisecond * 500, 0, true},
		"in an hour":               {-time.Hour, 0, true},
		"at the end of time":       {0, math.MaxInt64, true},
		"at the beginning of time": {0, math.MinInt64, true},
		"before the clock started": {0, -1, started},
	} {
		var stamp atomic.Int64
		before := sys.Monotonic()
		if stamp.Store(c.at); c.ago != 0 {
			stamp.Store(before - int64(c.ago))
		}
		was := stamp.Load()
		got := o.MayProbe(&stamp, every)
		after := sys.Monotonic()
		if !c.want && uint64(after-was) >= uint64(every) {
			continue // The test has been stopped for so long.
		}
		if is := stamp.Load(); got != c.want || got && (is < before || is > after) || !got && is != was {
			t.Errorf("%s: %v, want %v; the stamp was %d and is %d, at %d to %d", what, got, c.want, was, is, before, after)
		}
		if got && o.MayProbe(&stamp, every) {
			t.Errorf("%s: twice", what)
		}
	}
}

// Of all who ask at the same time one is to probe.
func TestMayProbeOnce(t *testing.T) {
	s := memtest.New(t)
	cell, _ := s.Cell(0)
	const rounds, processes = 300, 4
	owners := make([]*Owner, processes)
	for i := range owners {
		owners[i] = newOwner(memtest.Open(t, s.Path, false))
	}
	for range rounds {
		cell.Probed.Store(math.MinInt64) // long ago, whenever the clock started
		var granted atomic.Int32
		var wg sync.WaitGroup
		for _, o := range owners {
			wg.Go(func() {
				if o.MayProbe(&cell.Probed, time.Hour) {
					granted.Add(1)
				}
			})
		}
		wg.Wait()
		if n := granted.Load(); n != 1 {
			t.Fatalf("%d of %d are to probe", n, processes)
		}
	}
}

func TestDeadIDs(t *testing.T) {
	var d deadIDs
	room := uint32(len(d))
	if d.has(0) {
		t.Error("id 0, which is nobody, is dead")
	}
	d.add(1)
	d.add(room)
	for id := range 3 * room {
		if want := id == 1 || id == room; d.has(id) != want {
			t.Errorf("id %d is dead: %v", id, d.has(id))
		}
	}
	d.add(1 + room) // in the same place
	if d.has(1) || !d.has(1+room) || !d.has(room) {
		t.Error("a new id does not replace just the one in its place")
	}
	for id := range room {
		d.add(id + 7*room)
	}
	for id := range room {
		if !d.has(id+7*room) || d.has(id+6*room) {
			t.Errorf("id %d: a full table has forgotten it, or has another one", id+7*room)
		}
	}
}
