//go:build killpoints

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// A process is killed behind each store to shared memory: the first time that it
// makes the store, and a later time. After that everything is in order for other
// processes.
func TestKillPoints(t *testing.T) {
	passes := []int{0, 1, 7}
	if testing.Short() {
		passes = passes[:1]
	}
	for i, name := range killPoints(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, after := range passes {
				if !killedAt(t, killpoint.Point(i+1), after) {
					if after == 0 {
						t.Error("no process passes this point")
					}
					break // it is passed less often
				}
			}
		})
	}
}

// killedAt kills a victim at a point that it has passed so often before. It reports
// whether the victim came there.
func killedAt(t *testing.T, point killpoint.Point, after int) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "segment")
	maker := shmtest.Start(t, orphanage, path)
	maker.Expect("held")
	maker.Kill()
	pastBoot(t, path)
	p := shmtest.StartCmd(t, victim, func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, fmt.Sprint("SHM_KILL_AT=", int(point)), fmt.Sprint("SHM_KILL_AFTER=", after))
	}, path)
	err := p.End()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("after %d passes: victim: %v", after, err)
	}
	where := fmt.Sprintf("after %d passes", after)
	checksBeforeRepair(t, where, path)
	inOrder(t, where, path)
	return killed
}

// checksBeforeRepair checks that a process which reads takes what a killed process has left
// for no damage, unless no process has repaired the file yet: then the index lacks a name.
func checksBeforeRepair(t *testing.T, where, path string) {
	t.Helper()
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		return // the sizes in the header do not fit each other before a process has attached for writing
	}
	defer s.Close()
	if err := s.Check(); err != nil && !strings.Contains(err.Error(), "makes the index anew") {
		t.Errorf("%s: %v", where, err)
	}
}

