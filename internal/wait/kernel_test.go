//go:build linux

package wait

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

func TestKernelReturns(t *testing.T) {
	var word atomic.Uint32
	if !Kernel(t.Context(), &word, 1, 1, never) {
		t.Error("there was no slot")
	}
	if !Kernel(t.Context(), &word, 0, 1, time.Millisecond) {
		t.Error("there was no slot")
	}
	for what, end := range map[string]func(cancel func()){
		"a change":             func(func()) { word.Add(1); sys.FutexWake(&word, 1, sys.AnyBit) },
		"a wake-up of its bit": func(func()) { sys.FutexWake(&word, 1, 1<<5) },
		"the context":          func(cancel func()) { cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var over atomic.Bool
		returned := make(chan struct{})
		seen := word.Load()
		go func() {
			defer close(returned)
			for !over.Load() { // It may return early.
				if !Kernel(ctx, &word, seen, 1<<5, never) {
					t.Errorf("%s: there was no slot", what)
				}
			}
		}()
		shmtest.Eventually(t, "it has a slot", func() bool { return len(kernelSlots) == 1 })
		over.Store(true)
		shmtest.Eventually(t, "a sleep ends by "+what, func() bool {
			end(cancel) // It may only be about to sleep.
			select {
			case <-returned:
				return true
			default:
				return false
			}
		})
		cancel()
	}
	if len(kernelSlots)+len(longSlots) > 0 {
		t.Errorf("%d slots are taken, %d of them for long sleeps", len(kernelSlots), len(longSlots))
	}
}

// A context that ends wakes nobody but the sleepers of its mapping's bit.
func TestCancelWakesItsOwn(t *testing.T) {
	var word atomic.Uint32
	other := memtest.Sleeper(t, &word, 1<<6)
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		for ctx.Err() == nil { // It may return early.
			Kernel(ctx, &word, 0, 1<<5, never)
		}
	}()
	shmtest.Eventually(t, "it has a slot", func() bool { return len(kernelSlots) == 1 })
	cancel()
	<-returned
	if n := sys.FutexWake(&word, 1, 1<<6); n != 1 {
		t.Error("the sleeper of another bit was woken")
	}
	<-other
}

// A context that ends before its goroutine is asleep wakes it all the same.
func TestCancelIsNotLost(t *testing.T) {
	var word atomic.Uint32
	for range shmtest.Rounds(1000) {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		shmtest.Within(t, "the sleep of a goroutine whose context ends", func() { Kernel(ctx, &word, 0, 1, never) })
	}
}

// However many goroutines want to sleep in the kernel, few do, and long sleeps
// leave room for short ones.
func TestKernelSlots(t *testing.T) {
	var word atomic.Uint32
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	sleep := func(n int, d time.Duration) {
		for range n {
			wg.Go(func() {
				for ctx.Err() == nil && Kernel(ctx, &word, 0, 1, d) {
				}
			})
		}
	}
	sleep(cap(longSlots), never)
	shmtest.Eventually(t, "all long slots are taken", func() bool { return len(longSlots) == cap(longSlots) })
	if Kernel(ctx, &word, 0, 1, Short+1) {
		t.Error("one more long sleep than there are slots")
	}
	if !Kernel(ctx, &word, 1, 1, Short) {
		t.Error("long sleeps take the slots of short ones")
	}
	// Without room in the kernel a goroutine returns at once.
	for range cap(kernelSlots) - cap(longSlots) {
		if !kernelSlots.take() {
			t.Fatal("long sleeps take the slots of short ones")
		}
	}
	if Kernel(ctx, &word, 0, 1, Short) || Kernel(ctx, &word, 0, 1, never) {
		t.Error("one more sleep than there are slots")
	}
	if kernelSlots.take() {
		t.Error("one more slot than there are")
	}
	for range cap(kernelSlots) - cap(longSlots) {
		kernelSlots.giveBack()
	}
	cancel()
	shmtest.Within(t, "all return when the context ends", wg.Wait)
	if len(kernelSlots)+len(longSlots) > 0 {
		t.Errorf("%d slots are taken, %d of them for long sleeps", len(kernelSlots), len(longSlots))
	}
}

// A channel of one token never makes who signals wait.
func TestSignal(t *testing.T) {
	wake := make(chan struct{}, 1)
	for range 3 {
		Signal(wake)
	}
	if <-wake; len(wake) != 0 {
		t.Errorf("%d tokens of three are left behind the first", len(wake))
	}
}
