// Package wait lets goroutines sleep until a word in shared memory changes.
//
// A goroutine that sleeps in the kernel holds a thread. So few goroutines of a
// process do: [Kernel] has a fixed number of slots. A goroutine that finds no
// slot sleeps in Go, while one thread sleeps in the kernel for many words
// (multiWait) or one goroutine looks at them from time to time (poller).
// [Group] does this for all goroutines of a process that await changes of one
// word: one of them sleeps, and it wakes the others.
//
// The package may import sys, format and killpoint.
//
// Invariants:
//   - The number of threads that sleep is bounded, whatever the number of
//     goroutines.
//   - A word is mapped while anything here refers to it: a goroutine that sleeps
//     keeps the mapping alive until it has left.
//
// Source: futex(2), and FUTEX_WAITV in the kernel's documentation of futex2.
package wait

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"example.org/shm/internal/sys"
)

// Short is the longest sleep for which all slots of the kernel are open. Longer
// ones leave some slots to goroutines whose lock is about to be free.
const Short = 4 * time.Millisecond

// A maker of a change may be killed before it wakes anybody. The time-outs of a
// sleep find such a change, so they are short at first and longer later.
const (
	firstLook = 4 * time.Millisecond
	lastLook  = 4 * time.Second

	// A sleeper in a read-only mapping that nobody has announced yet looks this often, and
	// asks again.
	unannouncedLook     = time.Millisecond
	lastUnannouncedLook = 250 * time.Millisecond
)

var (
	kernelSlots = make(semaphore, 32)
	longSlots   = make(semaphore, 24) // a part of them, for sleeps longer than Short
	changeSlots = make(semaphore, 16) // a part of those, for goroutines that await changes
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

// Kernel sleeps in the kernel while *word is seen, for at most d, until a waker
// of the bit wakes it, or until ctx is done. It may return early. If there is no
// slot it returns false at once. It is for a word whose sleepers are woken one by one.
//
// Preconditions: word is in a mapping that the caller keeps alive.
func Kernel(ctx context.Context, word *atomic.Uint32, seen, bit uint32, d time.Duration) bool {
	return kernel(ctx, sys.FutexWait, word, seen, bit, d)
}

// kernel is Kernel by a function that sleeps.
func kernel(ctx context.Context, sleep func(word *atomic.Uint32, seen, bit uint32, d time.Duration), word *atomic.Uint32, seen, bit uint32, d time.Duration) bool {
	if d > Short {
		if !longSlots.take() {
			return false
		}
		defer longSlots.giveBack()
	}
	if !kernelSlots.take() {
		return false
	}
	defer kernelSlots.giveBack()
	defer wakeWhenDone(ctx, word, bit)()
	sleep(word, seen, bit, d)
	return true
}

// wakeWhenDone wakes the sleepers of a bit once ctx is done, again and again
// until the caller calls stop: a sleeper may be on its way to sleep. One wake-up
// may come after stop; the kernel refuses it if the word is no longer mapped.
func wakeWhenDone(ctx context.Context, word *atomic.Uint32, bit uint32) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	var up atomic.Bool
	cancel := context.AfterFunc(ctx, func() {
		for !up.Load() {
			sys.FutexWake(word, math.MaxInt32, bit)
			time.Sleep(time.Millisecond)
		}
	})
	return func() {
		up.Store(true)
		cancel()
	}
}

// Signal wakes the goroutine that sleeps on a channel of one token, or is about
// to.
func Signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
