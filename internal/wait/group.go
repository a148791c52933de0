package wait

import (
	"context"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// Group has the goroutines of this process that await changes of one word. One
// of them sleeps in the kernel, the others wait for it in Go. The zero value is
// empty.
//
// Invariant: while there are sleepers in the list, one goroutine sleeps in the kernel, or
// one of them is awake and will look at the word before it sleeps. A goroutine that finds
// another word than the sleepers know announces them for it, takes them out of the list
// and wakes them all.
type Group struct {
	mu       sync.Mutex
	sleepers sleeperList   // that know the word
	sleeping bool          // one of them, in the kernel
	sleeps   uint64        // how often one of them went to sleep there
	seen     uint32        // the word that all of them know, if current
	current  bool          // else they have to look again
	asks     bool          // m.Ask was called after the last m.Withdraw
	pause    time.Duration // of the next sleep
}

// Mapping is what a group needs to know about the mapping that the word is in.
type Mapping interface {
	WakeBit() uint32 // the futex bit of its sleepers
	ReadOnly() bool  // its sleepers cannot announce themselves

	// Ask asks a process that may write to announce the sleepers, until Withdraw.
	// Both are called only for a read-only mapping, and not by two goroutines at once.
	Ask()
	Withdraw()
}

// looks returns how long the first sleep on a word takes that nothing ends, and the
// longest one.
func looks(seen uint32) (first, last time.Duration) {
	if seen&format.Awaited == 0 {
		return unannouncedLook, lastUnannouncedLook
	}
	return firstLook, lastLook
}

// Wait returns nil when ok returns true, ok's error if it returns one, or the
// context's error when ctx is done. It calls ok again after each change. The result
// of version changes also with changes that the word does not count, and version
// runs no code of the user's.
//
// Preconditions: the caller keeps m, in which word is, alive.
func (g *Group) Wait(ctx context.Context, m Mapping, word *format.ChangeWord, version func() uint64, ok func() (bool, error)) error {
	if b := InBubble(); b != nil {
		return waitBubbled(ctx, b, m, word, ok)
	}
	s := &sleeper{wake: make(chan struct{}, 1), version: guarded(version)}
	defer func() {
		if !s.out || m.ReadOnly() {
			g.leave(m, s)
		}
	}()
	for {
		var seen uint32
		if w := s.told.Swap(0); w != 0 {
			seen, s.out = uint32(w), true
			s.looked = s.version()
		} else {
			seen, s.out = g.look(m, word, s), false
		}
		if done, err := ok(); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.out && !g.rejoin(s, seen) {
			continue
		}
		s.out = false
		if pause, ok := g.enter(m, seen); ok {
			_, longest := looks(seen)
			w := &wordWaiter{Word: sys.Word{Addr: &word.Word, Seen: seen}, wake: s.wake, missed: g.missed, every: longest}
			if seen&format.Awaited == 0 { // ask again when the time is over
				w.missed, w.every = always, pause
			}
			if !inChangeSlot(ctx, w, m.WakeBit(), pause) && !sleepWithOthers(ctx, w) {
				sleepPolled(ctx, w)
			}
			g.back(word, s, seen)
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// waitBubbled is Wait of a Group for a goroutine in a bubble.
func waitBubbled(ctx context.Context, b *Bubbled, m Mapping, word *format.ChangeWord, ok func() (bool, error)) error {
	defer joinBubbled(&word.Word, b)()
	for {
		seen := word.Word.Load()
		if !m.ReadOnly() {
			seen = Announce(word)
		}
		if done, err := ok(); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b.SleepOn(ctx, &word.Word, seen, m.WakeBit())
	}
}

// guarded returns a version that another goroutine may ask for. If there is no memory
// behind what it looks at, because somebody has cut the file off, it differs from all
// others, and the goroutine that looks next finds that out by itself.
func guarded(version func() uint64) func() uint64 {
	return func() (n uint64) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if recover() != nil {
				n = math.MaxUint64
			}
		}()
		return version()
	}
}

// inChangeSlot is Kernel for a change word, within the slots of goroutines that await
// changes. They sleep longest, and the other slots are for locks.
func inChangeSlot(ctx context.Context, w *wordWaiter, bit uint32, d time.Duration) bool {
	if !changeSlots.take() {
		return false
	}
	defer changeSlots.giveBack()
	return kernel(ctx, sys.FutexWaitChange, w.Addr, w.Seen, bit, d)
}

// look announces a sleeper. It returns the word on which the sleeper may sleep if
// what it looks at afterwards is not what it waits for.
//
// If the word is new, look takes all others out of the list, and tells each that it is
// announced for this word. Most of them need the group no more then, so they do not wait
// for each other at its mutex.
func (g *Group) look(m Mapping, word *format.ChangeWord, s *sleeper) (seen uint32) {
	var some [16]chan struct{}
	seen, others := g.announce(m, word, s, some[:0])
	for _, wake := range others {
		Signal(wake)
	}
	return seen
}

// announce is look but for the signals: it appends whom to signal to others. The word may
// have no memory any more, so a deferred call unlocks.
func (g *Group) announce(m Mapping, word *format.ChangeWord, s *sleeper, others []chan struct{}) (seen uint32, _ []chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if seen = word.Word.Load(); !m.ReadOnly() {
		seen = Announce(word)
	}
	if g.asks && seen&format.Awaited != 0 {
		m.Withdraw()
		g.asks = false
	}
	if seen != g.seen || !g.current {
		g.seen, g.current = seen, true
		g.pause, _ = looks(seen)
		g.sleepers.remove(s)
		others = slices.Grow(others, g.sleepers.n)
		for other := g.sleepers.first; other != nil; other = g.sleepers.first {
			g.sleepers.remove(other)
			other.told.Store(told | uint64(seen))
			others = append(others, other.wake)
		}
	}
	s.told.Store(0) // it looks itself
	g.sleepers.add(s)
	s.looked = s.version()
	return seen, others
}

// rejoin puts a sleeper back that was told of a word, and has not found there what it
// waits for. It reports whether that word is still the last that anybody has found.
func (g *Group) rejoin(s *sleeper, seen uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if seen != g.seen || !g.current {
		return false
	}
	g.sleepers.add(s)
	return true
}

// enter reports whether its caller is the one to sleep in the kernel, and for
// how long. If nobody is announced in the word, it asks for that.
func (g *Group) enter(m Mapping, seen uint32) (pause time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sleeping || seen != g.seen || !g.current { // a sleeper that lags behind has a token
		return 0, false
	}
	if seen&format.Awaited == 0 {
		g.asks = true
		m.Ask()
	}
	g.sleeping = true
	g.sleeps++
	return g.pause, true
}

// back ends a sleep. After a time-out it wakes those that missed something, and
// at least one: that one sleeps in place of s, whose ok may take long.
func (g *Group) back(word *format.ChangeWord, s *sleeper, seen uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sleeping = false
	if word.Word.Load() != seen {
		// s looks, and tells the others, unless it was told itself: then those that have
		// come back to the list look for themselves.
		if other := g.sleepers.first; other != nil && !s.listed {
			Signal(other.wake)
		}
		return
	}
	_, longest := looks(seen)
	g.pause = min(2*g.pause, longest)
	relieved := false
	for other := range g.sleepers.all() {
		if other != s && (!relieved || other.version() != other.looked) {
			Signal(other.wake)
			relieved = true
		}
	}
}

func always() bool { return true }

// missed reports whether a sleeper has yet to look at a change.
func (g *Group) missed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.sleepers.all() {
		if s.version() != s.looked {
			return true
		}
	}
	return false
}

// WakeAll makes all sleepers look, for a reason that the word does not count. It
// returns when none of them sleeps in the kernel any more.
func (g *Group) WakeAll(m Mapping, word *format.ChangeWord) {
	const tries = 1000 // where a file was cut off, no wake-up reaches a sleeper
	sleep := g.Tell(m, word)
	for i := 0; i < tries && g.goesOn(sleep); i++ {
		// It was on its way to sleep when it was woken.
		sys.FutexWake(&word.Word, math.MaxInt32, m.WakeBit())
		time.Sleep(time.Millisecond)
	}
}

// Tell is WakeAll that does not wait. It returns the number of the sleep in the kernel
// that it has ended, unless that was about to begin; 0 if there is none.
func (g *Group) Tell(m Mapping, word *format.ChangeWord) (sleep uint64) {
	signalBubbled(&word.Word)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sleepers.n == 0 && !g.sleeping {
		return 0
	}
	g.current = false // none enters a sleep before it has looked
	for s := range g.sleepers.all() {
		Signal(s.wake)
	}
	if !g.sleeping {
		return 0
	}
	sys.FutexWake(&word.Word, math.MaxInt32, m.WakeBit())
	return g.sleeps
}

// goesOn reports whether the sleep of that number has not ended.
func (g *Group) goesOn(sleep uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sleeping && g.sleeps == sleep
}

// leave makes sure that the other sleepers have one of them in the kernel.
func (g *Group) leave(m Mapping, s *sleeper) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sleepers.remove(s)
	if g.asks && g.sleepers.n == 0 {
		m.Withdraw()
		g.asks = false
	}
	if g.sleeping {
		return
	}
	if other := g.sleepers.first; other != nil {
		Signal(other.wake)
	}
}
