package robust

import "time"

// A lookout is one goroutine for all waiters of a mapping whose locks pass from owner to
// owner. Such a lock needs no watch: there is a sign of life of each owner but the last,
// which is the release. The lookout finds out which is the last one. It looks seldom,
// because each look costs a process that sleeps more than what it looks at.
//
// Neither the lookout nor a watch wakes a waiter because its lock has another owner. It
// would lose its place among the sleepers, which the kernel wakes in the order in which
// they came.
type lookout struct {
	waiting map[*waiter]*Lock
	running bool
}

// longestLook is the longest time between two looks. The shortest is hintedTick.
const longestLook = 100 * time.Millisecond

// lookOut registers a waiter with the lookout until the caller calls leave. Within pause
// the wait should be over.
func (p *Party) lookOut(l *Lock, me *waiter, owner uint32, pause time.Duration) (leave func()) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	p.postLookout(l, me, owner, pause)
	return func() { p.unwatch(me) }
}

// postLookout puts a waiter on the lookout. p.watches.mu is held.
func (p *Party) postLookout(l *Lock, me *waiter, owner uint32, pause time.Duration) {
	o := &p.watches.lookout
	if o.waiting == nil {
		o.waiting = map[*waiter]*Lock{}
	}
	o.waiting[me] = l
	me.among, me.owner, me.look = o.waiting, owner, max(hintedTick, min(pause, longestLook))
	if !o.running {
		o.running = true
		go p.runLookout(me.look)
	}
}

// runLookout looks until nobody waits.
func (p *Party) runLookout(pause time.Duration) {
	for pause > 0 {
		time.Sleep(pause)
		pause = longestLook // if the memory is gone: the waiters find that out when their sleep is over
		unlessCutOff(func() { pause = p.lookAround() })
	}
}

// lookAround is one look. A waiter whose lock has had one owner since the last look goes
// on to the watch of that owner. It returns the time until the next look, or 0 if nobody
// waits.
func (p *Party) lookAround() (pause time.Duration) {
	t := &p.watches
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lookout.waiting) == 0 {
		t.lookout.running = false
		return 0
	}
	pause = longestLook
	for me, l := range t.lookout.waiting {
		now := l.mark()
		probed := p.MayProbe(&l.cell.Probed, hintedTick)
		switch {
		case now == 0 && probed:
			l.wakeOne()
		case now == 0:
		case p.Dead(now) || probed && !p.Alive(now):
			l.rouse(me)
			pause = repeatTick
			continue
		case now == me.owner:
			delete(t.lookout.waiting, me)
			p.watchOwner(l, me, now)
		default:
			me.owner = now
		}
		pause = min(pause, me.look)
	}
	return pause
}
