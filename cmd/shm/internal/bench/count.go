package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// alone lets one actor count.
func (w way) alone(ctx context.Context, d time.Duration) (Alone, error) {
	c, err := w.contend(ctx, 1, d)
	if err != nil {
		return Alone{}, err
	}
	if c.Lost != 0 {
		return Alone{}, fmt.Errorf("the number grew by %d in %d increments that nobody disturbed", c.Ops-c.Lost, c.Ops)
	}
	return Alone{NSPerOp: c.nsPerOp, Ops: c.Ops}, nil
}

// contend lets several actors count at once.
func (w way) contend(ctx context.Context, actors int, d time.Duration) (r Contended, err error) {
	clients, each := actors, 1
	if w.local() {
		clients, each = 1, actors
	}
	c, err := startWorkers(ctx, w, clients, d)
	if err != nil {
		return r, err
	}
	defer c.stop()
	var seats []int
	if !w.float {
		seats = seatsFor(actors)
	}
	for i := range clients {
		j := job{Role: counts, Actors: each, Client: i, Time: d}
		var here []int // processors of the whole process, from its start
		switch {
		case w.local():
			j.Seats = seats
		case seats != nil:
			here = seats[i : i+1]
		}
		if _, err := c.add(j, here); err != nil {
			return r, err
		}
	}
	for _, p := range c.workers {
		if err := p.awaitReady(); err != nil {
			return r, c.why(err)
		}
	}
	if err := c.begin(); err != nil {
		return r, err
	}
	var all []tally
	for _, p := range c.workers {
		var tallies []tally
		if err := p.answer(&tallies, 0); err != nil {
			return r, c.why(err)
		}
		all = append(all, tallies...)
	}
	if len(all) != actors {
		return r, errors.New("some actors did not report")
	}
	number, err := w.read(c.segment)
	if err != nil {
		return r, err
	}
	r = sum(all, number)
	r.Pinned = seats != nil
	return r, nil
}

// sum adds up the counts of the actors and compares the sum with the number.
func sum(all []tally, number int64) Contended {
	r := Contended{Procs: len(all), nsPerOp: all[0].NSPerOp}
	longest := int64(0)
	for _, t := range all {
		r.Ops += t.Ops
		r.Counts = append(r.Counts, t.Ops)
		longest = max(longest, t.NS)
	}
	r.Seconds = float64(longest) / 1e9
	r.MOps = float64(r.Ops) / r.Seconds / 1e6
	r.Lost = r.Ops - number
	return r
}
