//go:build linux

package robust

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/race"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// party is a mapping that takes locks. It has a lease of its own, so several of
// them in one process stand for several processes.
type party struct {
	Party
	control lease.Control
	segment *memtest.Segment
	locks   Table
}

// newParty returns a party with an id, or without one if the mapping is
// read-only.
func newParty(t shmtest.TB, s *memtest.Segment) *party {
	t.Helper()
	p := &party{segment: s}
	p.Init(s.Header, &p.control, s.Path, s.ReadOnly)
	if err := p.Take(s.File); err != nil {
		t.Fatal(err)
	}
	memtest.Keep(p) // its locks refer to its memory
	return p
}

// die drops the lease, as the system does when a process ends. The party must not
// be used any more.
func (p *party) die() { p.control.Close() }

// cells tells the race detector what the locks order, for all parties alike.
var cells race.Cells

// lock returns the lock of cell i, which guards "n".
func (p *party) lock(i int) *Lock {
	cell, off := p.segment.Cell(i)
	return p.locks.Get(&p.Party, cell, off, "n", cells.Token(off), func() *Lock { return new(Lock) })
}

// locked is what most tests need: a segment, a party, and its lock of cell 0.
func locked(t shmtest.TB) (s *memtest.Segment, p *party, mu *Lock, cell *format.LockCell) {
	t.Helper()
	s = memtest.New(t)
	p = newParty(t, s)
	cell, _ = s.Cell(0)
	return s, p, p.lock(0), cell
}

// sleeping returns once a waiter for the lock sleeps in the kernel, or, if long,
// once one has waited so long that it has a watch and asks for a reservation.
func sleeping(t shmtest.TB, cell *format.LockCell, long bool) {
	t.Helper()
	shmtest.Eventually(t, "a waiter sleeps", func() bool {
		return cell.Word.Load()&format.KernelWaiters != 0 && (!long || cell.Starve.Load() != 0)
	})
}

// parked returns once so many goroutines of a process queue for its lock.
func parked(t shmtest.TB, mu *Lock, n int) {
	t.Helper()
	shmtest.Eventually(t, fmt.Sprintf("%d goroutines queue", n), func() bool { return len(mu.queue.all()) == n })
}

// all returns the waiters, the head first.
func (q *queue) all() (all []*waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for w := q.head; w != nil; w = w.next {
		all = append(all, w)
	}
	return all
}

// agent is a process that does with the lock of cell 0 what it is told.
var agent = shmtest.Helper("agent", func(args []string) error {
	s := memtest.Open(shmtest.InHelper, args[0], false)
	mu := newParty(shmtest.InHelper, s).lock(0)
	fmt.Println("ready")
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "lock":
			mu.Lock()
			return "locked", nil
		case "trylock":
			return fmt.Sprint(mu.TryLock()), nil
		case "lockFor": // so many milliseconds at most
			n, err := strconv.Atoi(words[1])
			if err != nil {
				return "", err
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*time.Millisecond)
			defer cancel()
			if mu.LockContext(ctx) != nil {
				return "gave up", nil
			}
			return "locked", nil
		case "unlock":
			mu.Unlock()
			return "unlocked", nil
		case "abandoned":
			return fmt.Sprint(mu.Abandoned()), nil
		case "exec": // become another program, which inherits a descriptor of the segment
			if _, err := syscall.Dup(int(s.File.Fd())); err != nil {
				return "", err
			}
			path, err := exec.LookPath("sleep")
			if err != nil {
				return "", err
			}
			return "", syscall.Exec(path, []string{"sleep", "60"}, nil)
		}
		return "", fmt.Errorf("what is %q", words[0])
	})
})

// startAgent starts an agent, which has an id when the function returns.
func startAgent(t shmtest.TB, s *memtest.Segment) *shmtest.Process {
	t.Helper()
	p := shmtest.Start(t, agent, s.Path)
	p.Expect("ready")
	return p
}

func TestHelpersAreUsed(t *testing.T) {
	n, unused, err := shmtest.UnusedHelpers(".")
	if err != nil || n == 0 || len(unused) > 0 {
		t.Errorf("of %d helpers these are unused: %v; %v", n, unused, err)
	}
}