// pastBoot makes a file look as an earlier boot of the system, and a process that
// died while it added a value, have left it: the index has lost a name, the counter
// of ids is older than the locks, and one lock has an id that was never given out.
func pastBoot(t *testing.T, path string) {
	t.Helper()
	region := agent.MapFile(t, path)
	h := agent.HeaderOf(region)
	index, _ := h.Index.Bytes()
	slots := mem.Slice[uint64](region, index+128, format.IndexSlots)
	slots[slices.IndexFunc(slots, func(s uint64) bool { return s != 0 })] = 0
	h.NextID.Store(1)
	s, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	agent.Cell(t, s, "row").Word.Store(format.MaxID - 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	used, ok := h.Used.Bytes()
	if !ok {
		t.Fatal("the header has no size")
	}
	agent.Away(h)
	dirt := strings.Repeat("dirt", 64)
	copy(mem.Slice[byte](region, used, len(dirt)), dirt)
	h.Dirty.StoreBytes(used + int64(len(dirt)))
}

// inOrder checks each invariant, as a process that comes later, and goes on.
func inOrder(t *testing.T, where, path string) {
	t.Helper()
	s, err := shm.Open(path, &shm.Options{MustExist: true})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	defer s.Close()
	var w world
	if err := shm.Bind(s, &w); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, mu := range []*shm.Mutex{w.N.Mutex(), w.Orphan, w.Pair.Mutex(), w.Text.Mutex(), w.Large.Mutex(), w.Row.Mutex()} {
		if err := mu.LockContext(ctx); err != nil {
			for e := range s.Entries() {
				if lock, ok := e.Lock(); ok {
					fail("%v: %s: %+v", err, e.Name, lock)
				}
			}
			t.FailNow()
		}
		mu.Unlock()
	}
	for i := range w.Places.Len() {
		if got, err := w.Places.LockAny(ctx); got != i || err != nil {
			t.Fatalf("%s: place %d, %v, want %d", where, got, err, i)
		}
	}
	for i := range w.Places.Len() {
		w.Places.At(i).Unlock()
	}
	for i, p := range w.Table.All() {
		if p.A != p.B {
			fail("half of row %d: %+v", i, p)
		}
		w.Table.Row(i).Update(func(p *pair) { p.A, p.B = 1, 1 })
	}
	if later, err := shm.NewTable[trio](s, "table", 3); err != nil {
		fail("%v", err)
	} else if p := later.Row(1).Load(); p.A != 1 || p.B != 1 || p.C < 0 || p.C > 1 {
		fail("a later version of row 1 has %+v", p)
	}
	if p := w.Pair.Load(); p.A != p.B {
		fail("half a struct: %+v", p)
	}
	if later, err := shm.NewStruct(s, "pair", trio{}); err != nil {
		fail("%v", err)
	} else {
		before := later.Load()
		w.Pair.Update(func(p *pair) { p.A, p.B = 1, 1 })
		if p := later.Load(); p != (trio{1, 1, before.C}) || before.C > 1 {
			fail("a later version has %+v, and had %+v", p, before)
		}
	}
	if text := w.Text.Load(); text != "" && text != "first" && text != "second" {
		fail("text %q", text)
	}
	if w.Large.Load() != (large{}) {
		fail("a struct of zeros has others")
	}
	x, seq, _ := w.Ring.Last()
	if x != (pair{int64(seq), int64(seq)}) {
		fail("value %d of a ring is %+v", seq, x)
	}
	r := w.Ring.From(0)
	if next := w.Ring.Append(pair{int64(seq) + 1, int64(seq) + 1}); next != seq+1 {
		fail("value %d after %d", next, seq)
	}
	for last := uint64(0); last <= seq; {
		x, got, err := r.Next(ctx)
		if err != nil || x != (pair{int64(got), int64(got)}) || got <= last {
			fail("value %d of a ring is %+v: %v", got, x, err)
			break
		}
		last = got
	}
	if a, b := w.Row.Load(0), w.Row.Load(1); a != 0 && a != 5 || b != 0 && b != 6 {
		fail("array of %d, %d", a, b)
	}
	if n := w.N.Load(); n < 0 || n > math.MaxInt32 {
		fail("number %d", n)
	}
	if n := w.Count.Load(); n < orphans || n > orphans+10 {
		fail("the counter is %d", n)
	}
	for waiting := true; waiting; { // the dead are found out within milliseconds
		waiting = w.Gauge.Load() != 0 && ctx.Err() == nil
	}
	if n := w.Gauge.Load(); n != 0 {
		fail("the gauge of dead processes is %d", n)
	}
	took := w.Took.Load()
	if in := took.Counts[1]; took.Counts[0] != 1 || in > 10 || took.Counts[2] != 0 || took.Sum != 1+2*float64(in) && took.Sum != 3+2*float64(in) {
		fail("the histogram is %v", took)
	}
	w.Count.Add(1)
	w.Gauge.Add(3)
	w.Took.Observe(3)
	if w.Gauge.Load() != 3 || w.Took.Load().Counts[2] != 1 {
		fail("gauge %d, histogram %v", w.Gauge.Load(), w.Took.Load())
	}
	before := w.N.Load()
	if got := w.N.Add(1); got != before+1 {
		fail("%d and 1 is %d", before, got)
	}
	if another, err := shm.NewStruct(s, "another", pair{2, 2}); err != nil {
		fail("%v", err)
	} else if p := another.Load(); p != (pair{1, 1}) && p != (pair{2, 2}) {
		fail("a struct started as %+v", p)
	}
	listed := map[string]bool{}
	for e := range s.Entries() {
		if found, ok := s.Lookup(e.Name); !ok || found.Offset != e.Offset || listed[e.Name] {
			fail("%q is listed at %d, and found at %d: %v", e.Name, e.Offset, found.Offset, ok)
		}
		listed[e.Name] = true
	}
	for _, name := range []string{"n", "orphan", "pair", "text", "large struct", "row", "places", "table", "another"} {
		if !listed[name] {
			fail("%q is not listed", name)
		}
	}
	if err := s.Check(); err != nil {
		fail("%v", err)
	}
	fresh, err := shm.NewRawArray[byte](s, "fresh", 4096)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	for i, b := range fresh.All() {
		if b != 0 {
			fail("byte %d of a new array is %d", i, b)
			break
		}
	}
}
