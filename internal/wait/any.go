package wait

import (
	"context"
	"time"

	"example.org/shm/internal/sys"
)

// Any sleeps until one of the words is no longer as it was seen, wake has a token, ctx
// is done or the time is over. It may return early. It keeps no thread of its own: one
// thread of the process sleeps for up to 127 words, and there are at most 8 such
// threads. A word for which none has room, or all words if the system lacks the call, are
// looked at a hundred times a second.
//
// Preconditions: those of Kernel, for each word.
func Any(ctx context.Context, words []sys.Word, wake chan struct{}, d time.Duration) {
	missed := func() bool { return false }
	waiters := make([]wordWaiter, len(words))
	for i, w := range words {
		waiters[i] = wordWaiter{Word: w, wake: wake, missed: missed, every: lastLook}
	}
	rest := waiters
	if sys.CanWaitAny() {
		for i := range anyThreads {
			n := multiWaits[i].addSome(rest)
			if n == 0 {
				continue
			}
			defer multiWaits[i].removeAll(rest[:n])
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
	}
	if len(rest) > 0 {
		poll.add(rest)
		defer poll.remove(rest)
	}
	sleepInGo(ctx, wake, d)
}

// AnyIn is Any for a goroutine in a bubble. If only goroutines of this process can change
// the words, here is true, and the bubble's clock may go on faster than the system's, as in
// SleepOn. It returns at once if a word was changed.
func AnyIn(ctx context.Context, b *Bubbled, words []sys.Word, here bool, d time.Duration) {
	for _, w := range words {
		defer joinBubbled(w.Addr, b)()
	}
	for _, w := range words {
		if w.Addr.Load() != w.Seen { // before the goroutine had joined
			return
		}
	}
	if first := words[0]; here {
		b.SleepOn(ctx, first.Addr, first.Seen, sys.AnyBit)
	} else {
		b.SleepRemote(ctx, first.Addr, first.Seen, sys.AnyBit, d)
	}
}
