//go:build linux

package wait

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

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

// standing is a poller whose goroutine does not run, so that the test looks itself.
func standing() *poller { return &poller{running: true} }

// woken returns which of the waiters have a token, and takes it.
func woken(all []wordWaiter) (at []int) {
	for i := range all {
		select {
		case <-all[i].wake:
			at = append(at, i)
		default:
		}
	}
	return at
}

// Each look finds the words that have changed, whoever has left meanwhile.
func TestPollerLooks(t *testing.T) {
	p := standing()
	all := make([]wordWaiter, 6)
	for i := range all {
		all[i] = *newWaiter()
	}
	p.add(all)
	p.remove(all[1:2])
	p.remove(all[5:])
	all[1].Addr.Add(1)
	all[3].Addr.Add(1)
	all[4].Addr.Add(1)
	if n := p.look(0); n != 4 {
		t.Errorf("it has looked at %d words, want 4", n)
	}
	if at := woken(all); !slices.Equal(at, []int{3, 4}) {
		t.Errorf("woken are %v, want 3 and 4", at)
	}
	p.remove(all[0:1])
	p.remove(all[2:5])
	if len(p.words) != 0 || len(p.waiters) != 0 {
		t.Errorf("%d words and %d waiters are left", len(p.words), len(p.waiters))
	}
}

// Waiters are asked what they have missed, soon at first and less often later; those of
// locks are not.
func TestPollerAsks(t *testing.T) {
	p := standing()
	p.tick = math.MaxUint32 - 3 // and the count begins anew
	all := []wordWaiter{*newWaiter(), *newWaiter()}
	all[1].missed = nil
	asked := 0
	all[0].missed = func() bool { asked++; return asked == 3 }
	all[0].every = 8 * pollEvery
	p.add(all)
	var at []int
	for tick := range 40 {
		before := asked
		p.tick++
		p.look(0)
		if asked != before {
			at = append(at, tick+1)
		}
		if who := woken(all); slices.Contains(who, 1) || slices.Contains(who, 0) != (asked == 3 && asked != before) {
			t.Errorf("at look %d these are woken: %v", tick+1, who)
		}
	}
	if want := []int{1, 3, 7, 15, 23, 31, 39}; !slices.Equal(at, want) {
		t.Errorf("asked at looks %v, want %v", at, want)
	}
}

// A word whose memory is gone does not end the look at the others.
func TestPollerAtTheEndOfTheMemory(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "words"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := os.Getpagesize()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(b) }()
	p := standing()
	all := []wordWaiter{*newWaiter(), *newWaiter(), *newWaiter()}
	all[1].Addr = (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(b)))
	p.add(all)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	all[2].Addr.Add(1)
	for i := 0; i < len(p.words); i++ {
		i = p.look(i)
	}
	if at := woken(all); !slices.Equal(at, []int{1, 2}) {
		t.Errorf("woken are %v, want 1, whose memory is gone, and 2, whose word has changed", at)
	}
}
