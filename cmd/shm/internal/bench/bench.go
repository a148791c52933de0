// Package bench compares ways to share a number between processes: what an
// increment costs, how many increments are lost, and what happens to the other
// processes when one is killed in the middle of an increment.
//
// It measures real processes. Run starts this program again as its workers, so a
// program that uses this package calls Worker before anything else. The workers
// share an anonymous segment, and die with the process that has started them. So
// nothing is left behind, however a run ends.
//
//	Run ─ count.go, kill.go ─ workers.go ─ process.go ═ worker.go ─ way.go
//	      a measurement       its processes          in each process
//	    └ cpython.go ─ process.go ═ cpython.py
package bench

import (
	"context"
	"fmt"
	"time"
)

// Options are the options of Run.
type Options struct {
	Procs    int                                // larger number of processes, 2 to MaxProcs; the smaller number is 2
	Time     time.Duration                      // duration of a measurement; each way has two or three
	Progress func(done, total int, what string) // called before each step
}

// MaxProcs is the largest number of processes that can count at once.
const MaxProcs = 256

// subject is a way that is measured: one of this program, or one of CPython.
type subject interface {
	about() About
	alone(ctx context.Context, d time.Duration) (Alone, error)
	contend(ctx context.Context, procs int, d time.Duration) (Contended, error)
	kill(ctx context.Context) (round, error)
}

// Run measures every way. If the system lacks an optional way, the report lists the
// way as missing, with the reason. If any other way cannot be measured, Run returns
// an error. If ctx ends the run, Run returns the error of ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	procs := []int{2}
	if o.Procs > 2 {
		procs = append(procs, o.Procs)
	}
	report := &Report{Machine: thisMachine(ctx), Settings: Settings{
		Procs:        procs,
		TimeNS:       o.Time.Nanoseconds(),
		KillRounds:   killRounds,
		StuckAfterNS: stuckAfter.Nanoseconds(),
	}}
	all := subjects()
	steps := len(procs) + 2
	for i, s := range all {
		step := i * steps
		result, err := measure(ctx, s, procs, o.Time, func(what string) {
			o.Progress(step, len(all)*steps, s.about().Label+", "+what)
			step++
		})
		switch a := s.about(); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			report.Ways = append(report.Ways, *result)
		case a.optional:
			report.Missing = append(report.Missing, Missing{About: a, Reason: err.Error()})
		default:
			return nil, fmt.Errorf("measuring %s: %w", a.Label, err)
		}
	}
	report.Advice = advise(report.Ways)
	return report, nil
}

// subjects returns all ways, in the order of the table.
func subjects() []subject {
	var all []subject
	for _, w := range ways {
		all = append(all, w)
	}
	for _, c := range cpythons {
		all = append(all, c)
	}
	return all
}

// measure makes all measurements of one way.
func measure(ctx context.Context, s subject, procs []int, d time.Duration, step func(string)) (*Result, error) {
	r := &Result{About: s.about()}
	var err error
	step("alone")
	if r.Alone, err = s.alone(ctx, d); err != nil {
		return nil, err
	}
	made := int64(0)
	for _, n := range procs {
		step(fmt.Sprintf("%d %s", n, r.Actors))
		c, err := s.contend(ctx, n, d)
		if err != nil {
			return nil, err
		}
		r.Contended = append(r.Contended, c)
		r.Lost += c.Lost
		made += c.Ops
	}
	r.LostPercent = 100 * float64(r.Lost) / float64(made)
	step("kill -9")
	if r.Kill, err = killAll(ctx, s); err != nil {
		return nil, err
	}
	return r, nil
}
