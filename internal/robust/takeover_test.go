//go:build linux

package robust

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// The next owner of a dead one's lock is told, and so are those who await a
// change. A process that lives keeps its lock.
func TestTakeOver(t *testing.T) {
	s, p, mu, cell := locked(t)
	for i, c := range []struct {
		what string
		take func() bool
	}{
		{"Lock", func() bool { mu.Lock(); return true }},
		{"TryLock", mu.TryLock},
		{"LockContext", func() bool { return mu.LockContext(t.Context()) == nil }},
		{"Acquire", func() bool { mu.Acquire(); return true }},
	} {
		holder := newParty(t, s)
		holder.lock(0).Lock()
		cell.Probed.Store(0)
		if mu.TryLock() {
			t.Fatalf("%s: a holder that lives was robbed", c.what)
		}
		holder.die()
		cell.Probed.Store(math.MinInt64)
		change := cell.Change.Word.Load()
		shmtest.Within(t, c.what+" of a dead holder's lock", func() {
			if !c.take() {
				t.Errorf("%s: the lock of a dead holder is not to be had", c.what)
			}
		})
		if w := cell.Word.Load(); w != p.ID()|format.KernelWaiters || !mu.Abandoned() || cell.Takeovers.Load() != uint32(i+1) || cell.Change.Word.Load() == change {
			t.Errorf("%s: the word is %#x, abandoned %d, takeovers %d, the change word was %#x and is %#x", c.what, w, cell.Abandoned.Load(), cell.Takeovers.Load(), change, cell.Change.Word.Load())
		}
		mu.Unlock()
	}
}

// A takeover replaces the very word of which the owner was found dead.
func TestTakeOverOfAnOldWord(t *testing.T) {
	s, _, mu, cell := locked(t)
	holder := newParty(t, s)
	holder.lock(0).Lock()
	old := cell.Word.Load()
	holder.die()
	next := newParty(t, s) // it was quicker
	cell.Word.Store(next.ID())
	cell.Probed.Store(math.MinInt64)
	before := s.CellBytes(0)
	if mu.takeOver(old, probeEvery) {
		t.Error("it took the lock of one that lives, since it had seen a dead one's")
	}
	after := s.CellBytes(0)
	const stamp = 8 // the offset of Probed, which is 8 bytes
	if before[:stamp] != after[:stamp] || before[stamp+8:] != after[stamp+8:] {
		t.Errorf("it has changed more than the stamp: from %q to %q", before, after)
	}
	next.lock(0).Unlock()
}

// afterProbe returns what try does right after another process has probed.
func afterProbe(cell *format.LockCell, try func() bool) bool {
	for { // until this process does not lose its processor in between
		now := sys.Monotonic()
		cell.Probed.Store(now)
		if done := try(); done || sys.Monotonic()-now < int64(probeEvery) {
			return done
		}
	}
}

// An owner is probed by one waiter each few milliseconds. TryLock does not try again, so
// it probes all the same. Who is known to be dead needs no probe.
func TestProbesAreRationed(t *testing.T) {
	s, p, mu, cell := locked(t)
	holder := newParty(t, s)
	holder.lock(0).Lock()
	holder.lock(1).Lock()
	holder.die()
	waits := func() bool { return mu.takeOver(cell.Word.Load(), probeEvery) }
	if taken := afterProbe(cell, waits); taken || p.Dead(holder.ID()) {
		t.Error("it has probed right after another one")
	}
	if !afterProbe(cell, mu.TryLock) {
		t.Error("TryLock has not probed right after another one")
	}
	mu.Unlock()
	other, _ := s.Cell(1)
	other.Probed.Store(sys.Monotonic())
	if second := p.lock(1); !p.Dead(holder.ID()) || !second.TryLock() {
		t.Error("a dead owner's second lock is not taken at once")
	} else {
		second.Unlock()
	}
}

// A reservation is for a waiter that has slept. If nobody comes for it, the next
// one that asks gets the lock, but not at once.
func TestReservedLock(t *testing.T) {
	_, p, mu, cell := locked(t)
	for _, w := range []uint32{format.KernelWaiters, format.LocalWaiters, format.LocalWaiters | format.KernelWaiters} {
		cell.Word.Store(w)
		if taken := afterProbe(cell, mu.TryLock); taken || cell.Word.Load() != w {
			t.Errorf("TryLock of %#x: %v, the word is %#x", w, taken, cell.Word.Load())
		}
		cell.Probed.Store(math.MinInt64)
		if !mu.TryLock() || cell.Word.Load() != p.ID()|w {
			t.Errorf("TryLock of %#x, which nobody wants: the word is %#x", w, cell.Word.Load())
		}
		cell.Word.Store(w)
		shmtest.Within(t, fmt.Sprintf("Lock of %#x", w), mu.Lock)
		if got := cell.Word.Load(); got != p.ID()|format.KernelWaiters {
			t.Errorf("Lock of %#x: the word is %#x", w, got)
		}
		cell.Word.Store(p.ID())
		mu.Unlock()
	}
}

