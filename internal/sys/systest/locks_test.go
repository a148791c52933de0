package systest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// held asks all ways, which must agree.
func held(t *testing.T, f *os.File, off int64) bool {
	t.Helper()
	slow := shmtest.Must(sys.Locked(f, off, 1))(t)
	if fast := shmtest.Must(sys.LockedFast(f, off))(t); fast != slow {
		t.Fatalf("byte %#x: Locked says %v, LockedFast %v", off, slow, fast)
	}
	if o := shmtest.Must(sys.Obstacle(f, off))(t); (o != sys.NoLock) != slow {
		t.Fatalf("byte %#x: Locked says %v, Obstacle %v", off, slow, o)
	}
	return slow
}

// A lock excludes all others, and ends with its process.
func TestLocks(t *testing.T) {
	for _, off := range []int64{0, leaseBase + 1, leaseBase + 1<<30 - 1} {
		s := file(t)
		p := s.start(t)
		p.Do(fmt.Sprintf("lock %d", off), "true")
		p.Do("touch", "true") // what other code does with the file drops nothing
		if !held(t, s.f, off) || shmtest.Must(sys.TryLock(s.locks, off))(t) {
			t.Errorf("byte %#x: two processes have the lock", off)
		}
		p.Kill()
		shmtest.Eventually(t, "the dead process's lock is free", func() bool { return !held(t, s.f, off) })
		if !shmtest.Must(sys.TryLock(s.locks, off))(t) {
			t.Errorf("byte %#x: it cannot be had", off)
		}
		q := s.start(t)
		q.Do(fmt.Sprintf("lock %d", off), "false")
		q.Do(fmt.Sprintf("locked %d", off), "true")
		sys.Unlock(s.locks, off)
		q.Do(fmt.Sprintf("locked %d", off), "false")
		q.Do(fmt.Sprintf("lock %d", off), "true")
		q.Do(fmt.Sprintf("unlock %d", off), "done")
		if held(t, s.f, off) {
			t.Errorf("byte %#x: it is locked after the unlock", off)
		}
		_ = sys.Remove(s.path)
	}
}

// Files of one process exclude each other, and CloseLocks releases what one has.
func TestLocksWithinAProcess(t *testing.T) {
	s := file(t)
	p := s.start(t)
	other := shmtest.Must(sys.Reopen(s.f, s.path))(t)
	const off int64 = leaseBase + 5
	for range 2 { // the second time it has the lock already
		if !shmtest.Must(sys.TryLock(s.locks, off))(t) {
			t.Fatal("a file does not get its lock")
		}
	}
	if shmtest.Must(sys.TryLock(other, off))(t) || !held(t, other, off) || !held(t, s.f, off) || held(t, s.locks, off) {
		t.Error("another file of the process is not excluded")
	}
	_ = shmtest.Must(os.ReadFile(s.path))(t)
	third := shmtest.Must(sys.Reopen(s.f, s.path))(t)
	if err := sys.CloseLocks(third); err != nil {
		t.Error(err)
	}
	p.Do(fmt.Sprintf("locked %d", off), "true")
	if err := sys.CloseLocks(s.locks); err != nil {
		t.Error(err)
	}
	p.Do(fmt.Sprintf("locked %d", off), "false")
	if held(t, other, off) {
		t.Error("it is locked after CloseLocks")
	}
}

// Segments do not share bytes, and a range is searched for locks.
func TestLocksOfManyFiles(t *testing.T) {
	s, other := file(t), shmtest.Must(create(sys.Path(shmtest.Name(t)+"2"), 0o600))(t)
	t.Cleanup(func() { _ = sys.Remove(other.path) })
	p := s.start(t)
	for _, id := range []int64{3, 9} {
		p.Do(fmt.Sprintf("lock %d", leaseBase+id), "true")
	}
	if held(t, other.f, leaseBase+3) || !shmtest.Must(sys.TryLock(other.locks, leaseBase+3))(t) {
		t.Error("a lock of one file is another's too")
	}
	for _, c := range []struct {
		off, n int64
		want   bool
	}{{leaseBase, 1 << 30, true}, {leaseBase, 3, false}, {leaseBase + 4, 5, false}, {leaseBase + 4, 6, true}, {leaseBase + 10, 100, false}} {
		if got := shmtest.Must(sys.Locked(s.f, c.off, c.n))(t); got != c.want {
			t.Errorf("%d bytes from %#x: %v", c.n, c.off, got)
		}
		start, n, err := sys.LockedRange(s.f, c.off, c.n)
		if err != nil || (n != 0) != c.want || n != 0 && (n != 1 || start != leaseBase+3 && start != leaseBase+9) {
			t.Errorf("%d bytes from %#x: %d from %#x, %v", c.n, c.off, n, start, err)
		}
	}
}

