package robust

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/killpoint"
	"example.org/shm/internal/sys"
	"example.org/shm/internal/wait"
)

// Set is this process's side of locks whose cells lie side by side in shared memory.
// Table.Set makes it. It is safe for concurrent use.
//
// Whoever waits for any of them does not join the queues of the locks. It announces
// itself at the change word of each cell, which every unlock looks at, in all languages.
// Of the goroutines of a process one does so, the head of the queue of the Set.
//
// Invariant: while goroutines queue, the head is awake, or about to be woken, or it
// sleeps on change words that were announced before it last looked at the locks.
type Set struct {
	party *Party
	cells []format.LockCell
	name  string
	lock  func(i int) *Lock
	queue queue
}

const (
	maxHints    = 32                   // owners of a Set whose deaths the system reports, for each waiting process
	sweepShare  = 50                   // of the time between two looks at all leases, the part that they may take
	hintedSweep = time.Second          // the longest time between two looks, if the system reports all deaths
	firstSweep  = 4 * time.Millisecond // the shortest
)

// Set returns the Set of the cells from off bytes on. The first call for a place makes
// it; lock returns the Lock of a cell.
//
// Preconditions: those of Get.
func (t *Table) Set(p *Party, cells []format.LockCell, off int64, name string, lock func(i int) *Lock) *Set {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sets == nil {
		t.sets = map[int64]interface{ endWaits() }{}
	}
	s, known := t.sets[off].(*Set)
	if !known {
		s = &Set{party: p, cells: cells, name: name, lock: lock}
		t.sets[off] = s
	}
	return s
}

// endWaits wakes those who have to give up. They sleep in Go.
func (s *Set) endWaits() { s.queue.signalOver(s.party.over) }

// LockAny takes the first lock that is free, or whose owner is dead, waits if there is
// none, and returns its number. It panics as Lock does. When ctx is done it returns the
// context's error, and if the party is shut meanwhile errs.Closed; then no lock is
// taken.
func (s *Set) LockAny(ctx context.Context) (int, error) {
	opening := s.party.opening()
	s.lock(0).mustBeOpen()
	i, err := s.lockAny(ctx, opening)
	if err != nil {
		return 0, errs.Wrap(err, "locking any of %q in %s", s.name, s.party.Path())
	}
	s.lock(i).Token.Acquire()
	runtime.KeepAlive(s)
	return i, nil
}

func (s *Set) lockAny(ctx context.Context, opening uint32) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	look := sweep{party: s.party, everyOwner: true}
	if i := s.take(&look); i >= 0 {
		return i, nil
	}
	me := takeWaiter(opening)
	returned := false
	defer func() {
		s.queue.drop(me)
		if returned { // else an access of the memory has panicked
			me.discard()
		}
	}()
	i, err := s.await(ctx, me)
	returned = true
	return i, err
}

// await queues, then takes a lock as the head of the queue.
func (s *Set) await(ctx context.Context, me *waiter) (int, error) {
	stop := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.party.over(me.opening)
	}
	for head := s.queue.join(me); !head; head, _ = s.queue.turn(me) {
		me.park(ctx, queueAtMost)
		if err := stop(); err != nil {
			return 0, err
		}
	}
	deaths := hints{party: s.party, wake: me.signal, of: map[uint32]*hint{}}
	defer deaths.close()
	words := make([]sys.Word, len(s.cells))
	pause := firstSweep
	swept := int64(0)
	for {
		if err := stop(); err != nil {
			return 0, err
		}
		for i := range s.cells {
			c := &s.cells[i].Change
			words[i] = sys.Word{Addr: &c.Word, Seen: wait.Announce(c)}
		}
		look := sweep{party: s.party, every: pause, everyOwner: deaths.reported()}
		began := sys.Monotonic()
		if !look.everyOwner && began-swept < int64(pause) {
			look.every = never
		} else {
			swept = began
		}
		if i := s.take(&look); i >= 0 {
			return i, nil
		}
		if me.bubbled != nil { // it looks again soon
			wait.AnyIn(ctx, me.bubbled, words, !look.elsewhere, firstSweep)
			continue
		}
		switch spent := time.Duration(sys.Monotonic() - began); {
		case deaths.watch(look.owners):
			pause = min(2*pause, hintedSweep)
		case look.every != never:
			pause = max(firstSweep, sweepShare*spent)
		}
		wait.Any(ctx, words, me.wake, pause)
	}
}

