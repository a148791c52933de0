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
// The package imports wire, broker and package shm of this project.
package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
	// there may be a heartbeat: the owner's segment does not exist yet.
	meta, err := kv.Get(limit, a.o.Origin.Meta())
	switch {
	case err == nil:
		a.meta(meta.Value())
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("reading the epoch: %w", err)
	}
	var mu sync.Mutex // guards a, quiet and over
	quiet, over := time.Now(), false
	ended, stop, err := a.conn.Changes(ctx, a.o.Origin.All(), func(key string, value []byte) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			quiet = time.Now()
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
	a.trouble = ""
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	look := func() error {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(quiet) > silentAfter {
			return errors.New("nothing has arrived for long")
		}
		return a.look()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case <-ticks.C:
			if err := look(); err != nil {
				return err
			}
		}
	}
}

// apply takes note of a message that has arrived now.
func (a *agent) apply(key string, b []byte, now time.Time) {
	switch key {
	case a.metaKey:
		a.meta(b)
		return
	case a.beatKey:
		if err := json.Unmarshal(b, &a.beat); err != nil {
			return
		}
		// One that was kept by the server tells nothing of now: only its time could, and
		// clocks differ. Two different ones do.
		if sent := a.beat.Sent.UnixNano(); sent != a.lastBeat() {
			a.noteBeat(sent)
		}
		return
	}
	v, err := wire.Decode(b)
	if err != nil {
		a.refuse(key, a.part(key), err)
		return
	}
	if !a.known || v.Epoch != a.epoch {
		return // of an agent that is not the current one
	}
	k := a.part(key)
	err = a.prepare(key, k, &v)
	if err == nil {
		if !k.ring && v.Commit < k.number.Load() {
			return
		}
		err = a.set(k, &v, now)
	}
	if err != nil {
		a.refuse(key, k, err) // the owner sends it again within half a minute, so it is tried again
		return
	}
	if k.refused {
		k.refused = false
		a.refused--
		a.st.Refused.Store(a.refused)
		if a.refused == 0 {
			a.store(a.st.Why, "")
		}
	}
	a.st.Applied.Add(1)
	a.st.Lag.Observe(now.Sub(v.Sent).Seconds())
}

func (a *agent) part(key string) *kept {
	k := a.parts[key]
	if k == nil {
		k = &kept{}
		a.parts[key] = k
	}
	return k
}

// prepare makes the value in the replica, if it is not there or has another layout.
func (a *agent) prepare(key string, k *kept, v *wire.Value) error {
	if v.Order != wire.NativeOrder {
		return fmt.Errorf("the owner's processor has its bytes in the other order")
	}
	if k.about == "" || string(v.Description) != k.about {
		var d shm.Description
		if err := json.Unmarshal(v.Description, &d); err != nil {
			return fmt.Errorf("description %.200q: %w", v.Description, err)
		}
		if own(d.Name) {
			return fmt.Errorf("value %q: names of a replica's own values cannot be copied; a replica of a replica is made from the owner", d.Name)
		}
		if v.Torn && !strings.Contains(d.Help, tornHelp) {
			d.Help = strings.TrimSpace(d.Help + " " + tornHelp)
		}
		e, err := a.segment.Make(d)
		if err != nil {
			return err
		}
		numbers := a.commits
		k.ring = isRing(e)
		if k.ring {
			numbers = a.offsets
		}
		if k.number, err = numbers.of(key); err != nil {
			return err
		}
		k.entry, k.about = e, string(v.Description)
	}
	if n := k.entry.Parts(); n != v.Parts {
		return fmt.Errorf("value %q: %d parts, and %d at the owner", k.entry.Name, n, v.Parts)
	}
	return nil
}

const tornHelp = "(may be torn)"

func isRing(e shm.Entry) bool { return strings.HasPrefix(e.Type(), "Ring[") }

// set makes the replica's value what the owner's was.
func (a *agent) set(k *kept, v *wire.Value, now time.Time) error {
	ctx := a.limit.at(now)
	if k.ring {
		return a.append(ctx, k, v)
	}
	if err := k.entry.SetBytes(ctx, v.Part, v.Bytes); err != nil {
		return err
	}
	k.number.Store(v.Commit + 1) // an agent killed before it stores the value once more
	return nil
}

// limit is a context that ends half a lockWithin to one lockWithin after it was asked for.
// One context and its timer are for many values.
type limit struct {
	ctx    context.Context
	cancel context.CancelFunc
	made   time.Time
}

func (l *limit) at(now time.Time) context.Context {
	if l.ctx == nil || now.Sub(l.made) > lockWithin/2 {
		l.end()
		l.ctx, l.cancel = context.WithTimeout(context.Background(), lockWithin)
		l.made = now
	}
	return l.ctx
}

func (l *limit) end() {
	if l.cancel != nil {
		l.cancel()
	}
}

// append appends to a ring what it does not have.
func (a *agent) append(ctx context.Context, k *kept, v *wire.Value) error {
	size := k.entry.Layout.Size
	n := uint64(len(v.Bytes) / size)
	if len(v.Bytes)%size != 0 || n == 0 || n > v.Commit {
		return fmt.Errorf("value %q: %d bytes for values of %d up to number %d", k.entry.Name, len(v.Bytes), size, v.Commit)
	}
	_, here, err := k.entry.Bytes(0)
	if err != nil {
		return err
	}
	first, done := v.Commit-n+1, here+k.number.Load()
	for i := range n {
		at := first + i
		if at <= done {
			continue
		}
		if at != done+1 {
			if done != 0 {
				a.st.Missed.Add(at - done - 1)
			}
			k.number.Store(at - 1 - here)
		}
		if err := k.entry.SetBytes(ctx, 0, v.Bytes[int(i)*size:int(i+1)*size]); err != nil {
			return err
		}
		here, done = here+1, at
	}
	return nil
}

// refuse counts a value that cannot be kept, and says why of the first one.
func (a *agent) refuse(key string, k *kept, err error) {
	if k.refused {
		return
	}
	k.refused = true
	a.refused++
	a.st.Refused.Store(a.refused)
	a.o.Log("%s: %s is refused: %v", a.o.Origin, key, err)
	if a.st.Why.Load() == "" {
		text := err.Error()
		a.store(a.st.Why, text[:min(len(text), a.st.Why.Cap())])
	}
}

func (a *agent) store(to shm.String, text string) {
	if err := to.Store(strings.ToValidUTF8(text, "?")); err != nil {
		a.o.Log("%s: %v", a.o.Origin, err)
	}
}
