//go:build shmportable || (!linux && !windows)

package memtest

import (
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Sleeper sleeps on a word until a wake-up that names one of the bits reaches it, or the
// word changes; then it closes the channel. It is asleep when the function returns.
func Sleeper(t testing.TB, word *atomic.Uint32, bits uint32) (woken <-chan struct{}) {
	t.Helper()
	done, seen, before := make(chan struct{}), word.Load(), sys.Asleep(word)
	go func() {
		sys.FutexWait(word, seen, bits, time.Hour)
		close(done)
	}()
	shmtest.Eventually(t, "the sleeper sleeps on the word", func() bool { return sys.Asleep(word) > before })
	return done
}
