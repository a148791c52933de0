package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"example.org/shm/cmd/shm-mirror/internal/wire"
	"github.com/nats-io/nats.go"
)

const (
	lockWithin = 2 * time.Second // so long a request waits for the lock of a value
	askWithin  = 5 * time.Second // so long who asks waits, if the request does not say

	maxWaiting = 64   // requests for one value
	maxBusy    = 1024 // values
)

// requests takes what others ask to set. Requests for one value are handled in order, and those
// for other values at the same time: a value whose lock is held holds up no other one.
type requests struct {
	r    *run
	ctx  context.Context
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	waiting map[string][]asked // a name is there while a goroutine handles its requests
}

// asked is a request that waits.
type asked struct {
	m     *nats.Msg
	q     wire.Request
	until time.Time // nobody waits for an answer any more
}

// answer handles requests to set a value, until stop is called.
func (r *run) answer() (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &requests{r: r, ctx: ctx, waiting: map[string][]asked{}}
	sub, err := r.conn.NC.Subscribe(r.o.Origin.Requests(), d.take)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("taking requests: %w", err)
	}
	return func() {
		_ = sub.Unsubscribe()
		d.mu.Lock()
		d.closed = true
		d.mu.Unlock()
		cancel()
		d.work.Wait()
	}, nil
}

// take puts a request behind those for the same value.
func (d *requests) take(m *nats.Msg) {
	a := asked{m: m}
	if err := json.Unmarshal(m.Data, &a.q); err != nil {
		respond(m, refuse("failed", fmt.Errorf("the request: %w", err)))
		return
	}
	if a.q.Within <= 0 {
		a.q.Within = askWithin
	}
	a.until = time.Now().Add(a.q.Within)
	name := a.q.Name
	if !matches(d.r.o.Writable, name) {
		respond(m, refuse("refused", fmt.Errorf("value %q of %s is not to be set from afar: no -writable of the owner's agent matches it", name, d.r.o.Origin)))
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before, busy := d.waiting[name]
	switch {
	case d.closed:
		respond(m, refuse("failed", errors.New("the owner's agent ends")))
	case len(before) >= maxWaiting || !busy && len(d.waiting) >= maxBusy:
		respond(m, refuse("locked", fmt.Errorf("value %q: too many requests wait already", name)))
	default:
		d.waiting[name] = append(before, a)
		if !busy {
			d.work.Go(func() { d.handle(name) })
		}
	}
}

// handle handles the requests for a value until there is none.
func (d *requests) handle(name string) {
	for {
		d.mu.Lock()
		all := d.waiting[name]
		if len(all) == 0 {
			delete(d.waiting, name)
			d.mu.Unlock()
			return
		}
		a := all[0]
		d.waiting[name] = all[1:]
		d.mu.Unlock()
		respond(a.m, d.do(a))
	}
}

// do does what a request asks for, unless nobody waits for that any more.
func (d *requests) do(a asked) wire.Reply {
	if d.ctx.Err() != nil {
		return refuse("failed", errors.New("the owner's agent ends"))
	}
	left := time.Until(a.until)
	if left <= 0 {
		return refuse("locked", fmt.Errorf("value %q: the requests before this one took longer than %v", a.q.Name, a.q.Within))
	}
	ctx, cancel := context.WithTimeout(d.ctx, min(left, lockWithin))
	defer cancel()
	return d.r.set(ctx, a.q)
}

func respond(m *nats.Msg, reply wire.Reply) {
	if b, err := json.Marshal(reply); err == nil {
		_ = m.Respond(b) // who asked has a time limit
	}
}

// refuse is the reply to a request that the agent does not do.
func refuse(kind string, err error) wire.Reply {
	host, _ := os.Hostname() // "" says less
	return wire.Reply{Error: err.Error(), Kind: kind, By: host}
}
