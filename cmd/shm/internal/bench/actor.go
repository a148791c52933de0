package bench

import (
	"slices"
	"sync"
	"time"

	"example.org/shm"
)

// This file has what a worker does with its counter.

// tally is the result of one actor that counts.
type tally struct {
	Ops     int64
	NS      int64   // how long it counted
	NSPerOp float64 // of the median batch
}

// sighting is the result of a follower.
type sighting struct {
	Before  int64  // increments that it made before the kill
	AfterNS int64  // time from the kill to its next increment, or to its error
	Failed  string // the text of the error
}

// countAll lets all actors of this worker count. They start at the same time.
func countAll(at place, c counter, j job) error {
	stop, err := shm.NewAtomic[uint32](at.segment, nameOfStop, 0)
	if err != nil {
		return err
	}
	ready()
	if err := at.awaitGate(); err != nil {
		return err
	}
	tallies, errs := make([]tally, j.Actors), make([]error, j.Actors)
	var wg sync.WaitGroup
	for i := range j.Actors {
		var seat []int
		if j.Seats != nil {
			seat = j.Seats[i : i+1]
		}
		wg.Go(func() {
			errs[i] = onCPUs(seat, func() (err error) {
				tallies[i], err = count(c, j.Time, stop)
				return err
			})
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	if p, ok := c.(private); ok {
		number, err := newRaw(at.segment)
		if err != nil {
			return err
		}
		number.v.Set(p.number())
	}
	return answer(tallies)
}

// batchTime is the approximate duration of a batch of increments. It is long compared
// with a reading of the clock, and short compared with a time slice of the
// scheduler.
const batchTime = 200 * time.Microsecond

// count increments until the time of the first actor is over. Then all actors stop, so
// that none of them counts undisturbed after the others are done.
func count(c counter, d time.Duration, stop shm.Atomic[uint32]) (tally, error) {
	var t tally
	var perOp []float64
	n := 1
	elapsed := stopwatch()
	last := time.Duration(0)
	for stop.Load() == 0 {
		if err := c.add(n); err != nil {
			return t, err
		}
		now := elapsed()
		took := now - last
		last = now
		t.Ops += int64(n)
		if took >= batchTime/2 {
			perOp = append(perOp, float64(took)/float64(n))
		}
		switch {
		case took < batchTime/2:
			n *= 2
		case took > 2*batchTime:
			n = max(1, n/2)
		}
		if now >= d {
			stop.Store(1)
		}
	}
	t.NS = max(1, last.Nanoseconds())
	t.NSPerOp = float64(t.NS) / float64(max(1, t.Ops))
	if len(perOp) > 0 {
		slices.Sort(perOp)
		t.NSPerOp = perOp[len(perOp)/2]
	}
	return t, nil
}

// hold begins an increment, calls held, and does not complete the increment: it keeps
// the lock. If the way has no lock, it increments without end.
func hold(at place, c counter, held func()) error {
	l, ok := c.(locker)
	if !ok {
		held()
		for {
			if err := c.add(1); err != nil {
				return err
			}
		}
	}
	if err := l.lock(); err != nil {
		return err
	}
	held()
	return at.awaitGate()
}

// follow increments until the victim's death is certain, and once more.
func follow(s *shm.Segment, c counter) error {
	killed, err := shm.NewAtomic[int64](s, nameOfKilled, 0)
	if err != nil {
		return err
	}
	reaped, err := shm.NewAtomic[uint32](s, nameOfReaped, 0)
	if err != nil {
		return err
	}
	var saw sighting
	for last := false; !last; {
		last = reaped.Load() != 0
		err := c.add(1)
		at := killed.Load()
		switch {
		case at == 0 && err != nil:
			return err
		case at == 0:
			saw.Before++
		case saw.AfterNS == 0:
			saw.AfterNS = max(1, monotonic()-at)
		}
		if err != nil {
			saw.Failed = err.Error()
			break
		}
	}
	return answer(saw)
}