// WaitLock waits for the lock of another process, also for that of one that is killed.
func TestWaitLock(t *testing.T) {
	s := file(t)
	p, q := s.start(t), s.start(t)
	p.Do("lock 0", "true")
	q.Say("wait 0")
	if !held(t, s.f, 0) {
		t.Error("it is not locked")
	}
	p.Kill()
	q.Expect("got")
	q.Do("unlock 0", "done")
}

// Where locks are in a file of their own, a process that does not find that file is
// refused, and none is robbed.
func TestPlaceThatIsGone(t *testing.T) {
	// Segments of one mode share a lease file. No other program has segments of this mode,
	// so what this test does to their lease file disturbs nobody.
	const mode = 0o602
	s := shmtest.Must(create(sys.Path(shmtest.Name(t)), mode))(t)
	if s.place == 0 {
		t.Skip("locks are on bytes of the file itself")
	}
	p := s.start(t)
	p.Do(fmt.Sprintf("lock %d", int64(leaseBase+1)), "true")
	if _, err := sys.Settle(s.f, s.path, 0, true); !errors.Is(err, errs.Version) {
		t.Errorf("a file of another kind of program: %v", err)
	}
	// Whoever cleans the directory removes hidden files too.
	removed := 0
	prefix := fmt.Sprintf(".shm-leases-%d-%o", os.Geteuid(), mode)
	for name := range shmtest.SharedNames() {
		if strings.HasPrefix(name, prefix) {
			if err := os.Remove(filepath.Join(shmtest.SharedDir(), name)); err != nil {
				t.Fatal(err)
			}
			removed++
		}
	}
	if removed != 1 {
		t.Fatalf("%d lease files were there, wanted one", removed)
	}
	q := shmtest.Start(t, agent, s.path)
	q.Expect("refused")
	p.Do(fmt.Sprintf("locked %d", int64(leaseBase+2)), "false")
	if !held(t, s.f, leaseBase+1) {
		t.Error("a living process has lost its lock")
	}
}

// received takes what its parent has left in a socket, and locks with it.
var received = shmtest.Helper("received", func([]string) error {
	f := os.NewFile(3, "inherited")
	key, _, err := sys.Identify(f, "inherited")
	if err != nil {
		return err
	}
	locks, err := sys.Receive(4, key, "inherited")
	if err != nil {
		return err
	}
	got, err := sys.TryLock(locks, leaseBase+8)
	fmt.Println(got, err)
	return shmtest.Replies(func([]string) (string, error) { return "here", nil })
})

// A child gets locks of its own through what Send and Receive hand over, though it opens
// no file.
func TestHandover(t *testing.T) {
	s := file(t)
	description := shmtest.Must(sys.Reopen(s.f, s.path))(t)
	socket, err := sys.Send(description)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("a child opens the file anew by the descriptor that it inherits")
	}
	if err != nil {
		t.Fatal(err)
	}
	p := shmtest.StartWithFiles(t, received, s.f, socket)
	if err := errors.Join(sys.CloseLocks(description), socket.Close()); err != nil { // the child has them alone
		t.Error(err)
	}
	p.Expect("true <nil>")
	if !held(t, s.f, leaseBase+8) {
		t.Error("the child's lock is not seen")
	}
	p.Kill()
	shmtest.Eventually(t, "the dead child's lock is free", func() bool { return !held(t, s.f, leaseBase+8) })
}
