package wait

import "iter"

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
