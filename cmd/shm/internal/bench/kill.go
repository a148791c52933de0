package bench

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"example.org/shm"
)

const (
	killRounds = 5
	// asleepAfter is how long the follower has waited when the holder of the lock is
	// killed. It is so long that the follower sleeps, as most waiters do.
	asleepAfter = 30 * time.Millisecond
	// stuckAfter is how long the benchmark waits for a follower. A way that recovers
	// needs milliseconds. The rest of the time is for a busy machine.
	stuckAfter = 2 * time.Second
)

// round is the result of one kill.
type round struct {
	Outcome Outcome `json:"outcome"`
	AfterNS int64   `json:"after_ns"` // 0 if there was no increment and no error after it
}

// killAll runs all rounds. It stops at a round that is stuck, as such a round takes
// long, and the other rounds would be stuck as well.
func killAll(ctx context.Context, s subject) (k Kill, err error) {
	worst := -1
	var after []int64
	for range killRounds {
		r, err := s.kill(ctx)
		if err != nil {
			return k, err
		}
		rank := slices.Index(outcomes, r.Outcome)
		if rank < 0 {
			return k, errors.New("no outcome: " + string(r.Outcome))
		}
		worst = max(worst, rank)
		k.RoundsNS = append(k.RoundsNS, r.AfterNS)
		if r.AfterNS > 0 {
			after = append(after, r.AfterNS)
		}
		if r.Outcome == Stuck {
			break
		}
	}
	k.Outcome = outcomes[worst]
	if len(after) > 0 {
		slices.Sort(after)
		k.AfterNS = &after[len(after)/2]
	}
	return k, nil
}

// kill kills a process in the middle of an increment while another process wants to
// increment, and finds out what the other process can do.
func (w way) kill(ctx context.Context) (r round, err error) {
	c, err := startWorkers(ctx, w, 1, 0)
	if err != nil {
		return r, err
	}
	defer c.stop()
	killed, err := shm.NewAtomic[int64](c.segment, nameOfKilled, 0)
	if err != nil {
		return r, err
	}
	reaped, err := shm.NewAtomic[uint32](c.segment, nameOfReaped, 0)
	if err != nil {
		return r, err
	}
	victim, follower, err := c.victimAndFollower()
	if err != nil {
		return r, err
	}
	if err := sleep(ctx, asleepAfter); err != nil {
		return r, err
	}
	if victim != follower { // otherwise the follower could answer before it is killed
		killed.Store(monotonic())
	}
	if err := victim.kill(); err != nil {
		return r, err
	}
	reaped.Store(1)
	var saw sighting
	err = follower.answer(&saw, stuckAfter)
	r.AfterNS = saw.AfterNS
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.Outcome, r.AfterNS = Stuck, stuckAfter.Nanoseconds()
	case errors.Is(err, errEnded) && victim == follower && ctx.Err() == nil:
		r.Outcome = ProcessGone
	case err != nil:
		return r, c.why(err)
	case saw.Failed != "":
		r.Outcome = ServiceGone
	case saw.Before > 0:
		r.Outcome = WentOn
	default:
		r.Outcome = Recovered
	}
	return r, nil
}

// victimAndFollower starts a victim, and then the process that follows it. They are the same
// process if the actors are goroutines.
func (c *workers) victimAndFollower() (victim, follower *process, err error) {
	switch {
	case c.way.local():
		victim, err = c.addReady(job{Role: both})
		return victim, victim, err
	case c.way.owned:
		victim = c.owner
	default:
		if victim, err = c.addReady(job{Role: holds}); err != nil {
			return nil, nil, err
		}
	}
	follower, err = c.addReady(job{Role: follows})
	return victim, follower, err
}

// sleep sleeps for d. If ctx ends before, it returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