// A holder that becomes another program has left its locks. That program has its
// pid and whatever descriptors it inherits, but not the lease.
func TestExecedHolderIsFollowed(t *testing.T) {
	for _, long := range []bool{false, true} {
		s := memtest.New(t)
		cell, _ := s.Cell(0)
		holder, waiter := startAgent(t, s), startAgent(t, s)
		holder.Do("lock", "locked")
		if long {
			waiter.Say("lock")
			sleeping(t, cell, true)
		}
		holder.Say("exec")
		shmtest.Eventually(t, "it is another program", func() bool {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", holder.Pid()))
			return err == nil && string(line) == "sleep\x0060\x00"
		})
		if !long {
			waiter.Say("lock")
		}
		shmtest.Within(t, "the lock of a holder that is another program now", func() { waiter.Expect("locked") })
		waiter.Do("abandoned", "true")
		waiter.Do("unlock", "unlocked")
		dir := fmt.Sprintf("/proc/%d/fd/", holder.Pid())
		inherited := 0
		for _, f := range shmtest.Must(os.ReadDir(dir))(t) { // it has not died
			if to, err := os.Readlink(dir + f.Name()); err == nil && strings.HasPrefix(to, s.Path) {
				inherited++
			}
		}
		if inherited != 1 {
			t.Errorf("it has inherited %d descriptors of the segment, not the one that it was given", inherited)
		}
		holder.Kill()
		waiter.Kill()
	}
}

// A stamp of the last probe that no clock can have shown, or not yet, keeps
// nobody from a dead holder's lock, and lets nobody rob a living one.
func TestStampsOfAClockThatJumps(t *testing.T) {
	s, _, mu, cell := locked(t)
	for _, stamp := range []int64{0, -1, math.MinInt64, math.MaxInt64, sys.Monotonic() + int64(time.Hour)} {
		for _, long := range []bool{false, true} {
			holder, waiter := newParty(t, s), newParty(t, s)
			holder.lock(0).Lock()
			cell.Probed.Store(stamp)
			if mu.TryLock() {
				t.Fatalf("stamp %d: a living holder was robbed", stamp)
			}
			got := make(chan struct{})
			wait := func() { waiter.lock(0).Lock(); close(got) }
			if long {
				go wait()
				sleeping(t, cell, true)
			}
			holder.die()
			cell.Probed.Store(stamp)
			if !long {
				go wait()
			}
			shmtest.Within(t, fmt.Sprintf("the lock of a dead holder, stamp %d", stamp), func() { <-got })
			shmtest.Eventually(t, "its watch has ended", func() bool { return waiter.owners() == 0 })
			waiter.die()
			shmtest.Within(t, "the lock after that", mu.Lock)
			mu.Unlock()
		}
	}
}

// An id that was somebody's in the table before is no reason to rob its owner,
// nor to think the dead alive.
func TestTableEntriesAreHints(t *testing.T) {
	s, p, mu, cell := locked(t)
	holder := startAgent(t, s)
	holder.Do("lock", "locked")
	entry := &s.Header.Table[cell.Word.Load()&format.OwnerMask%format.TableLen]
	dead := startAgent(t, s)
	dead.Kill()
	self := p.Pid(p.ID())
	for what, pid := range map[string]uint32{"nobody": 1<<31 - 1, "a dead one": uint32(dead.Pid()), "itself": self} {
		entry.Pid = pid
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		if err := mu.LockContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("robbed, since the table said %s: %v", what, err)
		}
		cancel()
	}
	entry.Pid = self // which lives
	got := make(chan struct{})
	go func() { mu.Lock(); close(got) }()
	sleeping(t, cell, true)
	holder.Kill()
	shmtest.Within(t, "the lock of a dead holder whom the table takes for a living one", func() { <-got })
	mu.Unlock()
}

// Ids share the entries of the table, and somebody may hold the lease of one that
// he has no right to: neither is taken for the other.
func TestIDsThatMeet(t *testing.T) {
	s, p, mu, cell := locked(t)
	next := func() uint64 {
		n, ok := s.Header.NextID.Load()
		if !ok {
			t.Fatal("the counter of ids is damaged")
		}
		return n
	}

	// The next one has its entry where a holder that lives has its own.
	holder := startAgent(t, s)
	holder.Do("lock", "locked")
	id := cell.Word.Load() & format.OwnerMask
	s.Header.NextID.Store(uint64(id) + format.TableLen)
	startAgent(t, s)
	if n := next(); n != uint64(id)+format.TableLen+2 {
		t.Errorf("the next id is %d, after one that was to pass over %d", n, id+format.TableLen)
	}
	if pid, _ := p.Process(id); pid != holder.Pid() {
		t.Errorf("the entry of a holder that lives names process %d", pid)
	}

	// And where a holder that is dead had it: the process that lives there keeps
	// nobody waiting.
	holder.Kill()
	s.Header.NextID.Store(uint64(id) + 8*format.TableLen)
	squatter := startAgent(t, s)
	if pid, _ := p.Process(id + 8*format.TableLen); pid != squatter.Pid() {
		t.Fatalf("the entry names process %d, not %d", pid, squatter.Pid())
	}
	shmtest.Within(t, "the lock of a dead holder whose entry is another's", mu.Lock)
	mu.Unlock()

	// The lease of the next one is held already.
	f := shmtest.Opened(sys.Reopen(s.File, s.Path))(t)
	taken := next() + format.TableLen/2 // an entry that is nobody's
	s.Header.NextID.Store(taken)
	if got, err := sys.TryLock(f, format.LeaseBase+int64(taken)); !got {
		t.Fatal(err)
	}
	last := startAgent(t, s)
	last.Do("lock", "locked")
	if got := cell.Word.Load() & format.OwnerMask; uint64(got) != taken+1 {
		t.Errorf("id %d, where the lease of %d is taken", got, taken)
	}
	if mu.TryLock() {
		t.Error("robbed")
	}
	last.Kill()
	shmtest.Within(t, "the lock of a dead holder beside a lease that is held", mu.Lock)
	mu.Unlock()
}
