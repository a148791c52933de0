package shm

import (
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A holder that becomes another program has left its locks: that one has its
// pid and whatever descriptors it inherits, but not the lease.
func TestExecedHolderIsFollowed(t *testing.T) {
	for _, long := range []bool{false, true} {
		name, v := locked(t)
		mu := v.Mutex()
		holder, waiter := startAgent(t, name), startAgent(t, name)
		holder.must("lock", "locked")
		if long {
			waiter.say("lock")
			sleeping(t, mu, true)
		}
		holder.say("exec")
		eventually(t, "it is another program", func() bool {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", holder.cmd.Process.Pid))
			return err == nil && string(line) == "sleep\x0060\x00"
		})
		if !long {
			waiter.say("lock")
		}
		within(t, "the lock of a holder that is another program now", func() { waiter.expect("locked") })
		waiter.must("abandoned", "true")
		waiter.must("unlock", "unlocked")
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", holder.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err) // it has died
		}
		inherited := 0
		for _, f := range files {
			if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", holder.cmd.Process.Pid, f.Name())); err == nil && strings.HasPrefix(to, Path(name)) {
				inherited++
			}
		}
		if inherited != 1 {
			t.Errorf("it has inherited %d descriptors of the segment, not the one that it was given", inherited)
		}
	}
}

// A stamp of the last probe that no clock can have shown, or not yet, keeps
// nobody from a dead holder's lock, and lets nobody rob a living one.
func TestStampsOfAClockThatJumps(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	for _, stamp := range []int64{0, -1, math.MinInt64, math.MaxInt64, monotonic() + int64(time.Hour)} {
		for _, long := range []bool{false, true} {
			holder, waiter := startAgent(t, name), startAgent(t, name)
			holder.must("lock", "locked")
			mu.cell.probed.Store(stamp)
			if mu.TryLock() {
				t.Fatalf("stamp %d: a living holder was robbed", stamp)
			}
			if long {
				waiter.say("lock")
				sleeping(t, mu, true)
			}
			holder.kill()
			mu.cell.probed.Store(stamp)
			if !long {
				waiter.say("lock")
			}
			within(t, fmt.Sprintf("the lock of a dead holder, stamp %d", stamp), func() { waiter.expect("locked") })
			waiter.kill()
			within(t, "the lock after that", mu.Lock)
			mu.Unlock()
		}
	}
}

// Ids share the entries of the table, and somebody may hold the lease of one that
// he has no right to: neither is taken for the other.
func TestIDsThatMeet(t *testing.T) {
	name, v := locked(t)
	m, mu := v.mu.m, v.mu
	next := func() uint64 {
		n, ok := m.nextID.load()
		if !ok {
			t.Fatal("no counter")
		}
		return n
	}

	// The next one has its entry where a holder that lives has its own.
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	id := mu.cell.word.Load() & ownerMask
	m.nextID.store(uint64(id) + tableLen)
	startAgent(t, name)
	if n := next(); n != uint64(id)+tableLen+2 {
		t.Errorf("the next id is %d, after one that was to pass over %d", n, id+tableLen)
	}
	if pid, _ := m.attachment(id); pid != holder.cmd.Process.Pid {
		t.Errorf("the entry of a holder that lives names process %d", pid)
	}

	// And where a holder that is dead had it: who lives there keeps nobody waiting.
	holder.kill()
	m.nextID.store(uint64(id) + 8*tableLen)
	squatter := startAgent(t, name)
	if pid, _ := m.attachment(id + 8*tableLen); pid != squatter.cmd.Process.Pid {
		t.Fatalf("the entry names process %d, not %d", pid, squatter.cmd.Process.Pid)
	}
	within(t, "the lock of a dead holder whose entry is another's", mu.Lock)
	mu.Unlock()

	// The lease of the next one is held already.
	f := must(os.OpenFile(Path(name), os.O_RDWR, 0))(t)
	defer f.Close()
	taken := next() + tableLen/2 // an entry that is nobody's
	m.nextID.store(taken)
	if _, err := fileLock(f, unix.F_OFD_SETLK, unix.F_WRLCK, leaseBase+int64(taken), 1); err != nil {
		t.Fatal(err)
	}
	last := startAgent(t, name)
	last.must("lock", "locked")
	if got := mu.cell.word.Load() & ownerMask; uint64(got) != taken+1 {
		t.Errorf("id %d, where the lease of %d is taken", got, taken)
	}
	if mu.TryLock() {
		t.Error("robbed")
	}
	last.signal(syscall.SIGKILL)
	within(t, "the lock of a dead holder beside a lease that is held", mu.Lock)
	mu.Unlock()
}
