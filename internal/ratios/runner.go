//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// runner measures comparisons in pairs: ours and the rival in turn, in an order
// that is drawn anew for each pair, in batches so short that the machine is the
// same for both.
type runner struct {
	pairs int
	batch time.Duration          // what one side of a pair takes
	clock func() time.Duration   // monotonic
	first func() (oursNext bool) // which side of the next pair begins
}

func newRunner(pairs int, batch time.Duration) *runner {
	begin := time.Now()
	return &runner{
		pairs: pairs,
		batch: batch,
		clock: func() time.Duration { return time.Since(begin) },
		first: func() bool { return rand.IntN(2) == 0 },
	}
}

// result is what was measured of one comparison.
type result struct {
	Name   string      `json:"name"`
	Ours   string      `json:"ours"`
	Rival  string      `json:"rival"`
	Unit   string      `json:"unit"`
	Pairs  int         `json:"pairs"`
	Each   [2]spread   `json:"each"`             // of ours, and of the rival
	Ratio  spread      `json:"ratio"`            // of ours to the rival's, pair by pair
	Allocs *[2]float64 `json:"allocs,omitempty"` // for one operation
	Target float64     `json:"target,omitempty"`
	More   bool        `json:"more,omitempty"` // more is better
	Long   bool        `json:"long,omitempty"`
	Note   string      `json:"note,omitempty"`
}

// met reports whether the median reaches the target.
func (r *result) met() bool {
	if r.More {
		return r.Ratio.Median >= r.Target
	}
	return r.Target == 0 || r.Ratio.Median <= r.Target
}

// run measures one comparison.
func (r *runner) run(c *comparison) (_ *result, err error) {
	b, err := newBed()
	if err != nil {
		return nil, err
	}
	defer b.close()
	res := &result{Name: c.name, Ours: c.what(), Rival: c.rival, Unit: c.unit, Target: c.target, More: c.more, Long: c.long, Note: c.note}
	if res.Unit == "" {
		res.Unit = "ns"
	}
	failed := catch(func() {
		var measure round
		switch {
		case c.loops != nil:
			ours, rival := c.loops(b)
			measure = r.alternate(r.timed(b, ours), r.timed(b, rival))
			res.Allocs = &[2]float64{r.allocs(b, ours), r.allocs(b, rival)}
		case c.sides != nil:
			ours, rival := c.sides(b)
			measure = r.alternate(ours, rival)
		default:
			measure = c.both(b)
		}
		pairs := r.pairs
		if c.pairs != 0 {
			pairs = c.pairs
		}
		var all [2][]float64
		if err = r.measure(pairs, measure, &all); err == nil {
			res.fill(all)
		}
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return res, nil
}

// measure makes some pairs and appends them.
func (r *runner) measure(pairs int, measure round, all *[2][]float64) error {
	for range pairs {
		ours, rival, err := measure()
		if err != nil {
			return err
		}
		all[0], all[1] = append(all[0], ours), append(all[1], rival)
	}
	return nil
}

// fill takes what was measured of ours and of the rival, pair by pair.
func (res *result) fill(all [2][]float64) {
	res.Pairs = len(all[0])
	res.Each = [2]spread{spreadOf(all[0]), spreadOf(all[1])}
	res.Ratio = spreadOf(ratiosOf(all[0], all[1]))
}

// alternate makes a round of two sides.
func (r *runner) alternate(ours, rival side) round {
	return func() (x, y float64, err error) {
		if r.first() {
			if x, err = ours(); err == nil {
				y, err = rival()
			}
			return x, y, err
		}
		if y, err = rival(); err == nil {
			x, err = ours()
		}
		return x, y, err
	}
}

// timed makes a side of a loop: a batch of it, in nanoseconds for one iteration.
func (r *runner) timed(b *bed, l loop) side {
	n := b.batch
	if n == 0 {
		n = r.calibrate(func(n int) time.Duration { return r.once(b, l, n) })
	}
	return func() (float64, error) {
		return float64(r.once(b, l, n).Nanoseconds()) / float64(n), nil
	}
}

// once returns how long n iterations take.
func (r *runner) once(b *bed, l loop, n int) time.Duration {
	if b.between != nil {
		b.between()
	}
	begin := r.clock()
	l(n)
	return r.clock() - begin
}

// calibrate returns how many iterations take about as long as a batch.
func (r *runner) calibrate(once func(n int) time.Duration) int {
	const most = 1 << 30
	for n := 1; ; n *= 2 {
		took := min(once(n), once(n), once(n)) // one may have been interrupted
		if took >= r.batch/2 || n >= most {
			return max(1, int(float64(n)*float64(r.batch)/float64(max(took, 1))))
		}
	}
}

// allocs returns how many objects one iteration allocates.
func (r *runner) allocs(b *bed, l loop) float64 {
	n := b.batch
	if n == 0 {
		n = 1000
	}
	if b.between != nil {
		b.between()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l(n)
	runtime.ReadMemStats(&after)
	return float64(int(float64(after.Mallocs-before.Mallocs)/float64(n)*10)) / 10 // the runtime's own are few
}
