//go:build (linux && shmportable) || darwin || freebsd

package sys

import (
	"runtime"
	"sync/atomic"
	"time"
)

// spinning is a wait that begins with looks at the word.
type spinning struct {
	began time.Time
	limit time.Duration
}

// lookFor is how long the next spinning goes on, in nanoseconds.
var lookFor atomic.Int64

func startSpin() spinning {
	return spinning{time.Now(), max(time.Duration(lookFor.Load()), shortLook)}
}

// spin calls look again and again for a short time, which is at most d, until it returns
// true, which spin reports.
func (w spinning) spin(look func() bool, d time.Duration) bool {
	for limit := min(w.limit, d); !look(); runtime.Gosched() {
		if time.Since(w.began) >= limit {
			return false
		}
	}
	return true
}

// end is the end of the wait. The next spinning is long if this wait was so short that a
// sleep has cost about as much, else half as long as this one. So two processes that hand
// something to and fro do not sleep, and one that waits for long spends little on looks.
func (w spinning) end() {
	next := w.limit / 2
	if time.Since(w.began) < shortWait {
		next = longLook
	}
	if old := lookFor.Load(); old != int64(next) {
		lookFor.Store(int64(next))
	}
}
