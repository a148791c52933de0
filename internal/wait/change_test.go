//go:build linux

package wait

import (
	"math"
	"sync"
	"testing"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// A change word counts, below a bit that says that somebody waits.
func TestChangeWord(t *testing.T) {
	for _, c := range []struct{ word, announced, changed, woken uint32 }{
		{0, 1, 0, 2},
		{1, 1, 2, 2},
		{2, 3, 2, 4},
		{7, 7, 8, 8},
		{math.MaxUint32 - 1, math.MaxUint32, math.MaxUint32 - 1, 0}, // it wraps around
		{math.MaxUint32, math.MaxUint32, 0, 0},
	} {
		var w format.ChangeWord
		w.Word.Store(c.word)
		if got := Announce(&w); got != c.announced || w.Word.Load() != got {
			t.Errorf("%#x: Announce returns %#x, the word is %#x", c.word, got, w.Word.Load())
		}
		w.Word.Store(c.word)
		if Changed(&w); w.Word.Load() != c.changed {
			t.Errorf("%#x: after Changed the word is %#x", c.word, w.Word.Load())
		}
		w.Word.Store(c.word)
		if WakeAll(&w); w.Word.Load() != c.woken {
			t.Errorf("%#x: after WakeAll the word is %#x", c.word, w.Word.Load())
		}
	}
}

// A change wakes all sleepers, of all bits, if one of them has announced itself.
func TestChangedWakesAll(t *testing.T) {
	var w format.ChangeWord
	all := func() (woken []<-chan struct{}) {
		for bit := range 5 {
			woken = append(woken, memtest.Sleeper(t, &w.Word, 1<<(6*bit)))
		}
		return woken
	}
	check := func(what string, woken []<-chan struct{}) {
		t.Helper()
		shmtest.Within(t, what+" wakes all", func() {
			for _, c := range woken {
				<-c
			}
		})
	}
	unannounced := all()
	Changed(&w)
	if n := sys.FutexWake(&w.Word, math.MaxInt32, sys.AnyBit); n != len(unannounced) {
		t.Errorf("of %d sleepers that nobody had announced %d were asleep after a change", len(unannounced), n)
	}
	Announce(&w)
	woken := all()
	Changed(&w)
	check("Changed", woken)
	woken = all()
	WakeAll(&w)
	check("WakeAll", woken)
}

// Concurrent changes are all counted.
func TestChangesAreCounted(t *testing.T) {
	var w format.ChangeWord
	const goroutines, each = 4, 2000
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				Announce(&w)
				WakeAll(&w)
			}
		})
	}
	wg.Wait()
	if got := w.Word.Load(); got>>1 != goroutines*each {
		t.Errorf("%d changes counted %d", goroutines*each, got>>1)
	}
}
