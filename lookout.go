package shm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A lookout is one thread that sleeps in the kernel for many words at once, for
// those who await changes and have no slot of their own, which costs them one
// wake-up more, from thread to thread. A change wakes everybody, so another may sleep for them; who
// waits for a lock is woken alone, and has to sleep by itself.
//
// Invariant: the word of a post is mapped while the post is in the table; whoever
// has put it there takes it out before it lets go of the mapping.
type lookout struct {
	mu    sync.Mutex
	posts map[*post]struct{}
	bell  atomic.Uint32 // moves when a post was added, or the last one is gone
	awake bool          // its goroutine runs
}

// awaitedWord is a word, and what it is until something happens.
type awaitedWord struct {
	word *atomic.Uint32
	seen uint32
}

const (
	lookoutWords = 127 // FUTEX_WAITV takes 128, and one is the bell
	maxLookouts  = 8   // threads
)

var lookouts [maxLookouts]lookout

// lookOut sleeps in Go until a token comes, the word has changed, something was
// missed or ctx is done. It returns false at once where no lookout has room, or
// the system has no call for it.
//
// Preconditions: as for kernelSleep.
func lookOut(ctx context.Context, at *post) bool {
	if !canWaitAny() {
		return false
	}
	for i := range lookouts {
		if lookouts[i].add(at) {
			defer lookouts[i].remove(at)
			select {
			case <-at.wake:
			case <-ctx.Done():
			}
			return true
		}
	}
	return false
}

func (l *lookout) add(at *post) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posts) >= lookoutWords {
		return false
	}
	if l.posts == nil {
		l.posts = map[*post]struct{}{}
	}
	l.posts[at] = struct{}{}
	if !l.awake {
		l.awake = true
		go l.run()
		return true
	}
	l.ring()
	return true
}

func (l *lookout) remove(at *post) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.posts, at)
	if len(l.posts) == 0 && l.awake {
		l.ring()
	}
}

func (l *lookout) ring() {
	l.bell.Add(1)
	futexWake(&l.bell, 1, anyBit)
}

// run ends when nobody is left. Its looks heal a change whose maker was killed
// before it could wake anybody: they start short and grow.
func (l *lookout) run() {
	pause := firstLook
	var words []awaitedWord
	for {
		rung := l.bell.Load()
		if words, pause = l.watched(append(words[:0], awaitedWord{&l.bell, rung}), pause); len(words) == 1 {
			return
		}
		late, err := futexWaitAny(words, pause)
		if err != nil {
			time.Sleep(patrolEvery) // it only looks, then
		}
		l.report(late || err != nil)
		switch {
		case l.bell.Load() != rung:
			pause = firstLook
		case late:
			pause *= 2
		}
	}
}

// watched appends the words of all posts, and bounds pause by how often they are
// to be looked at.
func (l *lookout) watched(words []awaitedWord, pause time.Duration) ([]awaitedWord, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.posts {
		words = append(words, at.awaitedWord)
		pause = min(pause, at.every)
	}
	l.awake = len(l.posts) > 0
	return words, pause
}

// report wakes those who have something to look at.
func (l *lookout) report(ask bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.posts {
		if at.word.Load() != at.seen || ask && at.missed() {
			delete(l.posts, at)
			leaveToken(at.wake)
		}
	}
}
