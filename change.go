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
			futexWake(&c.word, math.MaxInt32, anyBit)
			return
		}
	}
}

// lobby is where this process's goroutines wait for one changeWord: one of
// them sleeps in the kernel, the others wait for it in Go.
type lobby struct {
	mu       sync.Mutex
	sleeping bool
	woken    chan struct{} // closed when the one in the kernel comes back
}

// The first time-outs of a wait are short: they heal a change whose maker was
// killed before it could wake anybody.
const (
	firstLook    = 4 * time.Millisecond
	lastLook     = 4 * time.Second
	readOnlyLook = 250 * time.Millisecond // who cannot announce itself looks this often
)

// wait returns when ok does, with its error, or with the context's. ok is
// called again after each change; word is in m.
func (l *lobby) wait(ctx context.Context, m *mapping, word *changeWord, ok func() (bool, error)) error {
	for pause := firstLook; ; pause *= 2 {
		l.mu.Lock()
		if l.woken == nil {
			l.woken = make(chan struct{})
		}
		woken := l.woken // taken before ok looks, so no wake-up in between is missed
		l.mu.Unlock()
		var seen uint32
		longest := lastLook
		if m.readOnly {
			seen, longest = word.word.Load(), readOnlyLook
		} else {
			seen = word.announce()
		}
		if done, err := ok(); done || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if pause = min(pause, longest); !l.sleep(ctx, m, word, seen, pause) {
			select {
			case <-woken:
			case <-ctx.Done():
				return ctx.Err()
			}
			pause = firstLook / 2 // another did the waiting: its time-outs count
		}
	}
}

// sleep sleeps in the kernel for all of this process, unless somebody does.
func (l *lobby) sleep(ctx context.Context, m *mapping, word *changeWord, seen uint32, d time.Duration) bool {
	l.mu.Lock()
	if l.sleeping {
		l.mu.Unlock()
		return false
	}
	l.sleeping = true
	l.mu.Unlock()
	kernelSleep(ctx, &word.word, seen, m.wakeBit(), d)
	l.mu.Lock()
	l.sleeping = false
	close(l.woken)
	l.woken = make(chan struct{})
	l.mu.Unlock()
	return true
}

// kernelSlots bounds the goroutines of this process that sleep in the kernel,
// each of which holds a thread.
var kernelSlots = make(chan struct{}, 32)

// kernelSleep sleeps while *word is seen, for at most d, or until ctx is done.
// With all slots taken it sleeps in Go instead, for a time that is short
// enough to look again and long enough to cost nothing.
func kernelSleep(ctx context.Context, word *atomic.Uint32, seen, bit uint32, d time.Duration) {
	select {
	case kernelSlots <- struct{}{}:
		defer func() { <-kernelSlots }()
	default:
		t := time.NewTimer(min(d, 20*time.Millisecond))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return
	}
	defer wakeWhenDone(ctx, word, bit)()
	futexWait(word, seen, bit, d)
}

// wakeWhenDone wakes the sleepers of a bit once ctx is done, again and again
// until the returned function is called: a sleeper may be on its way to sleep.
func wakeWhenDone(ctx context.Context, word *atomic.Uint32, bit uint32) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	var up atomic.Bool
	cancel := context.AfterFunc(ctx, func() {
		for !up.Load() {
			futexWake(word, math.MaxInt32, bit)
			time.Sleep(time.Millisecond)
		}
	})
	return func() {
		up.Store(true)
		cancel()
	}
}
