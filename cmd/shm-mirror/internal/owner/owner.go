// Package owner is the agent at the owner of a segment: it publishes the values.
//
// It attaches read-only, takes no lock, and looks at the values once an interval: writers
// never wait for it, and of several changes within an interval only the newest is sent.
// Values go out without acknowledgement. Once a second a heartbeat does wait for one. A
// server handles what one connection sends in order, so an acknowledged heartbeat says
// that the values before it arrived. If there is any doubt, all values are sent again: a
// replica takes only what is newer than what it has. All are sent again within
// sweepAfter in any case.
//
// The package imports wire, broker, internal/format and package shm of this project.
package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"example.org/shm/internal/format"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	beatEvery  = time.Second
	beatWithin = 2 * time.Second // a server has to acknowledge it
	sweepAfter = 30 * time.Second

	startWithin = 20 * time.Second
)

// ErrTaken says that another agent publishes the same origin.
var ErrTaken = errors.New("another agent publishes this origin")

// Options says what is published, and how.
type Options struct {
	Origin   wire.Origin
	Path     string   // of the segment, or its name
	Allow    []string // globs of names
	Raw      []string // globs of names whose values may be torn
	Writable []string // globs of names that requests may set
	Interval time.Duration
	Log      func(format string, args ...any)
}

// CheckGlobs returns an error that names the first glob with a mistake in it.
func CheckGlobs(globs ...string) error {
	for _, g := range globs {
		if _, err := path.Match(g, "x"); err != nil {
			return fmt.Errorf("glob %q: %w", g, err)
		}
	}
	return nil
}

// run is one epoch: from when the segment was attached until it is replaced.
type run struct {
	o        Options
	conn     *broker.Conn
	epoch    wire.Epoch
	segment  *shm.Segment
	identity string
	items    map[string]*item
	order    []*item
	swept    int
	buffer   []byte
	doubt    *atomic.Bool // something may not have arrived
	told     map[string]bool
	stats    *stats

	mu sync.Mutex // guards what requests read of items: sent, commit and last
}

// stats is what an agent has done since it started.
type stats struct {
	published, conflated, again atomic.Uint64
	large, values               int
}

