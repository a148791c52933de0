package owner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go/jetstream"
)

// run is one epoch: from when the segment was attached until it is replaced, or from when
// there was none until there is one.
type run struct {
	o        Options
	conn     *broker.Conn
	epoch    wire.Epoch
	past     wire.Past
	segment  *shm.Segment // nil: there is none
	identity string
	items    map[string]*item
	order    []*item
	next     int // in order: the item to look at next
	left     int // items that are still to be looked at in this interval
	swept    int
	large    int // items that are larger than a message
	buffer   []byte
	doubt    bool   // something may not have arrived
	lost     uint64 // connections that had been lost when all was sent last
	told     map[string]bool
	stats    *stats
	pace     *pace

	mu sync.Mutex // guards what requests use: items, and last and count of each
}

// run publishes until the segment is replaced, and returns nil then. Without a segment it
// does so once there is one.
func (r *run) run(ctx context.Context, kv jetstream.KeyValue) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := r.begin(ctx, kv)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if len(r.o.Writable) > 0 && r.segment != nil {
		stop, err := r.answer()
		if err != nil {
			return err
		}
		defer stop()
	}
	ticks := time.NewTicker(r.o.Interval)
	defer ticks.Stop()
	beats := make(chan beaten, 1)
	// The heartbeat has a clock of its own: an interval may be longer than a replica waits
	// for one.
	seconds := time.NewTicker(beatEvery)
	defer seconds.Stop()
	due, beating := true, false
	for {
		if due && !beating {
			if r.over() {
				return nil
			}
			r.refresh()
			due, beating = false, true
			beat, sure := r.beat()
			go func() { beats <- r.put(ctx, kv, beat, sure) }()
		}
		if r.conn.NC.IsConnected() {
			r.publish(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			if r.left == 0 {
				r.left = len(r.order)
				r.sweep()
			}
		case <-seconds.C:
			due = true
		case a := <-r.pace.answers:
			r.pace.answered(a)
		case b := <-beats:
			beating = false
			if kv, err = r.beaten(ctx, kv, b); err != nil {
				return err
			}
		}
	}
}

// over reports whether the segment was replaced, or is there now.
func (r *run) over() bool {
	if r.segment == nil {
		s, err := shm.Open(r.o.Path, &shm.Options{ReadOnly: true})
		if err == nil {
			_ = s.Close()
		}
		return !errors.Is(err, fs.ErrNotExist)
	}
	replaced, err := r.segment.Replaced()
	return err == nil && replaced
}

// begin makes this epoch the current one, as soon as there is a server.
func (r *run) begin(ctx context.Context, kv jetstream.KeyValue) (jetstream.KeyValue, error) {
	for began := time.Now(); ; {
		err := r.announce(ctx, kv)
		if err == nil || ctx.Err() != nil {
			r.lost = r.conn.Lost()
			return kv, nil
		}
		err = fmt.Errorf("announcing %s: %w", r.o.Origin, err)
		if len(r.past) == 0 && time.Since(began) > startWithin {
			return nil, err // not permitted, perhaps: nothing has ever worked
		}
		r.once(err.Error(), "%v: trying again", err)
		select {
		case <-ctx.Done():
			return kv, nil
		case <-time.After(beatEvery):
		}
		if kv, err = r.remake(ctx, kv); err != nil {
			return nil, err
		}
	}
}

// publish looks at the items that are left, as far as the connection takes what is new.
func (r *run) publish(ctx context.Context) {
	for ; r.left > 0 && !r.pace.full(ctx); r.left-- {
		r.next = (r.next + 1) % len(r.order)
		r.look(r.order[r.next])
	}
}

// beaten deals with what became of a heartbeat.
func (r *run) beaten(ctx context.Context, kv jetstream.KeyValue, b beaten) (jetstream.KeyValue, error) {
	if b.err != nil {
		r.doubt = true
		if ctx.Err() != nil {
			return kv, nil
		}
		if errors.Is(b.err, ErrTaken) {
			return nil, b.err
		}
		return r.remake(ctx, kv)
	}
	if lost := r.conn.Lost(); lost != r.lost || r.doubt {
		// What was sent before it on another connection may not have arrived.
		r.lost, r.doubt = lost, false
		r.again()
		return kv, nil
	}
	for it, seq := range b.sure {
		it.sure = seq
	}
	return kv, nil
}

// again makes all values be sent again.
func (r *run) again() {
	r.stats.again++
	r.left = len(r.order)
	for _, it := range r.order {
		it.sent = false
		if it.ring {
			it.commit = it.sure
		}
	}
}

// sweep has some values sent again, so that all are within sweepAfter, or once an interval
// if that is longer.
func (r *run) sweep() {
	n := len(r.order)
	for range (n*int(r.o.Interval/time.Millisecond) + int(sweepAfter/time.Millisecond) - 1) / int(sweepAfter/time.Millisecond) {
		r.swept = (r.swept + 1) % n
		r.order[r.swept].again = true
	}
}

// once logs what concerns a value, the first time.
func (r *run) once(about, format string, args ...any) {
	if !r.told[about] {
		r.told[about] = true
		r.o.Log(format, args...)
	}
}
