package shm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// Values awaited by more goroutines than may sleep in the kernel: by lookouts,
// and where the system has no call for those.
func TestAwaitManyValues(t *testing.T) {
	t.Run("lookout", func(t *testing.T) {
		if !canWaitAny() {
			t.Skip("this system has no FUTEX_WAITV")
		}
		awaitMany(t)
	})
	t.Run("patrol", func(t *testing.T) {
		defer func(f func() bool) { canWaitAny = f }(canWaitAny)
		canWaitAny = func() bool { return false }
		awaitMany(t)
	})
	eventually(t, "the lookouts end", func() bool {
		for i := range lookouts {
			l := &lookouts[i]
			l.mu.Lock()
			awake := l.awake
			l.mu.Unlock()
			if awake {
				return false
			}
		}
		return true
	})
}

func awaitMany(t *testing.T) {
	const n, quitters = 300, 20
	s := open(t, testName(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all [n]Value[int64]
	var steady, fickle sync.WaitGroup
	before := threads(t)
	for i := range all {
		all[i] = must(NewValue[int64](s, fmt.Sprint(i), 0))(t)
		if i < n-quitters {
			steady.Go(func() {
				if _, err := all[i].Await(t.Context(), func(x int64) bool { return x == 1 }); err != nil {
					t.Error(err)
				}
			})
			continue
		}
		fickle.Go(func() {
			if _, err := all[i].Await(ctx, func(x int64) bool { return x == 1 }); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	asleep := func(v Value[int64]) bool {
		v.mu.lobby.mu.Lock()
		defer v.mu.lobby.mu.Unlock()
		return v.mu.lobby.sleeping
	}
	for _, v := range all {
		eventually(t, "somebody sleeps for it", func() bool { return asleep(v) })
	}
	if extra := threads(t) - before; extra >= 50 {
		t.Errorf("%d extra threads", extra)
	}
	cancel()
	within(t, "those who give up", fickle.Wait)
	for i, v := range all[:n-quitters] {
		if i%2 == 0 {
			v.Raw().Set(1) // tells nobody: a time-out finds it
		} else {
			v.Store(1)
		}
	}
	within(t, "all values", steady.Wait)
}
