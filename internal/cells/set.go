// Package cells is the memory of a Counter, a Gauge and a Histogram: a cell for each
// process, so that processes which count do not take the same line of memory from each
// other.
//
// A [Set] is this mapping's side of one value. A [Table] has the one Set of each place in
// a mapping. The owner of a cell is an id with a lease (package lease). Nothing is given
// back: the end of the lease frees the cell, and who claims it next inherits its number
// by the same compare-and-swap. So nothing is ever added up in another place, where a
// process that dies half-way would lose or double it.
//
// The package may import lease, mem, format, layout, sys, race, errs and killpoint. docs/FORMAT.md describes
// the protocol for other languages, and docs/model/cells.pml is a model of it.
//
// Invariants:
//   - Only a mapping with a living lease has its id in an owner, and none has the id of
//     another: no id is given out twice, and none that stands in a cell. So an owner that
//     was found dead cannot have come back when it is replaced.
//   - A claim changes no number of a Counter or a Histogram, and an addition is one
//     atomic operation. So it does not matter to the sum who owns a cell.
//   - High rises before a cell above it is claimed. So every cell in which anybody has
//     counted is at most High, or is cell 0.
//   - A number of a Gauge counts only under the id of the process that has set it: between
//     two processes the owner is Clean, or 0.
package cells

import (
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/layout"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/sys"
)

const (
	probeEvery = 4 * time.Millisecond // between two probes of a gauge's owner, by all processes together
	maxTries   = 100                  // to raise High, against a peer that lowers it all the time
	maxLooks   = 4                    // at a cell of a gauge whose owner changes meanwhile
)

// Set is this mapping's side of a value with cells. It is safe for concurrent use.
type Set struct {
	// Ready reports that Fast is the number to add to, for a Counter of integers. Both
	// change once and are read without synchronisation: an atomic load, or a comparison
	// with nil, costs too much of the inlining budget. Until then Fast is the number of the
	// cell that all share, so it does no harm if a processor sees Ready earlier than Fast.
	// For other values, and in builds for the race detector, Ready stays false.
	Ready bool
	Fast  *uint64

	own     atomic.Pointer[uint64] // the number that this mapping adds to; nil: not chosen yet
	Buckets []atomic.Uint64        // of a Histogram, beside that number; valid once Own is not nil
	Token   race.Token
	Outer   any // keeps the memory

	region *mem.Region
	owner  *lease.Owner
	record *format.Record
	header *format.CellHeader
	words  []atomic.Uint64 // all cells
	stride int             // words from one cell to the next

	mu       sync.Mutex   // guards the claim, and what follows
	reserved *format.Cell // of a Gauge: claimed and Clean
	round    int64        // without an id: when the owners were last probed
	gone     map[uint32]struct{}
}

// Table has the one Set of each place in a mapping, so that a process claims one cell of
// a value, however many handles it has. The zero value is empty.
type Table struct {
	mu    sync.Mutex
	byOff map[int64]*Set
}

// Get returns the Set of a record that has cells. outer keeps the memory of the region.
func (t *Table) Get(region *mem.Region, owner *lease.Owner, r *format.Record, token race.Token, outer any) *Set {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byOff[r.Data]
	if s == nil {
		if t.byOff == nil {
			t.byOff = map[int64]*Set{}
		}
		s = &Set{
			Token: token, Outer: outer, region: region, owner: owner, record: r,
			header: mem.At[format.CellHeader](region, r.Data),
			words:  mem.Slice[atomic.Uint64](region, r.Elements(), int(r.Capacity/8)),
			stride: int(r.Stride() / 8),
			Fast:   mem.Plain64(&mem.At[format.Cell](region, r.Elements()).Number),
		}
		t.byOff[r.Data] = s
	}
	return s
}

// Own returns the number that this mapping adds to, or nil if Claim or Show has to find
// it.
func (s *Set) Own() *uint64 { return s.own.Load() }

// cells returns how many cells can be claimed: 1 to that.
func (s *Set) cells() int { return len(s.words)/s.stride - 1 }

// high returns the highest cell that a process may have claimed, or cell 0.
func (s *Set) high() int { return int(min(s.header.High.Load(), uint64(s.cells()))) }

// cell returns cell i.
func (s *Set) cell(i int) *format.Cell {
	return mem.At[format.Cell](s.region, s.record.Elements()+int64(i)*s.record.Stride())
}

// Numbers returns the words of all cells that may have counted something, and the
// distance between two of them. It looks at no owner.
func (s *Set) Numbers() (words []atomic.Uint64, stride int) {
	return s.words[:(s.high()+1)*s.stride], s.stride
}

// Claim chooses the number that this mapping adds to, once: that of a cell of its own, or
// of the one that all share, if no cell is free or if this mapping has no lease.
//
// Preconditions: the mapping is not read-only, and the value is not a Gauge.
func (s *Set) Claim() *uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.own.Load(); p != nil {
		return p
	}
	i := s.claim(0)
	if s.record.Kind == format.KindHistogram {
		const first = format.BucketOffset / 8
		at := i*s.stride + first
		s.Buckets = s.words[at : at+int(s.record.Count)+1]
	}
	return s.choose(s.cell(i))
}

// choose makes a cell that of this mapping.
func (s *Set) choose(c *format.Cell) *uint64 {
	p := mem.Plain64(&c.Number)
	s.own.Store(p)
	if !race.Enabled && s.record.Kind == format.KindCounter && s.record.Layout.Format != layout.ByteOrder+"d" {
		s.Fast = p
		s.Ready = true
	}
	return p
}

