package wait

import (
	"context"
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
	missed func() bool   // for multiWait: something has changed of which the word says nothing
	every  time.Duration // multiWait asks missed at least this often
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
type poller struct {
	mu      sync.Mutex
	waiters map[*wordWaiter]struct{}
	running bool
}

// pollEvery is the time between two looks.
const pollEvery = 10 * time.Millisecond

var poll = poller{waiters: map[*wordWaiter]struct{}{}}

// Poll sleeps in Go until wake has a token, *word is no longer seen, ctx is done
// or the time is over. One goroutine of the process looks at the word a hundred
// times a second.
//
// Preconditions: those of Kernel.
func Poll(ctx context.Context, word *atomic.Uint32, seen uint32, wake chan struct{}, d time.Duration) {
	poll.sleep(ctx, &wordWaiter{Word: sys.Word{Addr: word, Seen: seen}, wake: wake}, d)
}

func (p *poller) sleep(ctx context.Context, w *wordWaiter, d time.Duration) {
	p.mu.Lock()
	p.waiters[w] = struct{}{}
	p.start()
	p.mu.Unlock()
	t := time.NewTimer(d)
	select {
	case <-w.wake:
	case <-ctx.Done():
	case <-t.C:
	}
	t.Stop()
	p.mu.Lock()
	delete(p.waiters, w)
	p.mu.Unlock()
}

// add puts many waiters into the table.
func (p *poller) add(all []wordWaiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range all {
		p.waiters[&all[i]] = struct{}{}
	}
	p.start()
}

// remove takes many waiters out.
func (p *poller) remove(all []wordWaiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range all {
		delete(p.waiters, &all[i])
	}
}

// start starts its goroutine, unless that runs. p.mu is held.
func (p *poller) start() {
	if !p.running {
		p.running = true
		go p.run()
	}
}

// run returns when nobody is left.
func (p *poller) run() {
	for {
		time.Sleep(pollEvery)
		p.mu.Lock()
		if len(p.waiters) == 0 {
			p.running = false
			p.mu.Unlock()
			return
		}
		for w := range p.waiters {
			if w.changed() {
				Signal(w.wake)
			}
		}
		p.mu.Unlock()
	}
}
