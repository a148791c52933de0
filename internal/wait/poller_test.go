//go:build linux

package wait

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
)

func TestPoll(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	defer cancel()
	for what, c := range map[string]struct {
		ctx context.Context
		d   time.Duration
		end func(word *atomic.Uint32, wake chan struct{})
	}{
		"a token":     {t.Context(), never, func(_ *atomic.Uint32, wake chan struct{}) { Signal(wake) }},
		"a change":    {t.Context(), never, func(word *atomic.Uint32, _ chan struct{}) { word.Add(1) }},
		"the time":    {t.Context(), time.Millisecond, func(*atomic.Uint32, chan struct{}) {}},
		"the context": {done, never, func(*atomic.Uint32, chan struct{}) { cancel() }},
	} {
		var word atomic.Uint32
		wake, returned := make(chan struct{}, 1), make(chan struct{})
		go func() {
			defer close(returned)
			Poll(c.ctx, &word, 0, wake, c.d)
		}()
		c.end(&word, wake)
		shmtest.Within(t, "a poll that ends by "+what, func() { <-returned })
	}
	shmtest.Eventually(t, "the poller ends", func() bool {
		poll.mu.Lock()
		defer poll.mu.Unlock()
		return !poll.running && len(poll.words) == 0
	})
}
