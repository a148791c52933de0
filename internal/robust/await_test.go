//go:build linux

package robust

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
)

// Every way to release a lock tells those who await a change, but Release alone.
// If nobody awaits, the change word stays.
func TestUnlockTells(t *testing.T) {
	_, p, mu, cell := locked(t)
	free := func() {
		if left := mu.Free(); left != 0 {
			mu.Finish(left, true)
		}
	}
	freeAfter := func() {
		if left := mu.FreeAfter(); left != 0 {
			mu.Finish(left, true)
		}
	}
	still := func(left uint32) {
		if left != 0 {
			mu.Finish(left, false)
		}
	}
	abandoned := func() { mu.Abandon(); mu.Abandoned() }
	waiters := func() { cell.Word.Or(format.KernelWaiters) }
	for _, c := range []struct {
		what   string
		before func()
		unlock func()
		tells  bool
	}{
		{"Unlock", nil, mu.Unlock, true},
		{"Unlock with waiters", waiters, mu.Unlock, true},
		{"Unlock of an abandoned lock", abandoned, mu.Unlock, true},
		{"UnlockAfter", nil, func() { mu.UnlockAfter(true) }, true},
		{"UnlockAfter with waiters", waiters, func() { mu.UnlockAfter(false) }, true},
		{"Free", nil, free, true},
		{"Free with waiters", waiters, free, true},
		{"FreeAfter", nil, freeAfter, true},
		{"FreeAfter of an abandoned lock", abandoned, freeAfter, true},
		{"Free without a change", nil, func() { still(mu.Free()) }, false},
		{"Free without a change, with waiters", waiters, func() { still(mu.Free()) }, false},
		{"FreeAfter without a change of an abandoned lock", abandoned, func() { still(mu.FreeAfter()) }, false},
		{"ReleaseAfter", nil, func() { mu.ReleaseAfter(true) }, false},
		{"ReleaseAfter with waiters", waiters, func() { mu.ReleaseAfter(false) }, false},
		{"ReleaseAfter of an abandoned lock", abandoned, func() { mu.ReleaseAfter(true) }, false},
		{"Release", nil, mu.Release, false},
		{"Release with waiters", waiters, mu.Release, false},
	} {
		for _, awaited := range []uint32{0, format.Awaited} {
			cell.Change.Word.Store(8 | awaited)
			mu.Lock()
			if c.before != nil {
				c.before()
			}
			c.unlock()
			want := 8 | awaited
			if c.tells && awaited != 0 {
				want = 10
			}
			if got := cell.Change.Word.Load(); got != want {
				t.Errorf("%s: the change word %#x has become %#x, want %#x", c.what, 8|awaited, got, want)
			}
			if w := cell.Word.Load(); w != 0 || p.lock(0) != mu {
				t.Errorf("%s: the word is %#x", c.what, w)
			}
		}
	}
	if cell.Abandoned.Load() != 0 {
		t.Error("the mark was not cleared")
	}
}

// Await returns when what it waits for is so, whoever changed it and however: also
// if the process that did was killed.
func TestAwait(t *testing.T) {
	s, _, mu, cell := locked(t)
	var n atomic.Uint64
	for what, change := range map[string]func(mu *Lock, other *party, to uint64){
		"Unlock": func(mu *Lock, _ *party, to uint64) { mu.Lock(); n.Store(to); mu.Unlock() },
		"Unlock elsewhere": func(_ *Lock, other *party, to uint64) {
			mu := other.lock(0)
			mu.Lock()
			n.Store(to)
			mu.Unlock()
		},
		"a release that tells nobody": func(mu *Lock, _ *party, to uint64) { mu.Acquire(); n.Store(to); mu.Release() },
		"the death of a holder whose lock is taken over": func(mu *Lock, other *party, to uint64) {
			other.lock(0).Lock()
			n.Store(to)
			other.die()
			mu.Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			mu.Unlock()
		},
	} {
		to := n.Load() + 1
		got := make(chan error)
		for _, mu := range []*Lock{mu, mu, newParty(t, s).lock(0), newParty(t, memtest.Open(t, s.Path, true)).lock(0)} {
			go func() { got <- mu.Await(t.Context(), n.Load, func() bool { return n.Load() >= to }) }()
		}
		shmtest.Eventually(t, "somebody awaits it", func() bool { return cell.Change.Word.Load()&format.Awaited != 0 })
		change(mu, newParty(t, s), to)
		for range 4 {
			shmtest.Within(t, "all see "+what, func() {
				if err := <-got; err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := mu.Await(ctx, n.Load, func() bool { return false }); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"n"`) {
		t.Errorf("after the deadline: %v", err)
	}
}
