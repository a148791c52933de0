//go:build linux && !shmportable

package memtest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"example.org/shm/internal/shmtest"
)

// Sleeper sleeps on a word until a wake-up that names one of the bits reaches it;
// then it closes the channel. It has no time-out, so it shows whether there was a
// wake-up at all. It is asleep when the function returns.
//
// The test is skipped if the system does not tell where a thread sleeps.
func Sleeper(t testing.TB, word *atomic.Uint32, bits uint32) (woken <-chan struct{}) {
	t.Helper()
	const futexWaitBitset = 9
	tid, done := make(chan int), make(chan struct{})
	seen := word.Load()
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- syscall.Gettid()
		for errno := syscall.EINTR; errno == syscall.EINTR; {
			// SAFETY: word stays mapped until the process ends.
			_, _, errno = syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitBitset, uintptr(seen), 0, 0, uintptr(bits))
		}
		close(done)
	}()
	path := fmt.Sprintf("/proc/self/task/%d/syscall", <-tid)
	if _, err := os.ReadFile(path); err != nil {
		t.Skipf("the system does not tell where a thread sleeps: %v", err)
	}
	// SAFETY: the address is only printed.
	address := fmt.Sprintf(" %#x ", uintptr(unsafe.Pointer(word)))
	shmtest.Eventually(t, "the sleeper sleeps on the word", func() bool {
		now, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(now), address)
	})
	return done
}
