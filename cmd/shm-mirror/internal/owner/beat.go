package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/broker"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"example.org/shm/internal/sys"
	"github.com/nats-io/nats.go/jetstream"
)

func (r *run) meta() wire.Meta {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" elsewhere: it is for people
	return wire.Meta{
		Version: wire.Version, Epoch: r.epoch, Past: r.past, Boot: strings.TrimSpace(string(boot)), File: shm.Path(r.o.Path), Segment: r.identity,
		Started: time.Now(), Interval: r.o.Interval, Writable: r.o.Writable,
	}
}

// current reads which epoch the server has. The error wraps ErrTaken if it is a later one.
// older says that it is one that is over, or none: the server has lost what it knew, or a
// member of a cluster that lags behind has answered.
func (r *run) current(ctx context.Context, kv jetstream.KeyValue) (older bool, err error) {
	e, err := kv.Get(ctx, r.o.Origin.Meta())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var m wire.Meta
	if err := json.Unmarshal(e.Value(), &m); err != nil || m.Epoch == r.epoch {
		return err != nil, nil
	}
	if slices.Contains(r.past, m.Epoch) {
		return true, nil
	}
	return false, fmt.Errorf("%w: %s, since %s; end one of the two", ErrTaken, r.o.Origin, m.Started.Format(time.RFC3339))
}

// announce makes this epoch the current one.
func (r *run) announce(ctx context.Context, kv jetstream.KeyValue) error {
	limit, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	e, err := kv.Get(limit, r.o.Origin.Meta())
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return err
	}
	if err == nil {
		var m wire.Meta
		if err := json.Unmarshal(e.Value(), &m); err == nil && m.Epoch != r.epoch {
			r.past = r.past.With(append(wire.Past{m.Epoch}, m.Past...)...)
		}
	}
	return r.tell(limit, kv)
}

func (r *run) tell(ctx context.Context, kv jetstream.KeyValue) error {
	b, err := json.Marshal(r.meta())
	if err == nil {
		_, err = kv.Put(ctx, r.o.Origin.Meta(), b)
	}
	return err
}

// beaten is what became of a heartbeat.
type beaten struct {
	err  error
	sure map[*item]uint64 // of rings: what had been sent before it
}

func (r *run) beat() (wire.Beat, map[*item]uint64) {
	b := wire.Beat{
		Epoch: r.epoch, Sent: time.Now(), Attached: r.segment != nil, Values: len(r.order), TooLarge: r.large,
		Published: r.stats.published, Conflated: r.stats.conflated, Again: r.stats.again,
	}
	if r.segment != nil {
		b.Living, b.Dead = processes(r.segment)
	}
	sure := map[*item]uint64{}
	for _, it := range r.order {
		if it.ring {
			sure[it] = it.commit
		}
	}
	return b, sure
}

// processes counts the processes of a segment, without this one.
func processes(s *shm.Segment) (living, dead int) {
	for p := range s.Processes() {
		switch {
		case !p.Alive():
			dead++
		case !itself(p):
			living++
		}
	}
	return living, dead
}

// itself reports whether a living process is this agent, which has attached for writing if
// it was asked to set a value.
func itself(p shm.Process) bool { return p.Pid == os.Getpid() && p.Namespace == sys.PidNamespace() }

// errOlder says that the server does not know this epoch any more.
var errOlder = errors.New("the server has an older state")

// put sends a heartbeat and waits for the server, and then asks whether this epoch is the
// current one still.
func (r *run) put(ctx context.Context, kv jetstream.KeyValue, beat wire.Beat, sure map[*item]uint64) beaten {
	limit, cancel := context.WithTimeout(ctx, beatWithin)
	defer cancel()
	b, err := json.Marshal(beat)
	if err == nil {
		_, err = kv.Put(limit, r.o.Origin.Beat(), b)
	}
	if err != nil {
		return beaten{err: err}
	}
	older, err := r.current(limit, kv)
	if err == nil && older {
		err = errOlder
	}
	return beaten{err, sure}
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
	if older, err := r.current(limit, again); err == nil && older {
		for _, it := range r.order {
			it.sure = 0 // what the server had of a ring is lost with the epoch
		}
		_ = r.tell(limit, again) // if it fails, the next heartbeat does
	}
	return again, nil
}
