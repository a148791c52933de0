package wait

import (
	"context"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/sys"
)

// wordWaiter is a goroutine that sleeps in Go while another one looks at a word
// for it.
type wordWaiter struct {
	sys.Word
	wake   chan struct{}
	missed func() bool   // something has changed of which the word says nothing; nil if that cannot be
	every  time.Duration // missed is asked at least this often

	place int           // in the poller's table; guarded by it
	pause time.Duration // until the poller asks missed again; guarded by it
}

// changed reports whether the word is no longer what was seen. If there is no memory
// behind it any more, because somebody has cut the file off, changed returns true: the
// goroutine that looks next finds that out by itself.
func (w *wordWaiter) changed() (changed bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { changed = changed || recover() != nil }()
	return w.Addr.Load() != w.Seen
}

// poller is one goroutine that looks at the words of all goroutines that found no
// slot in the kernel.
//
// Ten thousand words a hundred times a second are a million looks a second. So what a look
// needs is in one array.
type poller struct {
	mu      sync.Mutex
	words   []polledWord
	waiters []*wordWaiter // of the words
	tick    uint32        // counts the looks
	running bool
}

// polledWord is a word, and the tick at which its waiter is to be asked what it has missed.
type polledWord struct {
	addr      *atomic.Uint32
	seen, ask uint32
}

// pollEvery is the time between two looks.
const pollEvery = 10 * time.Millisecond

var poll poller

// Poll sleeps in Go until wake has a token, *word is no longer seen, ctx is done
// or the time is over. One goroutine of the process looks at the word a hundred
// times a second.
//
// Preconditions: those of Kernel.
func Poll(ctx context.Context, word *atomic.Uint32, seen uint32, wake chan struct{}, d time.Duration) {
	w := []wordWaiter{{Word: sys.Word{Addr: word, Seen: seen}, wake: wake}}
	poll.add(w)
	defer poll.remove(w)
	sleepInGo(ctx, wake, d)
}

// sleepInGo sleeps until wake has a token, ctx is done or the time is over.
func sleepInGo(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-wake:
	case <-ctx.Done():
	case <-t.C:
	}
}

// sleepPolled sleeps in Go until w.wake has a token, the word has changed, something was
// missed or ctx is done. It needs no timer: the poller asks what was missed, soon at first
// and less often later.
//
// Preconditions: those of Kernel.
func sleepPolled(ctx context.Context, w *wordWaiter) {
	poll.mu.Lock()
	poll.addOne(w)
	poll.mu.Unlock()
	defer func() {
		poll.mu.Lock()
		defer poll.mu.Unlock()
		poll.removeOne(w)
	}()
	select {
	case <-w.wake:
	case <-ctx.Done():
	}
}

// add puts many waiters into the table.
func (p *poller) add(all []wordWaiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range all {
		p.addOne(&all[i])
	}
}

// remove takes many waiters out.
func (p *poller) remove(all []wordWaiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range all {
		p.removeOne(&all[i])
	}
}

// addOne puts a waiter into the table, and starts the goroutine, unless that runs. p.mu
// is held.
func (p *poller) addOne(w *wordWaiter) {
	w.place, w.pause = len(p.words), min(pollEvery, w.every)
	p.waiters = append(p.waiters, w)
	p.words = append(p.words, polledWord{addr: w.Addr, seen: w.Seen, ask: p.tick + w.ticks()})
	if !p.running {
		p.running = true
		go p.run()
	}
}

// ticks returns after how many looks the waiter is to be asked. No tick is that far away if
// it is never to be asked.
func (w *wordWaiter) ticks() uint32 {
	if w.missed == nil {
		return math.MaxInt32
	}
	return uint32(max(1, w.pause/pollEvery))
}

// removeOne takes a waiter out. p.mu is held.
func (p *poller) removeOne(w *wordWaiter) {
	last := len(p.words) - 1
	p.words[w.place], p.waiters[w.place] = p.words[last], p.waiters[last]
	p.waiters[w.place].place = w.place
	p.waiters[last] = nil
	p.words, p.waiters = p.words[:last], p.waiters[:last]
}

// run returns when nobody is left.
func (p *poller) run() {
	for {
		time.Sleep(pollEvery)
		p.mu.Lock()
		if len(p.words) == 0 {
			p.words, p.waiters = nil, nil // which may have been large
			p.running = false
			p.mu.Unlock()
			return
		}
		p.tick++
		for i := 0; i < len(p.words); i++ {
			i = p.look(i)
		}
		p.mu.Unlock()
	}
}

// look looks at the words from place i on. It returns the place at which it has stopped: at
// the end, or at a word that has no memory any more, because somebody has cut the file
// off. The waiter of that one finds it out by itself. p.mu is held.
func (p *poller) look(i int) (stopped int) {
	stopped = i
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			Signal(p.waiters[stopped].wake)
		}
	}()
	for ; stopped < len(p.words); stopped++ {
		w := &p.words[stopped]
		if w.addr.Load() != w.seen {
			Signal(p.waiters[stopped].wake)
		} else if int32(p.tick-w.ask) >= 0 {
			p.ask(w, p.waiters[stopped])
		}
	}
	return stopped
}

// ask asks a waiter what it has missed, and says when it is to be asked again.
func (p *poller) ask(word *polledWord, w *wordWaiter) {
	if w.missed == nil || w.missed() {
		Signal(w.wake)
	}
	w.pause = min(2*w.pause, w.every)
	word.ask = p.tick + w.ticks()
}
