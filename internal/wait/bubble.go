package wait

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/sys"
)

// In a bubble of testing/synctest, time is the bubble's own. It goes on only while all
// goroutines of the bubble wait for each other or for a time, and what is made inside
// must not be used outside: a channel that another goroutine of the process signals, or
// a goroutine that serves others. So a goroutine in a bubble waits by itself, for
// a while of the system's time, in which other processes and other goroutines of this
// one can do what it waits for, and then for a while of the bubble's time, in which
// the bubble's goroutines can.

// Bubbled is a goroutine in a bubble that waits. Its methods are for that goroutine,
// except Signal.
type Bubbled struct {
	id     uint64
	wake   chan struct{} // for goroutines of the bubble; one token
	rung   atomic.Uint32 // for all others
	rounds int
}

// InBubble returns a Bubbled for this goroutine, and nil outside of bubbles.
func InBubble() *Bubbled {
	id := sys.Bubble()
	if id == 0 {
		return nil
	}
	return &Bubbled{id: id, wake: make(chan struct{}, 1)}
}

// Signal ends the goroutine's sleep, or the next one. It may be called anywhere.
func (b *Bubbled) Signal() {
	b.rung.Store(1)
	sys.FutexWake(&b.rung, 1, sys.AnyBit)
	if id := sys.Bubble(); id == b.id && id != sys.UnknownBubble {
		Signal(b.wake)
	}
}

const (
	bubbleSleep = time.Millisecond // of the system's time
	// So many sleeps of the bubble's time are as long as those of the system's, so
	// that a time-out in a bubble leaves other processes some time. Later ones
	// double, since what the goroutine waits for may be an hour away in the bubble.
	bubbleEqual   = 20
	bubbleLongest = time.Second
)

// Sleep sleeps until Signal, until ctx is done, or for some time.
func (b *Bubbled) Sleep(ctx context.Context) {
	defer b.endWith(ctx)()
	if b.sleepFor(&b.rung, 0, sys.AnyBit, bubbleSleep) {
		b.let(b.pause())
	}
}

// SleepOn is Sleep that also ends when *word is no longer seen, as another process or
// another goroutine changes it.
//
// Preconditions: those of Kernel.
func (b *Bubbled) SleepOn(ctx context.Context, word *atomic.Uint32, seen, bit uint32) {
	defer b.endWith(ctx)()
	if b.sleepFor(word, seen, bit, bubbleSleep) && word.Load() == seen {
		b.let(b.pause())
	}
}

// SleepRemote is SleepOn for at most d, for what only another process can change. The
// bubble's clock goes on as the system's does, so time-outs last as long as outside.
//
// Preconditions: those of Kernel.
func (b *Bubbled) SleepRemote(ctx context.Context, word *atomic.Uint32, seen, bit uint32, d time.Duration) {
	defer b.endWith(ctx)()
	start := sys.Monotonic()
	if b.sleepFor(word, seen, bit, d) && word.Load() == seen {
		b.let(time.Duration(sys.Monotonic() - start))
	}
}

// pause returns how long the next sleep of the bubble's time is.
func (b *Bubbled) pause() time.Duration {
	b.rounds++
	return min(bubbleSleep<<min(max(b.rounds-bubbleEqual, 0), 20), bubbleLongest)
}

// sleepFor sleeps in the kernel for at most d of the system's time, and reports whether
// nobody has signalled. If no slot is free it sleeps on no word.
func (b *Bubbled) sleepFor(word *atomic.Uint32, seen, bit uint32, d time.Duration) bool {
	if b.rung.Swap(0) != 0 {
		return false
	}
	if kernelSlots.take() {
		sys.FutexWait(word, seen, bit, d)
		kernelSlots.giveBack()
	} else {
		sys.Pause(bubbleSleep)
	}
	return b.rung.Swap(0) == 0
}

// let lets d of the bubble's time go by, unless a goroutine of the bubble signals.
func (b *Bubbled) let(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-b.wake:
	case <-t.C:
	}
}

// endWith signals when ctx is done, until the caller calls stop.
func (b *Bubbled) endWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, b.Signal)
}

// bubbled has the goroutines in bubbles that await changes, by the word.
var bubbled struct {
	n  atomic.Int32
	mu sync.Mutex
	by map[*atomic.Uint32]map[*Bubbled]struct{}
}

// joinBubbled makes WakeAll and Tell of a word signal b, until the caller calls leave.
func joinBubbled(word *atomic.Uint32, b *Bubbled) (leave func()) {
	bubbled.mu.Lock()
	defer bubbled.mu.Unlock()
	if bubbled.by == nil {
		bubbled.by = map[*atomic.Uint32]map[*Bubbled]struct{}{}
	}
	if bubbled.by[word] == nil {
		bubbled.by[word] = map[*Bubbled]struct{}{}
	}
	bubbled.by[word][b] = struct{}{}
	bubbled.n.Add(1)
	return func() {
		bubbled.mu.Lock()
		defer bubbled.mu.Unlock()
		bubbled.n.Add(-1)
		if delete(bubbled.by[word], b); len(bubbled.by[word]) == 0 {
			delete(bubbled.by, word)
		}
	}
}

// signalBubbled signals the goroutines in bubbles that await a change of the word. If
// there are none anywhere it costs one load.
func signalBubbled(word *atomic.Uint32) {
	if bubbled.n.Load() == 0 {
		return
	}
	bubbled.mu.Lock()
	defer bubbled.mu.Unlock()
	for b := range bubbled.by[word] {
		b.Signal()
	}
}
