// Package robust is the lock: between processes, and between the goroutines of
// each. It survives the death of its holder.
//
// A [Lock] is this process's side of one lock cell in shared memory. A [Party] is
// one mapping as a holder of locks: its id, its lease, and the watches of the
// owners for which its goroutines wait. A [Table] has the one Lock of each place
// in a mapping.
//
// The package may import lease, wait, mem, sys, format, race, errs and killpoint.
// lock.go has the types, verbs.go the fast paths. slow.go has the rest, and the
// invariants that hold while goroutines wait. docs/FORMAT.md describes the protocol for other languages,
// and docs/model has a model of it.
//
// Invariants:
//   - Only atomic operations change the lock word. Its own process writes an
//     owner's id, and either that process or a takeover after its death removes
//     it.
//   - A live owner never loses the lock.
//   - A process has one Lock for one place in memory, so that a queue of
//     goroutines is never split in two.
package robust

import (
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/lease"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/race"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// instrumented reports whether this build tells a kill point or the race detector
// about each lock.
const instrumented = race.Enabled || killpoint.Enabled

// Party is one mapping of a segment as a holder of locks. It lives as long as
// the mapping.
type Party struct {
	lease.Owner
	shut    atomic.Uint32 // 0 while the mapping may take locks, else a word that no lock has
	closed  atomic.Uint32 // how often it was shut, times two
	watches watches
	record  func(name string, off int64) (start int64, ok bool)
}

// Locate sets how a read-only party finds the record in which a lock cell is.
func (p *Party) Locate(record func(name string, off int64) (start int64, ok bool)) {
	p.record = record
}

// noWord is a local waiter without an owner. No lock word has it, unless a holder
// unlocks twice or a faulty peer writes it.
const noWord = format.LocalWaiters

// Shut makes the public verbs panic with errs.Closed; Reopen ends that. Waits that
// have begun before are to end: see Table.EndWaits.
func (p *Party) Shut() {
	p.shut.Store(noWord)
	p.closed.Add(2)
}

// Reopen lets the public verbs take locks again.
func (p *Party) Reopen() { p.shut.Store(0) }

// goesOn is the opening of a wait that Shut does not end.
const goesOn = 0

// opening identifies the time from one Reopen to the next Shut. It is never goesOn.
// A caller asks for it before it looks whether the party is shut.
func (p *Party) opening() uint32 { return p.closed.Load() | 1 }

// over returns errs.Closed if a wait of that opening has to end.
func (p *Party) over(opening uint32) error {
	if opening != goesOn && (p.opening() != opening || p.shut.Load() != 0) {
		return errs.Closed
	}
	return nil
}

// Lock is this process's side of a lock in shared memory. Table.Get makes it. It is
// safe for concurrent use, and must not be copied.
//
// The fast paths use the first fields. They are plain words, because the functions
// of package sync/atomic cost less of the inlining budget than its types do.
type Lock struct {
	word    *uint32    // of the cell
	shut    *uint32    // of the party
	changed *uint32    // the change word, also in a read-only mapping
	id      uint32     // of the mapping; the holder writes it into the word
	asked   bool       // Abandoned told the holder true; guarded by the lock
	Token   race.Token // for readers that do not take the lock
	Outer   any        // what the caller keeps beside the lock

	cell   *format.LockCell // neverFree in a read-only mapping
	change *format.ChangeWord
	party  *Party
	off    int64
	name   string
	queue  queue
	group  wait.Group    // goroutines that await a change of what the lock guards
	turned time.Duration // how long the last waiter that slept has waited while the lock passed from owner to owner; 0 if that was below wait.Short. For the head of the queue
	asks   int64         // the byte by which a read-only party asks to be announced; 0: not known yet, -1: none
}

// mapping is a Lock's party as its group of waiting goroutines sees it.
type mapping Lock

func (m *mapping) WakeBit() uint32 { return m.party.WakeBit() }
func (m *mapping) ReadOnly() bool  { return m.party.ReadOnly() }

func (m *mapping) Ask() {
	if m.asks == 0 {
		m.asks = -1
		if m.party.record != nil {
			if start, ok := m.party.record(m.name, m.off); ok {
				if at, ok := format.AskByte(start, m.off); ok {
					m.asks = at
				}
			}
		}
	}
	if m.asks > 0 {
		m.party.Ask(m.asks)
	}
}

func (m *mapping) Withdraw() {
	if m.asks > 0 {
		m.party.Withdraw(m.asks)
	}
}

// neverFree is the cell of a Lock in a read-only mapping. Its word is never
// free, so the fast path need not ask whether the mapping is read-only, and no
// locked instruction touches memory that must not be written.
var neverFree = func() *format.LockCell {
	c := new(format.LockCell)
	c.Word.Store(format.OwnerMask)
	return c
}()

// Table has the one Lock of each place in a mapping. A Lock lives as long as its
// mapping. The zero value is empty.
type Table struct {
	mu    sync.Mutex
	byOff map[int64]*Lock
	sets  map[int64]interface{ endWaits() }
}

// Get returns the Lock of the cell at off bytes from the start of the segment.
// The first call for a place makes it: create returns the memory for it.
//
// Preconditions: the party has an id, or is read-only.
func (t *Table) Get(p *Party, cell *format.LockCell, off int64, name string, token race.Token, create func() *Lock) *Lock {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byOff == nil {
		t.byOff = map[int64]*Lock{}
	}
	l := t.byOff[off]
	if l == nil {
		l = create()
		l.cell, l.change, l.id, l.party, l.off, l.name, l.Token = cell, &cell.Change, p.ID(), p, off, name, token
		if p.ReadOnly() {
			l.cell = neverFree
		}
		l.word, l.shut, l.changed = mem.Plain32(&l.cell.Word), mem.Plain32(&p.shut), mem.Plain32(&cell.Change.Word)
		t.byOff[off] = l
	}
	return l
}

// EndWaits makes the waits end that Shut is to end: for a lock, and for a change
// under one. It returns when none of those goroutines sleeps any more. It must be
// called after Shut, and without a lock that a goroutine of this process needs to wake.
func (t *Table) EndWaits() {
	const tries = 1000 // where a file was cut off, no wake-up reaches a sleeper
	t.mu.Lock()
	locks := slices.Collect(maps.Values(t.byOff))
	sets := slices.Collect(maps.Values(t.sets))
	t.mu.Unlock()
	for _, s := range sets {
		s.endWaits()
	}
	for _, l := range locks { // all at once, so that each finds most of them awake below
		unlessCutOff(func() {
			l.group.Tell((*mapping)(l), l.change)
			l.endWaits()
		})
	}
	for _, l := range locks {
		unlessCutOff(func() {
			l.group.WakeAll((*mapping)(l), l.change)
			for i := 0; i < tries && l.endWaits(); i++ {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// unlessCutOff calls f, and gives up if there is no memory behind the lock any more,
// because somebody has cut the file off. Who waits for it finds that out by itself.
func unlessCutOff(f func()) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		cause := recover()
		if _, fault := cause.(interface{ Addr() uintptr }); cause != nil && !fault {
			panic(cause)
		}
	}()
	f()
}

// endWaits wakes those who wait for this lock and have to give up. It reports
// whether there are any. One of them may be on its way to sleep in the kernel, where
// only the next wake-up reaches it.
func (l *Lock) endWaits() (waiting bool) {
	if waiting = l.queue.signalOver(l.party.over); waiting {
		sys.FutexWake(&l.cell.Word, math.MaxInt32, l.party.WakeBit())
	}
	return waiting
}

// Name returns the name of the value that the lock guards.
func (l *Lock) Name() string { return l.name }

// A watch is one goroutine for each owner that goroutines of this process wait for,
// however many locks the owner has. So a stopped process that holds a thousand locks is
// probed as often as one that holds a single lock. A watch wakes its waiters when
// the owner is dead, and those whose lock has another owner by now.
type watch struct {
	waiting map[*waiter]*Lock
}

// watches has the watch of each owner.
type watches struct {
	mu      sync.Mutex
	byOwner map[uint32]*watch
}

func (l *Lock) mustBeOpen() {
	if l.party.ReadOnly() {
		panic(fmt.Errorf("%w: lock of %q in %s", errs.ReadOnly, l.name, l.party.Path()))
	}
	if l.party.shut.Load() != 0 {
		panic(l.closed(errs.Closed))
	}
}

// closed says of which lock an error is errs.Closed.
func (l *Lock) closed(err error) error {
	return fmt.Errorf("%w: lock of %q in %s", err, l.name, l.party.Path())
}

// mustOwn panics unless this process holds the lock.
func (l *Lock) mustOwn(verb string) {
	w := l.cell.Word.Load()
	owner := w & format.OwnerMask
	switch {
	case owner == l.id && owner != 0:
		return
	case l.party.ReadOnly():
		panic(fmt.Errorf("%w: %s of %q in %s", errs.ReadOnly, verb, l.name, l.party.Path()))
	case owner == 0:
		panic(fmt.Sprintf("shm: %s of %q, which is not locked (word %#x)", verb, l.name, w))
	}
	panic(fmt.Sprintf("shm: %s of %q, which process %d holds as id %d; this process has id %d", verb, l.name, l.party.Pid(owner), owner, l.id))
}
