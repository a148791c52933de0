//go:build linux

package wait

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// never is longer than a test waits. A sleep that long is not what ends a wait.
const never = time.Hour

// mapping is a Mapping whose sleepers have that bit.
type mapping struct {
	bit      uint32
	readOnly bool
}

func (m mapping) WakeBit() uint32 { return m.bit }
func (m mapping) ReadOnly() bool  { return m.readOnly }
func (m mapping) Ask()            { asked.Add(1) }
func (m mapping) Withdraw()       { withdrawn.Add(1) }

// asked and withdrawn count the calls of Ask and Withdraw.
var asked, withdrawn atomic.Int64

var (
	readWrite = mapping{bit: 1 << 3}
	readOnly  = mapping{bit: 1 << 4, readOnly: true}
)

// number is a number that goroutines await, by a group each process of its own.
type number struct {
	n    *atomic.Uint64
	word *format.ChangeWord
	*Group
}

// newNumber returns a number, 0, in this process's own memory.
func newNumber() number { return number{new(atomic.Uint64), new(format.ChangeWord), new(Group)} }

// sharedNumber returns the number in a segment's first lock cell.
func sharedNumber(s *memtest.Segment) number {
	cell, _ := s.Cell(0)
	return number{&cell.Commit, &cell.Change, new(Group)}
}

// elsewhere returns the same number with another group, as another process has it.
func (x number) elsewhere() number { x.Group = new(Group); return x }

// set changes the number and tells.
func (x number) set(n uint64) {
	x.n.Store(n)
	Changed(x.word)
}

// await returns when the number is at least n.
func (x number) await(ctx context.Context, m Mapping, n uint64) error {
	return x.Wait(ctx, m, x.word, x.n.Load, func() (bool, error) { return x.n.Load() >= n, nil })
}

// patient makes the next sleep of a group without sleepers endless, unless the
// word changes before. So no time-out makes up for a wake-up that is missing.
func (x number) patient() number {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen, x.current, x.pause = x.word.Word.Load()|format.Awaited, true, never
	return x
}

// sleep returns once so many goroutines wait, and one of them for all.
func (x number) sleep(t *testing.T, sleepers int) {
	t.Helper()
	shmtest.Eventually(t, fmt.Sprintf("%d wait, one of them in the kernel", sleepers), func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.sleeping && x.sleepers.n == sleepers
	})
}

// rest ends the test unless nobody waits any more.
func (x number) rest(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sleepers.n > 0 || x.sleeping {
		t.Fatalf("%d wait still; one in the kernel: %v", x.sleepers.n, x.sleeping)
	}
}

func TestHelpersAreUsed(t *testing.T) {
	n, unused, err := shmtest.UnusedHelpers(".")
	if err != nil || n == 0 || len(unused) > 0 {
		t.Errorf("of %d helpers these are unused: %v; %v", n, unused, err)
	}
}
