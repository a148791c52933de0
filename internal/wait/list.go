package wait

import (
	"iter"
	"sync/atomic"
)

// sleeper is a goroutine that awaits a change.
type sleeper struct {
	wake    chan struct{} // one token; it may be stale, so the receiver looks at the word again
	version func() uint64 // of what the sleeper looks at
	looked  uint64        // the version that it has seen

	next, prev *sleeper // in the list of its group
	listed     bool     // in it; guarded by the group

	// The word for which another goroutine has announced this one and taken it out of the
	// list, plus told; 0 if none has.
	told atomic.Uint64
	out  bool // it has not come back to the list since; for its own goroutine
}

const told = 1 << 32

// sleeperList is a list, because the first of those that are left in a map takes long to
// find.
type sleeperList struct {
	first, last *sleeper
	n           int
}

func (l *sleeperList) add(s *sleeper) {
	if s.listed {
		return
	}
	s.listed = true
	l.n++
	s.prev, s.next = l.last, nil
	if l.last == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
}

func (l *sleeperList) remove(s *sleeper) {
	if !s.listed {
		return
	}
	s.listed = false
	l.n--
	if s.prev == nil {
		l.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

// all yields the sleepers in the list.
func (l *sleeperList) all() iter.Seq[*sleeper] {
	return func(yield func(*sleeper) bool) {
		for s := l.first; s != nil; s = s.next {
			if !yield(s) {
				return
			}
		}
	}
}
