//go:build linux

package slots

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/race"
	"example.org/shm/internal/robust"
	"example.org/shm/internal/shmtest"
)

func TestMain(m *testing.M) { shmtest.Main(m) }

// capacity is of the slots in these tests. It is not a multiple of a line.
const capacity = 1000

// value is the published value that all mappings have.
var value = &format.Record{
	Data: format.HeaderSize + 85*format.Line, Capacity: capacity,
	Shape: format.Shape{Access: format.Published, Kind: format.KindSingle, Label: format.Label{Name: "v"}},
}

// cells has those of each file, one for all its mappings in this process.
var cells = map[string]*race.Cells{}

// newPair returns the slots of the value, in a mapping whose owner has a lease of
// its own, so it may stand for another process.
func newPair(t shmtest.TB, s *memtest.Segment) *Pair {
	t.Helper()
	party, table := new(robust.Party), new(robust.Table)
	party.Init(s.Header, new(lease.Control), s.Path, s.ReadOnly)
	party.ShareAllocation(new(sync.Mutex))
	if err := party.Take(s.File); err != nil {
		t.Fatal(err)
	}
	memtest.Keep(party)
	if cells[s.Path] == nil {
		cells[s.Path] = new(race.Cells)
	}
	token := cells[s.Path].Token(value.Data)
	p := At(&s.Region, value, token)
	p.Lock = table.Get(party, p.Cell, value.Data, value.Name, token, func() *robust.Lock { return new(robust.Lock) })
	return p
}

// set fills a slot with a number.
func set(slot []byte, n uint64) {
	for i := 0; i+8 <= len(slot); i += 8 {
		binary.NativeEndian.PutUint64(slot[i:], n)
	}
}

// get returns the number that fills a copy of a slot. ok is false if there is more
// than one.
func get(slot []byte) (n uint64, ok bool) {
	n, ok = binary.NativeEndian.Uint64(slot), true
	for i := 8; i+8 <= len(slot); i += 8 {
		ok = ok && binary.NativeEndian.Uint64(slot[i:]) == n
	}
	return n, ok
}

// load returns the number in the committed slot.
func (p *Pair) load() (n uint64, ok bool) {
	var b [capacity]byte
	p.Read(func(slot []byte) { mem.CopyBytes(b[:], slot) })
	return get(b[:])
}

// add adds 1 to the number.
func (p *Pair) add() {
	p.Lock.Acquire()
	p.Amend(func(idle []byte) {
		n, _ := get(idle)
		set(idle, n+1)
	})
	p.Lock.Release()
}

// is ends the test unless the pair has that number.
func (p *Pair) is(t *testing.T, want uint64) {
	t.Helper()
	if n, ok := p.load(); n != want || !ok {
		t.Fatalf("the value is %d, want %d; whole: %v", n, want, ok)
	}
}

// writer is a process that adds to the number without a pause. With the argument
// "dies" it ends while it holds the lock and has filled half of the idle slot.
var writer = shmtest.Helper("writer", func(args []string) error {
	p := newPair(shmtest.InHelper, memtest.Open(shmtest.InHelper, args[0], false))
	if args[1] == "dies" {
		p.Lock.Acquire()
		p.Amend(func(idle []byte) {
			set(idle[:capacity/2], 99)
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Hour) // The signal may come a little later.
		})
	}
	end := make(chan error)
	go func() { end <- shmtest.Replies(func([]string) (string, error) { return "", nil }) }()
	p.add()
	fmt.Println("writes")
	for {
		select {
		case err := <-end:
			return err
		default:
			p.add()
		}
	}
})

func TestHelpersAreUsed(t *testing.T) {
	n, unused, err := shmtest.UnusedHelpers(".")
	if err != nil || n == 0 || len(unused) > 0 {
		t.Errorf("of %d helpers these are unused: %v; %v", n, unused, err)
	}
}
