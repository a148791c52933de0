package shm

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Sleeping in the kernel holds a thread, so few goroutines of a process do it at
// once, and those who sleep long leave some slots to those whose lock is about
// to be free.
var (
	kernelSlots  = make(semaphore, 32)
	patientSlots = make(semaphore, 24) // a part of them
	awaitSlots   = make(semaphore, 16) // a part of those
)

type semaphore chan struct{}

func (s semaphore) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s semaphore) giveBack() { <-s }

// kernelSleep sleeps while *word is seen, for at most d, until a waker of the
// bit wakes it, or until ctx is done. It may return early, and does so at once,
// with false, if there is no slot.
//
// Preconditions: word is in a mapping that the caller keeps alive.
func kernelSleep(ctx context.Context, word *atomic.Uint32, seen, bit uint32, d time.Duration) bool {
	if d > shortSleep {
		if !patientSlots.take() {
			return false
		}
		defer patientSlots.giveBack()
	}
	if !kernelSlots.take() {
		return false
	}
	defer kernelSlots.giveBack()
	defer wakeWhenDone(ctx, word, bit)()
	futexWait(word, seen, bit, d)
	return true
}

// wakeWhenDone wakes the sleepers of a bit once ctx is done, again and again
// until the returned function is called: a sleeper may be on its way to sleep.
// A last wake-up may come after that, which the kernel refuses if the word is no
// longer mapped.
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

// patrol is one goroutine that looks at the words of all who found no slot in
// the kernel.
type patrol struct {
	mu      sync.Mutex
	posts   map[*post]struct{}
	walking bool
}

// post is where somebody sleeps in Go while another looks at the word.
type post struct {
	awaitedWord
	wake   chan struct{}
	missed func() bool   // for a lookout: something has changed of which the word says nothing
	every  time.Duration // at least how often it asks that
}

const patrolEvery = 10 * time.Millisecond

var patrols = patrol{posts: map[*post]struct{}{}}

// sleep sleeps in Go until a token comes, *word is no longer seen, ctx is done or
// the time is over.
//
// Preconditions: as for kernelSleep.
func (p *patrol) sleep(ctx context.Context, at *post, d time.Duration) {
	p.mu.Lock()
	p.posts[at] = struct{}{}
	if !p.walking {
		p.walking = true
		go p.walk()
	}
	p.mu.Unlock()
	t := time.NewTimer(d)
	select {
	case <-at.wake:
	case <-ctx.Done():
	case <-t.C:
	}
	t.Stop()
	p.mu.Lock()
	delete(p.posts, at)
	p.mu.Unlock()
}

// walk ends when nobody is left.
func (p *patrol) walk() {
	for {
		time.Sleep(patrolEvery)
		p.mu.Lock()
		if len(p.posts) == 0 {
			p.walking = false
			p.mu.Unlock()
			return
		}
		for at := range p.posts {
			if at.word.Load() != at.seen {
				leaveToken(at.wake)
			}
		}
		p.mu.Unlock()
	}
}

// leaveToken wakes whoever sleeps on a channel of one token, or is about to.
func leaveToken(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
