package wait

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/sys"
)

// listener is one thread that sleeps in the kernel until a process that may only read
// rings the bell of a segment. It is there while an attachment listens.
//
// Nobody can change a bell, so a ring that comes while the listener is awake is lost. Who
// rings repeats it.
type listener struct {
	mu        sync.Mutex
	answerers map[*answerer]struct{}
	words     atomic.Uint32 // changes when the thread has to sleep on others
	running   bool          // its goroutine runs, or will after listenAfter
}

// answerer is an attachment that answers when its bell is rung.
type answerer struct {
	sys.Word
	answer func()
	join   *time.Timer // nil if it is the first
}

const (
	// A process that attaches only for a moment does not need the thread.
	listenAfter = 20 * time.Millisecond

	// Whoever may read the file can ring as often as it likes. So many answers a process
	// gives at once, and then one in each answerEvery.
	answersAtOnce = 32
	answerEvery   = time.Millisecond
)

var bells listener

// Listen calls answer soon after each ring of the bell, from some time after the call
// until stop is called. It may call it at other times. It does nothing in a bubble, where
// the system cannot sleep on many words at once or readers cannot ask, or beyond a number
// of bells. It never blocks.
//
// Preconditions: the bell is mapped until stop is called. answer never blocks.
func Listen(bell *format.ChangeWord, answer func()) (stop func()) {
	if !sys.CanAsk() || !sys.CanWaitAny() || sys.Bubble() != 0 {
		return func() {}
	}
	e := &answerer{Word: sys.Word{Addr: &bell.Word, One: true}, answer: answer}
	bells.add(e)
	return func() { bells.remove(e) }
}

func (l *listener) add(e *answerer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answerers == nil {
		l.answerers = map[*answerer]struct{}{}
	}
	l.answerers[e] = struct{}{}
	if l.running {
		e.join = time.AfterFunc(listenAfter, l.change)
		return
	}
	l.running = true
	time.AfterFunc(listenAfter, l.run)
}

// remove returns when the thread will sleep no more on the word, unless it does so now. The
// kernel does not touch the word of one that sleeps.
func (l *listener) remove(e *answerer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.answerers, e)
	if e.join != nil {
		e.join.Stop()
	}
	l.words.Add(1)
	if len(l.answerers) == 0 {
		sys.FutexWake(&l.words, 1, sys.AnyBit)
	}
}

// change makes the thread sleep on what there is by now.
func (l *listener) change() {
	l.words.Add(1)
	sys.FutexWake(&l.words, 1, sys.AnyBit)
}

// run returns when nobody listens any more.
func (l *listener) run() {
	var paid time.Time // by answers
	for {
		answerers, words := l.listening()
		if len(answerers) == 0 {
			return
		}
		if _, err := sys.FutexWaitAny(words, time.Minute); err != nil {
			time.Sleep(lastUnannouncedLook) // a file was cut off meanwhile
		}
		now := time.Now()
		if paid.Before(now) {
			paid = now
		}
		paid = paid.Add(answerEvery)
		if debt := paid.Sub(now) - answersAtOnce*answerEvery; debt > 0 {
			time.Sleep(debt)
		}
		for _, e := range answerers {
			e.answer()
		}
	}
}

// listening returns who listens, and what to sleep on. It forgets a bell that has no memory
// any more, because somebody has cut the file off.
func (l *listener) listening() (answerers []*answerer, words []sys.Word) {
	l.mu.Lock()
	defer l.mu.Unlock()
	words = append(words, sys.Word{Addr: &l.words, Seen: l.words.Load(), One: true})
	for e := range l.answerers {
		if len(answerers) == wordsPerThread {
			break
		}
		if !e.look() {
			delete(l.answerers, e)
			continue
		}
		answerers, words = append(answerers, e), append(words, e.Word)
	}
	l.running = len(answerers) > 0
	return answerers, words
}

// look reads the bell, and reports whether there is memory behind it.
func (e *answerer) look() (there bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { there = recover() == nil }()
	e.Seen = e.Addr.Load() // always 0, unless a faulty process has changed it
	return true
}
