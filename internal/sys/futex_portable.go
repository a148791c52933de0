//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Where the system cannot sleep on a word, a goroutine sleeps in Go. A waker of the same
// process finds it by the address of the word, one of another process in the table of
// the segment's lease file (wakeTable).

const (
	// A sleeper looks at the word all the time at first: two processes that hand a lock to
	// and fro do so within a microsecond. It does so for long if that helped lately, and else
	// for a short time, see end.
	longLook  = 50 * time.Microsecond
	shortLook = 3 * time.Microsecond
	shortWait = 200 * time.Microsecond
	looks     = 32 // between two readings of the clock
	// A sleeper that no waker can find looks after an eighth of the time that it has slept.
	shortestPause = 20 * time.Microsecond
	longestPause  = 20 * time.Millisecond
	// The others look from time to time too: a waker may have been killed halfway.
	careful = time.Second
)

// sleeper is a goroutine that sleeps on a word, or one word of several.
type sleeper struct {
	word  *atomic.Uint32
	seen  uint32
	bits  uint32
	wake  chan struct{}  // one token
	slot  *atomic.Uint64 // its entry in a wakeTable; nil: none
	entry uint64
	woken bool // a token is in wake; guarded by the lock of sleepers
}

// sleepers has the sleepers of this process by their word.
var sleepers = struct {
	sync.Mutex
	on map[*atomic.Uint32][]*sleeper
}{on: map[*atomic.Uint32][]*sleeper{}}

func (s *sleeper) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// changed reports whether the word is no longer what was seen, and whether there is memory
// behind it.
func (s *sleeper) changed() (changed, mapped bool) {
	mapped = withoutFault(func() { changed = s.word.Load() != s.seen })
	return changed, mapped
}

// enter makes the sleeper known to wakers. After that the word is looked at once more.
func (s *sleeper) enter() {
	sleepers.Lock()
	sleepers.on[s.word] = append(sleepers.on[s.word], s)
	sleepers.Unlock()
	if file, off, found := mappingOf(s.word); found {
		if p := placeOf(file); p != nil {
			p.table.enter(s, wordTag(file, off))
		}
	}
}

func (s *sleeper) leave() {
	if s.slot != nil {
		withoutFault(func() { s.slot.CompareAndSwap(s.entry, 0) })
	}
	sleepers.Lock()
	defer sleepers.Unlock()
	rest := slices.DeleteFunc(sleepers.on[s.word], func(other *sleeper) bool { return other == s })
	if len(rest) == 0 {
		delete(sleepers.on, s.word)
		return
	}
	sleepers.on[s.word] = rest
}

// withoutFault calls f and reports whether there was memory behind all that it touched.
func withoutFault(f func()) (there bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { there = recover() == nil }()
	f()
	return true
}

// FutexWait sleeps while *word is value, for at most d, or until FutexWake names
// one of the bits. It returns early for no reason, so callers look at the word again. It
// returns at once if *word is not value. In a bubble it blocks the thread.
//
// Preconditions: word is in memory that stays mapped during the call. It is private to
// this process, or in what Map returned.
func FutexWait(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	if inBubble(time.Since(monotonicStart)) {
		sleepInBubble(word, value, d)
		return
	}
	w := startSpin()
	defer w.end()
	if w.spin(func() bool { return differs(word, value, looks) }, d) {
		return
	}
	s := &sleeper{word: word, seen: value, bits: bits, wake: make(chan struct{}, 1)}
	_, _ = sleepOn([]*sleeper{s}, s.wake, d)
}

// differs looks at a word so many times, and reports whether it is not what was seen, or
// has no memory behind it.
func differs(word *atomic.Uint32, seen uint32, times int) (yes bool) {
	return !withoutFault(func() {
		for i := 0; i < times && !yes; i++ {
			yes = word.Load() != seen
		}
	}) || yes
}

// FutexWaitChange is FutexWait for a word all of whose sleepers FutexWakeChanged wakes.
func FutexWaitChange(word *atomic.Uint32, value, bits uint32, d time.Duration) {
	FutexWait(word, value, bits, d)
}

// FutexWaitAny sleeps while each word is what was seen, for at most d, and reports
// whether that time was over. It returns early for no reason. It takes at most 128 words.
// The error is unix.EINVAL for no words and for too many, and unix.EFAULT for a word that
// is not mapped.
func FutexWaitAny(words []Word, d time.Duration) (late bool, err error) {
	if len(words) == 0 || len(words) > 128 {
		return false, unix.EINVAL
	}
	wake := make(chan struct{}, 1)
	all := make([]*sleeper, len(words))
	for i, w := range words {
		all[i] = &sleeper{word: w.Addr, seen: w.Seen, bits: AnyBit, wake: wake}
		if changed, mapped := all[i].changed(); !mapped {
			return false, unix.EFAULT
		} else if changed {
			return false, nil
		}
	}
	w := startSpin()
	defer w.end()
	changed := func() bool {
		return slices.ContainsFunc(all, func(s *sleeper) bool { return differs(s.word, s.seen, 1) })
	}
	_ = w.spin(changed, d) // sleepOn looks what it is
	return sleepOn(all, wake, d)
}

