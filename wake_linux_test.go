package shm

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The time-outs and the watch heal a wake-up that is lost, so no test that waits
// sees one that is missing. These look at each wake-up itself.

// sleeper sleeps in the kernel on a lock's word, with no time-out that heals, and
// is asleep when the function returns. It hears no wake-up that is for this
// mapping's own waiters alone.
func sleeper(t *testing.T, mu *Mutex) (woken <-chan struct{}) {
	t.Helper()
	word := &mu.cell.word
	tid, done := make(chan int), make(chan struct{})
	seen, bit := word.Load(), bits.RotateLeft32(mu.m.wakeBit(), 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- unix.Gettid()
		for errno := unix.EINTR; errno == unix.EINTR; {
			// SAFETY: the mapping is open until the test ends.
			_, _, errno = unix.Syscall6(sysFutex, uintptr(unsafe.Pointer(word)), futexWaitBitset, uintptr(seen), 0, 0, uintptr(bit))
		}
		close(done)
	}()
	path := fmt.Sprintf("/proc/self/task/%d/syscall", <-tid)
	if _, err := os.ReadFile(path); err != nil {
		t.Skipf("where a thread sleeps is not to be seen: %v", err)
	}
	// SAFETY: the address is only looked at.
	address := fmt.Sprintf(" %#x ", uintptr(unsafe.Pointer(word)))
	eventually(t, "it sleeps on the word", func() bool {
		now, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(now), address)
	})
	return done
}

func TestUnlockWakesForEachBit(t *testing.T) {
	_, v := locked(t)
	mu := v.Mutex()
	for _, starve := range []uint32{0, starveKernel, starveGo} {
		mu.Lock()
		head := &waiter{wake: make(chan struct{}, 1), since: monotonic()}
		mu.queue.join(head)
		mu.cell.word.Or(wordL | wordW)
		mu.cell.starve.Store(starve)
		woken := sleeper(t, mu)
		mu.Unlock()
		within(t, "the sleeper's wake-up", func() { <-woken })
		within(t, "the head's wake-up", func() { <-head.wake })
		if err := mu.giveUp(head, context.Canceled); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		mu.cell.word.Store(0) // the reservation, if it was one
	}
}

// Who has slept in the kernel and goes without the lock may have taken the
// wake-up that was another's.
func TestGivingUpPassesTheWakeUpOn(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { gaveUp <- mu.LockContext(ctx) }()
	sleeping(t, mu, true)
	woken := sleeper(t, mu)
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	within(t, "the other sleeper's wake-up", func() { <-woken })
}

// Who was woken, and who took over, leaves the bit for others who sleep.
func TestWhoHasSleptLeavesTheBit(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	for _, dies := range []bool{false, true} {
		holder := startAgent(t, name)
		holder.must("lock", "locked")
		got := make(chan struct{})
		go func() { mu.Lock(); close(got) }()
		sleeping(t, mu, true)
		mu.cell.starve.Store(0) // so that nothing is reserved, and the word becomes 0
		if dies {
			holder.kill()
		} else {
			holder.must("unlock", "unlocked")
		}
		within(t, "the lock", func() { <-got })
		if w := mu.cell.word.Load(); w&wordW == 0 {
			t.Errorf("the holder died: %v; the word is %#x", dies, w)
		}
		mu.Unlock()
	}
	// Late, without having slept.
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	holder.kill()
	eventually(t, "the lock of a dead holder", mu.TryLock)
	if w := mu.cell.word.Load(); w&wordW == 0 {
		t.Errorf("taken over with the word %#x", w)
	}
	mu.Unlock()
}

// Who gives up at the very moment that the lock is handed over has it.
func TestGivingUpWhatWasGranted(t *testing.T) {
	_, v := locked(t)
	mu := v.Mutex()
	mu.Lock()
	me := &waiter{wake: make(chan struct{}, 1), since: monotonic()}
	mu.queue.join(me)
	mu.cell.word.Or(wordL)
	mu.queue.starving = true
	mu.Unlock()
	if mu.TryLock() {
		t.Fatal("handed over, and free")
	}
	if err := mu.giveUp(me, context.Canceled); err != nil {
		t.Errorf("it has the lock, and gives up: %v", err)
	}
	mu.Unlock()
	if w := mu.cell.word.Load(); w != 0 || mu.queue.head != nil || mu.queue.tail != nil {
		t.Errorf("at rest the word is %#x, the queue %v to %v", w, mu.queue.head, mu.queue.tail)
	}
}