// take takes the first lock that is free, or whose owner is dead, and returns its
// number. If there is none, it returns -1.
func (s *Set) take(look *sweep) int {
	for i := range s.cells {
		c := &s.cells[i]
		switch w := c.Word.Load(); {
		case w == 0:
			if c.Word.CompareAndSwap(0, s.party.ID()) {
				killpoint.At(killpoint.LockedAny)
				return i
			}
		case w&format.OwnerMask == 0: // reserved for one that waits for just this lock
			look.elsewhere = true
			if s.party.MayProbe(&c.Probed, probeEvery) && c.Word.CompareAndSwap(w, s.party.ID()|w) {
				killpoint.At(killpoint.LockedAnyReserved)
				return i
			}
		case look.dead(w&format.OwnerMask, c) && s.party.replace(c, w):
			return i
		}
	}
	return -1
}

// never is the time between two probes in a sweep that makes none.
const never = time.Duration(-1)

// sweep is one look at all locks of a Set. It probes each owner once.
type sweep struct {
	party      *Party
	everyOwner bool          // whenever the last probe was
	every      time.Duration // time since the last probe by any process
	owners     map[uint32]bool
	elsewhere  bool // another process has one of the locks, or one is reserved
}

// dead reports whether the owner of a cell is dead. The process that sweeps is alive.
func (s *sweep) dead(owner uint32, c *format.LockCell) bool {
	if owner == s.party.ID() {
		return false
	}
	s.elsewhere = true
	dead, asked := s.owners[owner]
	if asked {
		return dead
	}
	dead = s.party.Dead(owner)
	if !dead && (s.everyOwner || s.every != never && s.party.MayProbe(&c.Probed, s.every)) {
		dead = !s.party.Alive(owner)
	}
	if s.owners == nil {
		s.owners = map[uint32]bool{}
	}
	s.owners[owner] = dead
	return dead
}

// hints has the owners of whose deaths the system is to tell one waiter.
type hints struct {
	party *Party
	wake  func()
	of    map[uint32]*hint
}

type hint struct {
	death *sys.Death // nil if the system cannot tell, or has told
	fired atomic.Bool
}

// watch has just the owners that a sweep has found watched, as many as may be, and
// reports whether that is all of them.
func (h *hints) watch(owners map[uint32]bool) (all bool) {
	for id, w := range h.of {
		if _, still := owners[id]; !still {
			w.death.Close()
			delete(h.of, id)
		}
	}
	all = true
	for id := range owners {
		w := h.of[id]
		if w == nil && len(h.of) < maxHints {
			death, added := h.party.WatchDeath(id), new(hint)
			added.death = death
			h.of[id] = added
			if w = added; death != nil {
				go func() {
					if death.Exited() {
						added.fired.Store(true)
						h.wake()
					}
				}()
			}
		}
		all = all && w != nil && w.death != nil && !w.fired.Load()
	}
	return all
}

// reported reports whether the system has told of a death since the last call.
func (h *hints) reported() (any bool) {
	for _, w := range h.of {
		if w.death != nil && w.fired.Load() {
			// If the lease is held still, probes find out the rest.
			w.death.Close()
			w.death, any = nil, true
		}
	}
	return any
}

func (h *hints) close() {
	for _, w := range h.of {
		w.death.Close()
	}
}

// OwnerOf returns the id of a lock's owner; 0 if it is free.
func OwnerOf(cell *format.LockCell) uint32 { return cell.Word.Load() & format.OwnerMask }
