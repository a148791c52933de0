package wait

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/sys"
)

// multiWait is one thread that sleeps in the kernel for many words at once. It
// serves goroutines that await changes and have no slot of their own, at the
// price of one more wake-up, from thread to thread. A change wakes everybody, so
// another goroutine may sleep in their stead. A goroutine that waits for a lock
// is woken alone, so it has to sleep by itself.
//
// Invariant: the word of a waiter is mapped while the waiter is in the table.
// The goroutine that puts it there takes it out before it releases the mapping.
type multiWait struct {
	mu      sync.Mutex
	waiters map[*wordWaiter]struct{}
	bell    atomic.Uint32 // changes when a waiter was added, or the last one has left
	running bool          // its goroutine runs
}

const (
	wordsPerThread = 127 // FUTEX_WAITV takes 128, and one is the bell
	maxThreads     = 80
	anyThreads     = 8 // of them, for those that wait for any of many words
)

var multiWaits [maxThreads]multiWait

// sleepWithOthers sleeps in Go until w.wake has a token, the word has changed,
// something was missed or ctx is done. It returns false at once if no thread has
// room, or if the system lacks the call.
//
// Preconditions: those of Kernel.
func sleepWithOthers(ctx context.Context, w *wordWaiter) bool {
	if !sys.CanWaitAny() {
		return false
	}
	for i := range multiWaits {
		if multiWaits[i].add(w) {
			defer multiWaits[i].remove(w)
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
			return true
		}
	}
	return false
}

func (m *multiWait) add(w *wordWaiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiters) >= wordsPerThread {
		return false
	}
	if m.waiters == nil {
		m.waiters = map[*wordWaiter]struct{}{}
	}
	m.waiters[w] = struct{}{}
	m.start()
	return true
}

// start starts its goroutine, or tells it of new waiters. m.mu is held.
func (m *multiWait) start() {
	if m.running {
		m.ring()
		return
	}
	m.running = true
	go m.run()
}

// addSome is add for as many waiters as there is room for. It returns how many.
func (m *multiWait) addSome(all []wordWaiter) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n = min(len(all), wordsPerThread-len(m.waiters))
	if n <= 0 {
		return 0
	}
	if m.waiters == nil {
		m.waiters = map[*wordWaiter]struct{}{}
	}
	for i := range n {
		m.waiters[&all[i]] = struct{}{}
	}
	m.start()
	return n
}

func (m *multiWait) remove(w *wordWaiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiters, w)
	if len(m.waiters) == 0 && m.running {
		m.ring()
	}
}

// removeAll is remove for many waiters.
func (m *multiWait) removeAll(all []wordWaiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range all {
		delete(m.waiters, &all[i])
	}
	if len(m.waiters) == 0 && m.running {
		m.ring()
	}
}

func (m *multiWait) ring() {
	m.bell.Add(1)
	sys.FutexWake(&m.bell, 1, sys.AnyBit)
}

// run returns when nobody is left. Its time-outs, short at first and longer
// later, find a change whose maker was killed before it could wake anybody.
func (m *multiWait) run() {
	pause := firstLook
	var words []sys.Word
	for {
		rung := m.bell.Load()
		if words, pause = m.words(append(words[:0], sys.Word{Addr: &m.bell, Seen: rung, One: true}), pause); len(words) == 1 {
			return
		}
		late, err := sys.FutexWaitAny(words, pause)
		if err != nil {
			time.Sleep(pollEvery) // then it only looks
		}
		m.report(late || err != nil)
		switch {
		case m.bell.Load() != rung:
			pause = firstLook
		case late:
			pause *= 2
		}
	}
}

// words appends the words of all waiters, and shortens pause to the longest that
// all of them allow.
func (m *multiWait) words(words []sys.Word, pause time.Duration) ([]sys.Word, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.waiters {
		words = append(words, w.Word)
		pause = min(pause, w.every)
	}
	m.running = len(m.waiters) > 0
	return words, pause
}

// report wakes the goroutines that have something to look at.
func (m *multiWait) report(ask bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.waiters {
		if w.changed() || ask && w.missed() {
			delete(m.waiters, w)
			Signal(w.wake)
		}
	}
}
