// Package replica is the agent that keeps a copy of a segment: a segment of its own, which
// only this agent writes.
//
// The agent applies what is newer than what it has: commit numbers grow within an epoch,
// and the owner's agent says which epoch is current. So each value only ever goes forward.
// Wall clocks are shown and never compared.
//
// The package imports wire, broker and package shm of this project.
package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
	about   string // its description
	entry   shm.Entry
	commit  uint64
	any     bool               // commit is valid
	refused bool               // counted in Status.Refused
	seq     shm.Atomic[uint64] // of a ring: the number at the owner of the newest value
}

type agent struct {
	o       Options
	conn    *broker.Conn
	segment *shm.Segment
	st      *Status
	parts   map[string]*kept
	epoch   wire.Epoch
	known   bool      // the epoch is
	heard   time.Time // by the monotonic clock; zero: never
	began   time.Time
	beat    wire.Beat
	refused uint64
	sent    int64  // of the newest heartbeat, by the owner's clock
	told    string // the state that was told last
}

// Run keeps the replica until ctx is done. The error wraps ErrNoReplica or ErrKept if
// there is no replica to keep.
func Run(ctx context.Context, conn *broker.Conn, o Options) error {
	s, st, err := open(o.Name, o.Origin)
	if err != nil {
		return err
	}
	a := &agent{o: o, conn: conn, segment: s, st: st, parts: map[string]*kept{}, began: time.Now()}
	defer func() {
		a.tell(Stopped)
		st.Agent.Unlock()
		_ = s.Close()
	}()
	st.Refused.Store(0)
	if err := st.Why.Store(""); err != nil {
		return err
	}
	a.tell(Waiting)
	for ctx.Err() == nil {
		err := a.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, broker.ErrBucket) || errors.Is(err, shm.ErrFormat) {
			return err
		}
		a.look()
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
	meta, err := kv.Get(limit, a.o.Origin.Meta())
	if err != nil {
		return err
	}
	a.meta(meta.Value())
	watching, end := context.WithCancel(ctx)
	defer end() // ends the consumer at the server, too
	w, err := kv.Watch(watching, a.o.Origin.All())
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	quiet := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("the stream of changes has ended")
			case e == nil: // that was the state at the start
			case e.Operation() == jetstream.KeyValuePut:
				a.apply(e.Key(), e.Value())
				quiet = time.Now()
			}
		case <-ticks.C:
			a.look()
			if time.Since(quiet) > silentAfter {
				return errors.New("nothing has arrived for long")
			}
		}
	}
}

func (a *agent) meta(b []byte) {
	var m wire.Meta
	if err := json.Unmarshal(b, &m); err != nil || m.Version != wire.Version {
		a.o.Log("%s: the owner's agent is of another version: %.200q", a.o.Origin, b)
		a.known = false
		return
	}
	if a.known && a.epoch == m.Epoch {
		return
	}
	a.epoch, a.known = m.Epoch, true
	for _, k := range a.parts {
		k.any = false
	}
	if a.st.Segment.Load() != m.Segment { // its rings begin anew
		for e := range a.segment.Entries() {
			if strings.HasPrefix(e.Name, seqPrefix) {
				if err := e.Parse("0"); err != nil {
					a.o.Log("%s: %v", a.o.Origin, err)
				}
			}
		}
		a.store(a.st.Segment, m.Segment)
	}
}

// seqPrefix begins the names of values that say how far a ring was copied.
const seqPrefix = "mirror/ring "

// own reports whether a value of a replica is the agent's and not a copy.
func own(name string) bool { return strings.HasPrefix(name, "mirror/") }

func (a *agent) apply(key string, b []byte) {
	switch key {
	case a.o.Origin.Meta():
		a.meta(b)
		return
	case a.o.Origin.Beat():
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
	if k.any && v.Commit <= k.commit {
		return
	}
	if err := a.set(k, &v); err != nil {
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
	k.commit, k.any = v.Commit, true
	a.st.Applied.Add(1)
	a.st.Lag.Observe(time.Since(v.Sent).Seconds())
}

func (a *agent) part(key string) *kept {
	k := a.parts[key]
	if k == nil {
		k = &kept{}
		a.parts[key] = k
	}
	return k
}

// set makes the replica's value what the owner's was.
func (a *agent) set(k *kept, v *wire.Value) error {
	if v.Order != wire.NativeOrder {
		return fmt.Errorf("the owner's processor has its bytes in the other order")
	}
	if string(v.Description) != k.about || !k.any {
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
		if e.Parts() != v.Parts {
			return fmt.Errorf("value %q: %d parts, and %d at the owner", d.Name, e.Parts(), v.Parts)
		}
		if strings.HasPrefix(e.Type(), "Ring[") {
			if k.seq, err = shm.NewAtomic(a.segment, seqPrefix+d.Name, uint64(0)); err != nil {
				return err
			}
		}
		k.entry, k.about = e, string(v.Description)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockWithin)
	defer cancel()
	if strings.HasPrefix(k.entry.Type(), "Ring[") {
		return a.append(ctx, k, v)
	}
	return k.entry.SetBytes(ctx, v.Part, v.Bytes)
}

const tornHelp = "(may be torn)"

// append appends to a ring what it does not have.
func (a *agent) append(ctx context.Context, k *kept, v *wire.Value) error {
	size := k.entry.Layout.Size
	n := uint64(len(v.Bytes) / size)
	if len(v.Bytes)%size != 0 || n == 0 || n > v.Commit {
		return fmt.Errorf("value %q: %d bytes for values of %d up to number %d", k.entry.Name, len(v.Bytes), size, v.Commit)
	}
	first, done := v.Commit-n+1, k.seq.Load()
	if done != 0 && first > done+1 {
		a.st.Missed.Add(first - done - 1)
	}
	for i := range n {
		if first+i <= done {
			continue
		}
		if err := k.entry.SetBytes(ctx, 0, v.Bytes[int(i)*size:int(i+1)*size]); err != nil {
			return err
		}
		k.seq.Store(first + i)
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
