package shm

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// changeWord is a futex word that counts changes. Bit 0 says that somebody
// awaits the next one, so that a change which nobody awaits costs one load.
//
// Who waits announces itself, reads the word, then looks at what it waits for,
// then sleeps while the word is unchanged. Who changes something does so first
// and looks at the bit afterwards: in the total order of these atomics either
// the one sees the bit or the other sees the change.
type changeWord struct{ word atomic.Uint32 }

const awaited = 1

// announce sets bit 0 and returns the word to sleep on.
func (c *changeWord) announce() uint32 {
	for {
		w := c.word.Load()
		if w&awaited != 0 || c.word.CompareAndSwap(w, w|awaited) {
			killPoint(24)
			return w | awaited
		}
	}
}

// changed wakes those who announced themselves; all others cost it one load.
// It is called after the change can be seen.
func (c *changeWord) changed() {
	if c.word.Load()&awaited != 0 {
		c.wakeAll()
	}
}

func (c *changeWord) wakeAll() {
	for {
		w := c.word.Load()
		if c.word.CompareAndSwap(w, (w&^awaited)+2) {
			killPoint(25)
			futexWake(&c.word, math.MaxInt32, anyBit)
			return
		}
	}
}

// lobby is where this process's goroutines wait for one changeWord: one of
// them sleeps in the kernel, the others wait for it in Go.
//
// Invariant: while there are guests, one of them sleeps in the kernel, or is
// awake and will look at the word before it sleeps. Whoever finds there another
// word than the guests know wakes them all.
type lobby struct {
	mu       sync.Mutex
	guests   map[*guest]struct{}
	sleeping bool          // one of them, in the kernel
	seen     uint32        // the word that all of them know
	pause    time.Duration // of the next sleep
}

// guest is a goroutine that waits in a lobby.
type guest struct {
	wake    chan struct{} // one token; it may be stale, so who takes it looks again
	version func() uint64 // of what the guest looks at
	looked  uint64        // the version it has seen
}

func (g *guest) signal() { leaveToken(g.wake) }

// A sleep's time-outs heal a change whose maker was killed before it could wake
// anybody, so they start short and grow.
const (
	firstLook    = 4 * time.Millisecond
	lastLook     = 4 * time.Second
	readOnlyLook = 250 * time.Millisecond // who cannot announce itself looks this often
)

// wait returns when ok does, with its error, or with the context's. ok is
// called again after each change; word is in m. version tells without ok, whose
// code is the user's, that something has changed of which the word says nothing.
func (l *lobby) wait(ctx context.Context, m *mapping, word *changeWord, version func() uint64, ok func() (bool, error)) error {
	g := &guest{wake: make(chan struct{}, 1), version: version}
	defer l.leave(g)
	for {
		seen := l.look(m, word, g)
		if done, err := ok(); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if pause, ok := l.enter(seen); ok {
			at := &post{awaitedWord{&word.word, seen}, g.wake, l.missed, m.longestLook()}
			if !awaitChange(ctx, at, m.wakeBit(), pause) && !lookOut(ctx, at) {
				patrols.sleep(ctx, at, pause)
			}
			l.back(m, word, g, seen)
			continue
		}
		select {
		case <-g.wake:
		case <-ctx.Done():
		}
	}
}

// awaitChange is kernelSleep within the slots of those who await changes, who
// sleep longest: the others are for locks.
func awaitChange(ctx context.Context, at *post, bit uint32, d time.Duration) bool {
	if !awaitSlots.take() {
		return false
	}
	defer awaitSlots.giveBack()
	return kernelSleep(ctx, at.word, at.seen, bit, d)
}

// look announces a guest, and returns the word on which it may sleep if what it
// looks at afterwards is not what it waits for.
func (l *lobby) look(m *mapping, word *changeWord, g *guest) (seen uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen = word.word.Load(); !m.readOnly {
		seen = word.announce()
	}
	if l.guests == nil {
		l.guests = map[*guest]struct{}{}
	}
	if seen|awaited != l.seen {
		l.seen, l.pause = seen|awaited, firstLook
		for other := range l.guests {
			other.signal()
		}
	}
	l.guests[g] = struct{}{}
	g.looked = g.version()
	return seen
}

// enter reports whether its caller is the one to sleep in the kernel, and for
// how long.
func (l *lobby) enter(seen uint32) (pause time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sleeping || seen|awaited != l.seen { // one who lags behind has a token
		return 0, false
	}
	l.sleeping = true
	return l.pause, true
}

// back ends a sleep. After a time-out it wakes those who missed something, and
// one in any case: that one sleeps in g's stead, whose ok may take its time.
func (l *lobby) back(m *mapping, word *changeWord, g *guest, seen uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sleeping = false
	if word.word.Load() != seen {
		return // g looks, and tells the others
	}
	l.pause = min(2*l.pause, m.longestLook())
	relieved := false
	for other := range l.guests {
		if other != g && (!relieved || other.version() != other.looked) {
			other.signal()
			relieved = true
		}
	}
}

// missed reports whether a guest has yet to look at a change.
func (l *lobby) missed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for g := range l.guests {
		if g.version() != g.looked {
			return true
		}
	}
	return false
}

func (m *mapping) longestLook() time.Duration {
	if m.readOnly {
		return readOnlyLook
	}
	return lastLook
}

// rouse makes all guests look, for a reason of which the word says nothing. One
// who is about to sleep in the kernel may look at its time-out only.
func (l *lobby) rouse(m *mapping, word *changeWord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for g := range l.guests {
		g.signal()
	}
	if len(l.guests) > 0 {
		futexWake(&word.word, math.MaxInt32, m.wakeBit())
	}
}

// leave sees to it that the other guests have somebody in the kernel.
func (l *lobby) leave(g *guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.guests, g)
	if l.sleeping {
		return
	}
	for other := range l.guests {
		other.signal()
		return
	}
}