// CanWaitAny returns true.
func CanWaitAny() bool { return true }

// CanAsk returns false: a process that may only read cannot tell others that it waits.
func CanAsk() bool { return false }

// sleepOn sleeps until one of the words has changed, wake has a token, or the time is
// over, which it reports.
func sleepOn(all []*sleeper, wake chan struct{}, d time.Duration) (late bool, err error) {
	began := time.Now()
	look := func() (done bool, err error) {
		for _, s := range all {
			changed, mapped := s.changed()
			if !mapped {
				return true, unix.EFAULT
			}
			if changed {
				return true, nil
			}
		}
		return false, nil
	}
	blind := false // a waker may not find one of them
	for _, s := range all {
		s.enter()
		defer s.leave()
		blind = blind || s.slot == nil && isMapped(s.word)
	}
	t := time.NewTimer(0)
	defer t.Stop()
	<-t.C
	for {
		if done, err := look(); done {
			return false, err
		}
		waited := time.Since(began)
		if waited >= d {
			return true, nil
		}
		pause := careful
		if blind {
			pause = min(max(waited/8, shortestPause), longestPause)
			for _, s := range all {
				s.announceBlind()
			}
		}
		t.Reset(min(pause, d-waited))
		select {
		case <-wake:
			return false, nil
		case <-t.C:
		}
	}
}

// sleepInBubble looks at the word until it has changed or d of the system's time is over.
// No other goroutine serves it, and no channel of it is used outside of the bubble.
func sleepInBubble(word *atomic.Uint32, seen uint32, d time.Duration) {
	for end := Monotonic() + int64(d); !differs(word, seen, 1); {
		left := end - Monotonic()
		if left <= 0 {
			return
		}
		t := unix.NsecToTimeval(min(left, int64(200*time.Microsecond)))
		_, _ = unix.Select(0, nil, nil, nil, &t) // a signal ends it early
	}
}

// announceBlind tells wakers that a sleeper may be there whom they cannot find.
func (s *sleeper) announceBlind() {
	if s.slot != nil {
		return
	}
	if file, _, found := mappingOf(s.word); found {
		if p := placeOf(file); p != nil {
			p.table.blind()
		}
	}
}

// FutexWakeChanged wakes all who sleep on a word by FutexWaitChange or FutexWaitAny and
// have seen one of the values, in all processes; it may wake others. It is called after
// the word has changed. It does not block. If word is no longer mapped, it wakes nobody.
func FutexWakeChanged(word *atomic.Uint32, _ ...uint32) { FutexWake(word, math.MaxInt32, AnyBit) }

// FutexWake wakes up to n sleepers of FutexWait that wait for one of the bits, and
// returns 0 only if certainly nobody sleeps there. With AnyBit they may be in any process.
// With other bits it reaches all sleepers of this process that have one of them, also
// those of FutexWaitChange, and may reach others. It may wake more than n. It does not
// block. If word is no longer mapped, it wakes nobody.
func FutexWake(word *atomic.Uint32, n int, bits uint32) (woken int) {
	file, off, shared := mappingOf(word)
	// One that is in a table is taken out of it there, so that it is woken once.
	woken = wakeHere(word, n, bits, !shared || bits != AnyBit)
	if !shared || bits != AnyBit || woken >= n {
		return woken
	}
	p := placeOf(file)
	if p == nil {
		return max(woken, 1)
	}
	return woken + p.table.wake(wordTag(file, off), n-woken)
}

// wakeHere wakes sleepers of this process, those in a table only if all is true.
func wakeHere(word *atomic.Uint32, n int, bits uint32, all bool) (woken int) {
	sleepers.Lock()
	defer sleepers.Unlock()
	for _, s := range sleepers.on[word] {
		if woken == n {
			break
		}
		if s.bits&bits != 0 && (all || s.slot == nil) && !s.woken {
			if s.slot != nil { // no other waker is to find it
				withoutFault(func() { s.slot.CompareAndSwap(s.entry, 0) })
			}
			s.woken = true
			s.signal()
			woken++
		}
	}
	return woken
}

// rungHere wakes the sleepers of this process whose entries wakers have taken.
func rungHere() {
	sleepers.Lock()
	defer sleepers.Unlock()
	for _, on := range sleepers.on {
		for _, s := range on {
			if s.slot != nil && s.slot.Load() != s.entry {
				s.woken = true
				s.signal()
			}
		}
	}
}

// wordTag returns a number for a word of a file.
func wordTag(file Key, off uint64) uint64 {
	h := file.Dev*0x9e3779b97f4a7c15 ^ file.Ino
	h = (h^h>>32)*0xd6e8feb86659fd93 + off
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

// anywhere returns a random number below n.
func anywhere(n int) int { return rand.IntN(n) } // #nosec G404 -- it only has to be different each time

// Asleep returns how many goroutines of this process sleep on a word, past their first
// looks and not woken. It is for tests.
func Asleep(word *atomic.Uint32) (n int) {
	sleepers.Lock()
	defer sleepers.Unlock()
	for _, s := range sleepers.on[word] {
		if !s.woken {
			n++
		}
	}
	return n
}