// claim returns the number of a cell that this mapping owns from now on, and 0 if there
// is none. flag is the Clean of a gauge.
//
// The first cell of which nobody lives is taken, so that there are few to add up.
func (s *Set) claim(flag uint64) int {
	me := uint64(s.owner.ID())
	if me == 0 {
		return 0
	}
	high := s.high()
	for i := 1; i <= high; i++ {
		c := s.cell(i)
		seen := c.Owner.Load()
		id := uint32(seen)
		if id != 0 && uint64(id) != me && s.owner.Alive(id) {
			continue
		}
		if c.Owner.CompareAndSwap(seen, me|flag) {
			killpoint.At(killpoint.CellInherited)
			return i
		}
	}
	for i := high + 1; i <= s.cells() && s.raise(uint64(i)); i++ {
		if s.cell(i).Owner.CompareAndSwap(0, me|flag) {
			killpoint.At(killpoint.CellClaimed)
			return i
		}
	}
	return 0
}

// raise makes High at least n. It reports false if it cannot.
func (s *Set) raise(n uint64) bool {
	for range maxTries {
		high := s.header.High.Load()
		if high >= n {
			return true
		}
		if s.header.High.CompareAndSwap(high, n) {
			killpoint.At(killpoint.HighRaised)
			return true
		}
	}
	return false
}

// Reserve claims the cell of a gauge, once. The gauge counts from Show on. The error wraps
// errs.Full if all cells have living owners.
//
// Preconditions: the mapping has an id.
func (s *Set) Reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved != nil {
		return nil
	}
	i := s.claim(format.Clean)
	if i == 0 {
		return fmt.Errorf("%w: %d living processes have a cell of it, and there are no more cells; let processes that only read it attach with Options.ReadOnly", errs.Full, s.cells())
	}
	c := s.cell(i)
	c.Number.Store(0) // the predecessor's
	killpoint.At(killpoint.GaugeCleared)
	s.reserved = c
	return nil
}

// Show makes the number of this mapping's gauge count, with the bits n at first, unless it
// does so already. It returns the number, and whether n is in it. If other processes took
// this mapping for dead and one of them has the cell, the number is one that nobody sees.
//
// Preconditions: Reserve was successful.
func (s *Set) Show(n uint64) (p *uint64, stored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.own.Load(); p != nil {
		return p, false
	}
	c, me := s.reserved, uint64(s.owner.ID())
	if c.Owner.Load() == me|format.Clean {
		c.Number.Store(n)
		killpoint.At(killpoint.GaugeStored)
		if c.Owner.CompareAndSwap(me|format.Clean, me) {
			killpoint.At(killpoint.GaugeShown)
			return s.choose(c), true
		}
	}
	unseen := new(uint64)
	s.own.Store(unseen)
	return unseen, true
}

// Correct adds to word i of the cell that all share so that the sum over all cells is
// total, of float64 or of integers. The sum is exact if nobody else counts meanwhile.
func (s *Set) Correct(i int, total uint64, float bool) {
	words, stride := s.Numbers()
	var sum uint64
	var floats float64
	for at := stride + i; at < len(words); at += stride {
		sum += words[at].Load()
		floats += math.Float64frombits(words[at].Load())
	}
	rest := total - sum
	if float {
		rest = math.Float64bits(math.Float64frombits(total) - floats)
	}
	words[i].Store(rest)
	killpoint.At(killpoint.CellCorrected)
}

// Living calls yield for the gauge of each living process that has set it, with its id and
// the bits of its number, until yield returns false. A dead one counts for at most
// probeEvery more; whoever finds out that it is dead removes it for all.
//
// A mapping without an id, such as a read-only one, has no description to probe with, and
// asks through f, a description of the segment's file. It removes nobody. If f is closed,
// nobody is found dead.
func (s *Set) Living(f *os.File, yield func(id uint32, number uint64) bool) {
	me := s.owner.ID()
	probe := me == 0 && s.mayProbe()
	for i := 1; i <= s.high(); i++ {
		id, number := s.look(i)
		if id == 0 {
			continue
		}
		if me == 0 {
			if s.isGone(f, id, probe) {
				continue
			}
		} else if c := s.cell(i); id != me && (s.owner.Dead(id) || s.owner.MayProbe(&c.Probed, probeEvery) && !s.owner.Alive(id)) {
			c.Owner.CompareAndSwap(uint64(id), 0)
			killpoint.At(killpoint.GaugeRemoved)
			continue
		}
		if !yield(id, number) {
			return
		}
	}
}

// look returns owner and number of a gauge's cell, which belong together; 0 if nobody
// has set it.
func (s *Set) look(i int) (id uint32, number uint64) {
	c := s.cell(i)
	owner := c.Owner.Load()
	for range maxLooks {
		if owner == 0 || owner > format.MaxID { // Clean, or what no process has stored
			return 0, 0
		}
		number = c.Number.Load()
		again := c.Owner.Load()
		if again == owner {
			return uint32(owner), number
		}
		owner = again
	}
	return 0, 0
}

// mayProbe reports whether a mapping without an id is to probe all owners now.
func (s *Set) mayProbe() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := sys.Monotonic()
	if s.round != 0 && now-s.round < int64(probeEvery) {
		return false
	}
	s.round = now
	return true
}

// isGone reports whether an id is known to be dead in a mapping without an id. An id that
// is dead stays dead.
func (s *Set) isGone(f *os.File, id uint32, probe bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, gone := s.gone[id]; gone || !probe || s.owner.Held(f, id) {
		return gone
	}
	if s.gone == nil || len(s.gone) > s.cells() { // the ids come from memory that others write
		s.gone = map[uint32]struct{}{}
	}
	s.gone[id] = struct{}{}
	return true
}
