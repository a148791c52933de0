// Package replica is the agent that keeps a copy of a segment: a segment of its own, which
// only this agent writes.
//
// The agent applies what is newer than what it has: commit numbers grow within an epoch,
// and the owner's agent says which epoch is current. So each value only ever goes forward.
// Wall clocks are shown and never compared.
//
// What it has stored of which epoch stands in the replica, so that an agent that starts
// again takes nothing older either.
//
// The package imports wire, broker, internal/layout and package shm of this project.
package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	silentAfter = 3500 * time.Millisecond // without a heartbeat, of which there is one a second
	lookEvery   = 100 * time.Millisecond  // at the state
	retryAfter  = 500 * time.Millisecond
	lockWithin  = 100 * time.Millisecond // a value's lock, which only this agent takes
)

// Options says which origin, and where the replica is.
type Options struct {
	Origin wire.Origin
	Name   string // of the replica
	Log    func(format string, args ...any)
}

// kept is what the agent knows of one part of a value.
type kept struct {
	about   string // its description; "" if there is no entry yet
	entry   shm.Entry
	refused bool // counted in Status.Refused
	ring    bool

	// lost says that the value ended with the agent before this one, although number is
	// right: a Gauge has the numbers of living processes.
	lost bool

	// number is one more than the commit that the replica has in this epoch. Of a ring, it
	// is the difference between the numbers at the owner and here: an append makes one
	// store that counts, so an agent killed within it leaves nothing out and appends nothing
	// twice.
	number shm.Atomic[uint64]
}

type agent struct {
	o       Options
	conn    *broker.Conn
	segment *shm.Segment
	st      *Status
	parts   map[string]*kept
	commits *numbers // of values that are no rings
	offsets *numbers // of rings
	epoch   wire.Epoch
	past    wire.Past
	known   bool      // the epoch is
	heard   time.Time // by the monotonic clock; zero: never
	began   time.Time
	beat    wire.Beat
	refused uint64
	sent    int64  // of the newest heartbeat, by the owner's clock
	told    string // the state that was told last
	trouble string // the error that was told last
	checked time.Time
	limit   limit

	metaKey, beatKey string
}

// errGone says that somebody has removed the replica.
var errGone = errors.New("the replica was removed")

// Run keeps the replica until ctx is done. If somebody removes the replica, Run makes it
// again. The error wraps ErrNoReplica or ErrKept if there is no replica to keep, and
// broker.ErrBucket if the bucket holds something else.
func Run(ctx context.Context, conn *broker.Conn, o Options) error {
	limit, cancel := context.WithTimeout(ctx, silentAfter)
	_, err := conn.Bucket(limit)
	cancel()
	if errors.Is(err, broker.ErrBucket) {
		return err // before there is a replica
	}
	for {
		err := keepOne(ctx, conn, o)
		if !errors.Is(err, errGone) {
			return err
		}
		o.Log("%s: %v: it is made again", shm.Path(o.Name), err)
	}
}

// keepOne keeps the replica until ctx is done or the replica is removed.
func keepOne(ctx context.Context, conn *broker.Conn, o Options) error {
	s, st, err := open(o.Name, o.Origin)
	if err != nil {
		return err
	}
	a := &agent{o: o, conn: conn, segment: s, st: st, parts: map[string]*kept{}, began: time.Now(), metaKey: o.Origin.Meta(), beatKey: o.Origin.Beat()}
	defer func() {
		a.tell(Stopped)
		a.limit.end()
		st.Agent.Unlock()
		_ = s.Close()
	}()
	if err := a.restore(); err != nil {
		return err
	}
	a.tell(Waiting)
	for ctx.Err() == nil {
		err := a.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, broker.ErrBucket) || errors.Is(err, shm.ErrFormat) || errors.Is(err, errGone) {
			return err
		}
		if text := err.Error(); text != a.trouble && conn.NC.IsConnected() {
			a.trouble = text
			a.o.Log("%s: %s: trying again", a.o.Origin, text)
		}
		if err := a.look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	return nil
}

// follow applies what arrives until the stream of changes ends, or is silent for so long
// that it may have stalled.
func (a *agent) follow(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, silentAfter)
	defer cancel()
	kv, err := a.conn.Bucket(limit)
	if err != nil {
		return err
	}
	// Values may come before the epoch that they are of, so it is asked for. Without one,
	// nobody has published the origin so far.
	meta, err := kv.Get(limit, a.o.Origin.Meta())
	switch {
	case err == nil:
		a.meta(meta.Value())
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("reading the epoch: %w", err)
	}
	var mu sync.Mutex // guards a and what follows
	quiet, over := time.Now(), false
	var lastBeat []byte
	ended, stop, err := a.conn.Changes(ctx, a.o.Origin.All(), func(key string, value []byte) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			quiet, a.trouble = time.Now(), ""
			if key == a.beatKey {
				lastBeat = value
			}
			a.apply(key, value, quiet)
		}
	})
	if err != nil {
		return err
	}
	defer func() {
		mu.Lock()
		over = true
		mu.Unlock()
		stop() // ends the consumer at the server, too
	}()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	look := func() (silent bool, err error) {
		mu.Lock()
		defer mu.Unlock()
		return time.Since(quiet) > silentAfter, a.look()
	}
	asked, answers := time.Time{}, make(chan error, 1)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case err := <-answers:
			if err != nil {
				return err
			}
			asked = time.Now()
		case <-ticks.C:
			silent, err := look()
			if err != nil {
				return err
			}
			// Either the owner is silent, or the stream of changes has stalled. The bucket
			// knows: a new stream would only send all values again.
			if silent && time.Since(asked) > silentAfter {
				asked = time.Now().Add(time.Hour) // until there is an answer
				mu.Lock()
				beat := lastBeat
				mu.Unlock()
				go func() { answers <- a.stalled(ctx, kv, beat) }()
			}
		}
	}
}

// stalled returns an error if the bucket has another heartbeat than the one that has
// arrived last, which is nil if none has, or if the bucket gives no answer.
func (a *agent) stalled(ctx context.Context, kv jetstream.KeyValue, arrived []byte) error {
	limit, cancel := context.WithTimeout(ctx, silentAfter)
	defer cancel()
	e, err := kv.Get(limit, a.o.Origin.Beat())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		if arrived == nil {
			return nil
		}
	case err != nil:
		return fmt.Errorf("reading the heartbeat: %w", err)
	case bytes.Equal(e.Value(), arrived):
		return nil
	}
	return errors.New("nothing has arrived for long, and there is another heartbeat")
}
