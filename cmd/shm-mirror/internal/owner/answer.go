package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
)

// lockWithin is how long a request waits for the lock of a value.
const lockWithin = 2 * time.Second

var errConflict = errors.New("the value has changed meanwhile")

// answer handles requests to set a value, until stop is called.
func (r *run) answer() (stop func(), err error) {
	requests := make(chan *nats.Msg, 64)
	sub, err := r.conn.NC.ChanSubscribe(r.o.Origin.Requests(), requests)
	if err != nil {
		return nil, fmt.Errorf("taking requests: %w", err)
	}
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for {
			select {
			case <-done:
				return
			case m := <-requests:
				b, err := json.Marshal(r.set(m.Data))
				if err == nil {
					_ = m.Respond(b) // who asked has a time limit
				}
			}
		}
	}()
	return func() {
		_ = sub.Unsubscribe()
		close(done)
		<-finished
	}, nil
}

// set does what a request asks for.
func (r *run) set(data []byte) wire.Reply {
	host, _ := os.Hostname() // "" says less
	refuse := func(kind, by string, err error) wire.Reply {
		return wire.Reply{Error: err.Error(), Kind: kind, By: by}
	}
	var q wire.Request
	if err := json.Unmarshal(data, &q); err != nil {
		return refuse("failed", host, fmt.Errorf("the request: %w", err))
	}
	if !matches(r.o.Writable, q.Name) {
		return refuse("refused", host, fmt.Errorf("value %q of %s is not to be set from afar: no -writable of the owner's agent matches it", q.Name, r.o.Origin))
	}
	// A second attachment, because the agent's own cannot write. It shares nothing with it.
	s, err := shm.Open(r.o.Path, &shm.Options{MustExist: true})
	if err != nil {
		return refuse("failed", host, err)
	}
	defer s.Close()
	e, ok := s.Lookup(q.Name)
	if !ok {
		return refuse("absent", host, fmt.Errorf("no value %q in %s: %w", q.Name, r.o.Origin, fs.ErrNotExist))
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockWithin)
	defer cancel()
	err = e.UpdateContext(ctx, func(any) (string, error) {
		if q.If == nil {
			return q.Text, nil
		}
		now, err := r.commit(e)
		if err == nil && now != *q.If {
			err = fmt.Errorf("%w: it is of commit %d, not %d", errConflict, now, *q.If)
		}
		return q.Text, err
	})
	switch {
	case errors.Is(err, errConflict):
		return refuse("conflict", host, err)
	case errors.Is(err, context.DeadlineExceeded):
		l, _ := e.Lock()
		by := host
		if l.Held {
			by = l.Program + " (pid " + strconv.Itoa(l.Pid) + ")"
		}
		return refuse("locked", by, fmt.Errorf("value %q: %s: %w", q.Name, l, err))
	case errors.Is(err, fs.ErrInvalid), errors.Is(err, strconv.ErrRange), errors.Is(err, shm.ErrTooLong):
		return refuse("layout", host, err)
	case err != nil:
		return refuse("failed", host, err)
	}
	now, err := r.commit(e)
	if err != nil {
		return refuse("failed", host, err)
	}
	return wire.Reply{Commit: now}
}

// commit returns the number of a value's commit, as a replica sees it: the value's own, or
// of a value that has none, that of the agent, if what the agent saw is still there. A
// change that the agent has not seen yet counts as one.
func (r *run) commit(e shm.Entry) (uint64, error) {
	b, own, err := e.Bytes(0)
	if err != nil || published(e) {
		return own, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	it := r.items[r.o.Origin.Key(e.Name, 0, e.Parts())]
	if it == nil {
		return 0, nil
	}
	if it.seen && string(b) == string(it.last) {
		return it.commit, nil
	}
	return it.commit + 1, nil
}
