// Package owner is the agent at the owner of a segment: it publishes the values.
//
// It attaches read-only, takes no lock, and looks at the values once an interval: writers
// never wait for it, and of several changes within an interval only the newest is sent.
// Values go out without acknowledgement. Once a second a heartbeat does wait for one. A
// server handles what one connection sends in order, so an acknowledged heartbeat says
// that the values before it arrived. If there is any doubt, or the connection was lost
// meanwhile, all values are sent again: a replica takes only what is newer than what it
// has. All are sent again within sweepAfter in any case, or once an interval if that is
// longer.
//
// Each run on one segment is an epoch. The time in which there is no segment is one too,
// without values: so an agent that waits for its segment is the one that publishes the
// origin, and two agents for one origin notice each other.
//
// A slow connection gets fewer changes: pace bounds the bytes that wait in it.
//
// The package imports wire, broker, internal/format, internal/glob, internal/sys and
// package shm of this project.
package owner

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
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

// stats is what an agent has done since it started.
type stats struct{ published, conflated, again uint64 }

// Run publishes until ctx is done, or fails. The error wraps ErrTaken if another agent
// publishes the same origin.
func Run(ctx context.Context, conn *broker.Conn, o Options) error {
	var s stats
	var past wire.Past
	kv, err := firstMade(ctx, conn, o)
	if err != nil {
		return err
	}
	for {
		r := &run{
			o: o, conn: conn, epoch: wire.NewEpoch(), past: past, items: map[string]*item{}, told: map[string]bool{},
			stats: &s, pace: newPace(conn.NC.FlushWithContext),
		}
		r.segment, err = shm.Open(o.Path, &shm.Options{ReadOnly: true})
		switch {
		case err == nil:
			r.identity, err = identity(r.segment)
		case errors.Is(err, fs.ErrNotExist):
			o.Log("there is no %s yet", shm.Path(o.Path))
			r.segment, err = nil, nil
		}
		if err == nil {
			err = r.run(ctx, kv)
		}
		past = r.past.With(r.epoch)
		if r.segment != nil {
			_ = r.segment.Close()
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// firstMade is conn.Make at the start, when the servers of a cluster may have no leader
// yet. It tries for startWithin.
func firstMade(ctx context.Context, conn *broker.Conn, o Options) (jetstream.KeyValue, error) {
	told := map[string]bool{}
	for end := time.Now().Add(startWithin); ; {
		limit, cancel := context.WithTimeout(ctx, beatWithin)
		kv, err := conn.Make(limit)
		cancel()
		if err == nil || ctx.Err() != nil || time.Now().After(end) || !broker.MayPass(err) {
			return kv, err
		}
		if text := err.Error(); !told[text] {
			told[text] = true
			o.Log("%s: trying again", text)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(beatEvery):
		}
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
