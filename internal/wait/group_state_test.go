//go:build linux

package wait

import (
	"testing"
	"time"

	"example.org/shm/internal/format"
)

// The time-outs of a sleep heal a wake-up that is missing, so no test that waits
// sees it. These tests take the steps of Wait one by one.

// join adds a sleeper as Wait does, and looks.
func (x number) join() (s *sleeper, seen uint32) {
	s = &sleeper{wake: make(chan struct{}, 1), version: x.n.Load}
	return s, x.look(readWrite, x.word, s)
}

// tokens takes the tokens of sleepers and returns who had one.
func tokens(sleepers ...*sleeper) (had []bool) {
	for _, s := range sleepers {
		select {
		case <-s.wake:
			had = append(had, true)
		default:
			had = append(had, false)
		}
	}
	return had
}

// count returns how many are true.
func count(all []bool) (n int) {
	for _, x := range all {
		if x {
			n++
		}
	}
	return n
}

// Whoever finds a word that the sleepers do not know tells all others.
func TestLook(t *testing.T) {
	x := newNumber()
	a, seen := x.join()
	b, _ := x.join()
	c, again := x.join()
	if seen != again || seen != format.Awaited || count(tokens(a, b, c)) != 0 || x.pause != firstLook {
		t.Fatalf("the word was %#x and %#x, and %d sleepers are woken for nothing", seen, again, count(tokens(a, b, c)))
	}
	x.pause = lastLook
	x.set(1)
	seen = x.look(readWrite, x.word, b)
	if had := tokens(a, b, c); !had[0] || had[1] || !had[2] {
		t.Errorf("woken are %v, by the second one, who has found a change", had)
	}
	if x.pause != firstLook || seen != x.word.Word.Load() || seen&format.Awaited == 0 {
		t.Errorf("after a change the next sleep takes %v; the word is %#x and was seen as %#x", x.pause, x.word.Word.Load(), seen)
	}
	x.look(readWrite, x.word, a)
	x.look(readWrite, x.word, c)
	if n := count(tokens(a, b, c)); n != 0 || x.missed() {
		t.Errorf("%d are woken by those who look at what was found", n)
	}
	x.n.Add(1)
	if !x.missed() {
		t.Error("nobody is said to have missed what nobody was told")
	}
}

// One sleeps at a time, and only on a word that all know.
func TestEnter(t *testing.T) {
	x := newNumber()
	_, seen := x.join()
	x.pause = time.Second
	if pause, ok := x.enter(readWrite, seen+2); ok {
		t.Errorf("on a word that is not the others': for %v", pause)
	}
	if pause, ok := x.enter(readWrite, seen); !ok || pause != time.Second || !x.sleeping {
		t.Errorf("the first one: %v for %v", ok, pause)
	}
	if _, ok := x.enter(readWrite, seen); ok {
		t.Error("two sleep")
	}
	x.sleeping = false
	x.current = false
	if _, ok := x.enter(readWrite, seen); ok {
		t.Error("one sleeps that has to look again")
	}
}

// After a time-out the next sleep is longer, up to a limit, and another one takes
// over; with it all that have missed something.
func TestBack(t *testing.T) {
	x := newNumber()
	a, seen := x.join()
	b, _ := x.join()
	c, _ := x.join()
	var pauses []time.Duration
	for range 12 {
		pause, ok := x.enter(readWrite, seen)
		if !ok {
			t.Fatal("nobody sleeps, and nobody may")
		}
		pauses = append(pauses, pause)
		x.back(x.word, a, seen)
		if had := tokens(a, b, c); had[0] || count(had) != 1 {
			t.Fatalf("after a time-out of the first one these are woken: %v", had)
		}
	}
	if pauses[0] != firstLook || pauses[1] != 2*firstLook || pauses[11] != lastLook {
		t.Errorf("sleeps of %v", pauses)
	}
	// Something was missed: by the first one and the second one, not by the third.
	x.enter(readWrite, seen)
	x.n.Add(1)
	c.looked = c.version()
	x.back(x.word, a, seen)
	if had := tokens(a, b, c); had[0] || !had[1] {
		t.Errorf("woken are %v, where the second one has missed something", had)
	}

	// The word has changed: whoever was asleep looks, and tells the others.
	x.enter(readWrite, seen)
	x.set(9)
	pause := x.pause
	x.back(x.word, a, seen)
	if n := count(tokens(a, b, c)); n != 0 || x.pause != pause || x.sleeping {
		t.Errorf("after a change %d are woken before the sleeper has looked", n)
	}
}