// Run publishes until ctx is done, or fails. The error wraps ErrTaken if another agent
// publishes the same origin.
func Run(ctx context.Context, conn *broker.Conn, o Options) error {
	var s stats
	var doubt atomic.Bool
	kv, err := firstMade(ctx, conn, o)
	if err != nil {
		return err
	}
	for {
		segment, err := shm.Open(o.Path, &shm.Options{ReadOnly: true})
		if errors.Is(err, fs.ErrNotExist) {
			err = absent(ctx, kv, o, &s)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		r := &run{o: o, conn: conn, epoch: wire.NewEpoch(), segment: segment, items: map[string]*item{}, told: map[string]bool{}, doubt: &doubt, stats: &s}
		if r.identity, err = identity(segment); err == nil {
			err = r.run(ctx, kv)
		}
		_ = segment.Close()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// firstMade is conn.Make at the start, when the servers of a cluster may have no leader
// yet. It tries for startWithin.
func firstMade(ctx context.Context, conn *broker.Conn, o Options) (jetstream.KeyValue, error) {
	for end := time.Now().Add(startWithin); ; {
		limit, cancel := context.WithTimeout(ctx, beatWithin)
		kv, err := conn.Make(limit)
		cancel()
		if err == nil || ctx.Err() != nil || time.Now().After(end) || !broker.MayPass(err) {
			return kv, err
		}
		o.Log("%v: trying again", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(beatEvery):
		}
	}
}

// absent tells that there is no such segment, and waits a while.
func absent(ctx context.Context, kv jetstream.KeyValue, o Options, s *stats) error {
	limit, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	b, err := json.Marshal(wire.Beat{Sent: time.Now(), Published: s.published.Load(), Conflated: s.conflated.Load()})
	if err == nil {
		_, _ = kv.Put(limit, o.Origin.Beat(), b) // the next one says the same
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(beatEvery):
		return err
	}
}

// identity returns what no other segment has.
func identity(s *shm.Segment) (string, error) {
	header := make([]byte, format.TableOffset)
	if _, err := s.File().ReadAt(header, 0); err != nil {
		return "", err
	}
	f, err := s.File().Stat()
	if err != nil {
		return "", err
	}
	start, err := format.CheckHeader(header, f.Size())
	return strconv.FormatUint(start.Identity, 16), err
}

func (r *run) meta() wire.Meta {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" elsewhere: it is for people
	return wire.Meta{
		Version: wire.Version, Epoch: r.epoch, Boot: strings.TrimSpace(string(boot)), File: shm.Path(r.o.Path), Segment: r.identity,
		Started: time.Now(), Interval: r.o.Interval, Writable: r.o.Writable,
	}
}

// announce makes this epoch the current one.
func (r *run) announce(ctx context.Context, kv jetstream.KeyValue) error {
	b, err := json.Marshal(r.meta())
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	_, err = kv.Put(limit, r.o.Origin.Meta(), b)
	return err
}

// run publishes until the segment is replaced, and returns nil then.
func (r *run) run(ctx context.Context, kv jetstream.KeyValue) error {
	for r.announce(ctx, kv) != nil { // a server may be starting again
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(beatEvery):
		}
		var err error
		if kv, err = r.remake(ctx, kv); err != nil {
			return err
		}
	}
	r.doubt.Store(false)
	if len(r.o.Writable) > 0 {
		stop, err := r.answer()
		if err != nil {
			return err
		}
		defer stop()
	}
	ticks := time.NewTicker(r.o.Interval)
	defer ticks.Stop()
	beats := make(chan beaten, 1)
	var beating bool
	var nextBeat time.Time
	for {
		now := time.Now()
		if now.After(nextBeat) && !beating {
			nextBeat = now.Add(beatEvery)
			r.refresh()
			r.stats.values = len(r.order)
			if len(r.order) == 0 {
				r.once("", "no value of %s is to be published yet", r.o.Path)
			}
			if replaced, err := r.segment.Replaced(); err == nil && replaced {
				return nil
			}
			beating = true
			beat, sure := r.beat()
			go func() { beats <- r.put(ctx, kv, beat, sure) }()
		}
		if r.conn.NC.IsConnected() {
			for _, it := range r.order {
				r.look(it, false)
			}
			r.sweep()
		}
		select {
		case <-ctx.Done():
			return nil
		case b := <-beats:
			beating = false
			if b.err != nil {
				r.doubt.Store(true)
				if errors.Is(b.err, ErrTaken) || ctx.Err() != nil {
					return b.err
				}
				var err error
				if kv, err = r.remake(ctx, kv); err != nil {
					return err
				}
			} else {
				for it, seq := range b.sure {
					it.sure = seq
				}
				if r.doubt.CompareAndSwap(true, false) {
					r.again()
				}
			}
		case <-ticks.C:
		}
	}
}

// again makes all values be sent again.
func (r *run) again() {
	r.stats.again.Add(1)
	for _, it := range r.order {
		if it.ring {
			it.commit = it.sure
		} else {
			it.sent = false
		}
	}
}

// sweep sends some values again, so that all are within sweepAfter.
func (r *run) sweep() {
	n := len(r.order)
	for range (n*int(r.o.Interval/time.Millisecond) + int(sweepAfter/time.Millisecond) - 1) / int(sweepAfter/time.Millisecond) {
		r.swept = (r.swept + 1) % n
		if it := r.order[r.swept]; !it.ring {
			r.look(it, true)
		}
	}
}

// beaten is what became of a heartbeat.
type beaten struct {
	err  error
	sure map[*item]uint64 // of rings: what had been sent before it
}

func (r *run) beat() (wire.Beat, map[*item]uint64) {
	b := wire.Beat{
		Epoch: r.epoch, Sent: time.Now(), Attached: true, Values: len(r.order), TooLarge: r.stats.large,
		Published: r.stats.published.Load(), Conflated: r.stats.conflated.Load(), Again: r.stats.again.Load(),
	}
	for p := range r.segment.Processes() {
		if p.Alive() {
			b.Living++
		} else {
			b.Dead++
		}
	}
	sure := map[*item]uint64{}
	for _, it := range r.order {
		if it.ring {
			sure[it] = it.commit
		}
	}
	return b, sure
}

// put sends a heartbeat and waits for the server, and then asks whether this epoch is the
// current one still.
func (r *run) put(ctx context.Context, kv jetstream.KeyValue, beat wire.Beat, sure map[*item]uint64) beaten {
	limit, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	b, err := json.Marshal(beat)
	if err != nil {
		return beaten{err: err}
	}
	if _, err := kv.Put(limit, r.o.Origin.Beat(), b); err != nil {
		return beaten{err: err}
	}
	e, err := kv.Get(limit, r.o.Origin.Meta())
	if err != nil {
		return beaten{err: err}
	}
	var m wire.Meta
	if err := json.Unmarshal(e.Value(), &m); err == nil && m.Epoch != r.epoch {
		return beaten{err: fmt.Errorf("%w: %s, since %s; end one of the two", ErrTaken, r.o.Origin, m.Started.Format(time.RFC3339))}
	}
	return beaten{sure: sure}
}

// remake finds the bucket again, or makes it again if the server has lost it, and then
// says again what the epoch is.
func (r *run) remake(ctx context.Context, kv jetstream.KeyValue) (jetstream.KeyValue, error) {
	limit, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	again, err := r.conn.Make(limit)
	if err != nil {
		if errors.Is(err, broker.ErrBucket) {
			return nil, err
		}
		return kv, nil // no server at the moment: the next heartbeat tries again
	}
	if _, err := again.Get(limit, r.o.Origin.Meta()); errors.Is(err, jetstream.ErrKeyNotFound) {
		_ = r.announce(ctx, again) // if it fails, the next heartbeat does
	}
	return again, nil
}

// once logs what concerns a value, the first time.
func (r *run) once(about, format string, args ...any) {
	if !r.told[about] {
		r.told[about] = true
		r.o.Log(format, args...)
	}
}