// One that was told of a word is announced for it. It comes back to the list if nothing
// has changed since, and otherwise looks again.
func TestTold(t *testing.T) {
	x := newNumber()
	a, old := x.join()
	b, _ := x.join()
	c, _ := x.join()
	x.enter(readWrite, old) // a, in the kernel
	x.set(1)
	seen := x.look(readWrite, x.word, b)
	for what, s := range map[string]*sleeper{"the one in the kernel": a, "the other": c} {
		if s.listed || s.told.Load() != told|uint64(seen) || !tokens(s)[0] {
			t.Errorf("%s is not told of the word %#x", what, seen)
		}
	}
	if !b.listed || b.told.Load() != 0 || x.sleepers.n != 1 || tokens(b)[0] {
		t.Error("the one that has found the change was told, or is not in the list")
	}
	if x.rejoin(c, old) || x.rejoin(c, seen+2) || c.listed {
		t.Error("the other sleeps on a word that is not the last")
	}
	if !x.rejoin(c, seen) || !c.listed || x.sleepers.n != 2 {
		t.Error("the other may not sleep on the last word")
	}
	// a, in the kernel, has been told, and may have all that it waits for.
	if _, ok := x.enter(readWrite, seen); ok {
		t.Error("two sleep")
	}
	x.back(x.word, a, old)
	if had := tokens(b, c); count(had) != 1 {
		t.Errorf("the one that was told leaves the kernel, and woken to take its place are %v", had)
	}
	x.current = false
	x.leave(readWrite, c)
	if x.rejoin(c, seen) {
		t.Error("one comes back that has to look")
	}
	x.leave(readWrite, b)
	x.rest(t)
}

// Whoever leaves wakes one of the others, unless one of them sleeps.
func TestLeave(t *testing.T) {
	x := newNumber()
	a, seen := x.join()
	b, _ := x.join()
	c, _ := x.join()
	x.enter(readWrite, seen)
	x.leave(readWrite, a)
	if n := count(tokens(b, c)); n != 0 {
		t.Errorf("%d are woken, while one sleeps", n)
	}
	x.sleeping = false
	x.leave(readWrite, b)
	if !tokens(c)[0] {
		t.Error("nobody sleeps, and nobody is woken to")
	}
	x.leave(readWrite, c)
	x.rest(t)
}

// Sleepers that cannot announce themselves ask for it before each sleep on a word in which
// nobody is announced. Once somebody is, all look again, and then sleep as others do.
func TestUnannounced(t *testing.T) {
	x := newNumber()
	join := func() (*sleeper, uint32) {
		s := &sleeper{wake: make(chan struct{}, 1), version: x.n.Load}
		return s, x.look(readOnly, x.word, s)
	}
	asks, ends := asked.Load(), withdrawn.Load()
	check := func(what string, wantAsks, wantEnds int64) {
		t.Helper()
		if a, e := asked.Load()-asks, withdrawn.Load()-ends; a != wantAsks || e != wantEnds {
			t.Errorf("%s: asked %d times and withdrew %d times, want %d and %d", what, a, e, wantAsks, wantEnds)
		}
	}
	a, seen := join()
	b, _ := join()
	check("who only looks", 0, 0)
	var pauses []time.Duration
	for range 10 {
		pause, ok := x.enter(readOnly, seen)
		if !ok {
			t.Fatal("nobody sleeps, and nobody may")
		}
		pauses = append(pauses, pause)
		x.back(x.word, a, seen)
		tokens(a, b)
	}
	check("ten sleeps", 10, 0)
	if pauses[0] != unannouncedLook || pauses[9] != lastUnannouncedLook {
		t.Errorf("sleeps of %v", pauses)
	}
	x.n.Store(1) // nobody is told: the bit was clear
	AnnounceOthers(x.word)
	if seen = x.look(readOnly, x.word, a); seen != format.Awaited || x.pause != firstLook {
		t.Errorf("announced, the word is %#x, and the next sleep takes %v", seen, x.pause)
	}
	if !tokens(b)[0] {
		t.Error("one that looked before it was announced is not woken")
	}
	check("announced", 10, 1)
	x.enter(readOnly, seen)
	x.back(x.word, a, seen)
	check("a sleep on an announced word", 10, 1)
	x.set(2)
	seen = x.look(readOnly, x.word, a)
	x.look(readOnly, x.word, b)
	x.enter(readOnly, seen)
	x.back(x.word, a, seen)
	check("after a change", 11, 1)
	x.leave(readOnly, a)
	check("one of two has left", 11, 1)
	x.leave(readOnly, b)
	check("all have left", 11, 2)
	x.rest(t)
}
