package owner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"example.org/shm"
	"example.org/shm/cmd/shm-mirror/internal/wire"
)

var errConflict = errors.New("the value has changed meanwhile")

// set does what a request asks for, if it gets the value's lock before ctx is done.
func (r *run) set(ctx context.Context, q wire.Request) wire.Reply {
	// A second attachment, because the agent's own cannot write. It shares nothing with it.
	s, err := shm.Open(r.o.Path, &shm.Options{MustExist: true})
	if err != nil {
		return refuse("failed", err)
	}
	defer s.Close()
	e, ok := s.Lookup(q.Name)
	if !ok {
		return refuse("absent", fmt.Errorf("no value %q in %s: %w", q.Name, r.o.Origin, fs.ErrNotExist))
	}
	c := &change{r: r, e: e, q: q}
	if numbered(e) {
		if c.it, err = r.itemOf(s, e); err != nil {
			return refuse("failed", err)
		}
	}
	switch {
	case q.If == nil:
	case !numbered(e):
		return refuse("refused", fmt.Errorf("value %q: -if is not for a %s, which does not change as a whole under one lock", q.Name, e.Type()))
	case c.it == nil:
		return refuse("refused", fmt.Errorf("value %q is not published by the owner's agent, so it has no commit that -if could name", q.Name))
	}
	if c.it != nil {
		if c.draft, err = newDraft(e); err != nil {
			return refuse("failed", err)
		}
		defer c.draft.s.Close()
	}
	made, err := c.make(ctx)
	switch {
	case errors.Is(err, errConflict):
		return refuse("conflict", err)
	case errors.Is(err, context.DeadlineExceeded):
		l, _ := e.Lock()
		reply := refuse("locked", fmt.Errorf("value %q: %s: %w", q.Name, l, err))
		if l.Held {
			reply.By = l.Program + " (pid " + strconv.Itoa(l.Pid) + ")"
		}
		return reply
	case errors.Is(err, fs.ErrInvalid), errors.Is(err, strconv.ErrRange), errors.Is(err, shm.ErrTooLong):
		return refuse("layout", err)
	case err != nil:
		return refuse("failed", err)
	}
	return wire.Reply{Commit: made}
}

// numbered reports whether a change of the value can be told from those before and behind
// it: it is made under one lock, or is one compare-and-swap.
func numbered(e shm.Entry) bool {
	switch name, _, _ := strings.Cut(e.Type(), "["); name {
	case "Value", "Struct", "String", "Array", "Atomic":
		return true
	}
	return false
}

// itemOf returns what is published of a value, or nil if it is not published. s is not the
// agent's own attachment, and may be a segment that was made anew.
func (r *run) itemOf(s *shm.Segment, e shm.Entry) (*item, error) {
	id, err := identity(s)
	if err != nil || id != r.identity {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.items[r.o.Origin.Key(e.Name, 0, 1)], nil
}

// change is a request that is done.
type change struct {
	r     *run
	e     shm.Entry
	q     wire.Request
	it    *item // nil: there is no number to be told
	draft *draft

	held      bool // r.mu is
	was, will wire.Commit
	bytes     []byte // of will
}

// make makes the change, and returns its commit, which is nil if there is no number.
func (c *change) make(ctx context.Context) (*wire.Commit, error) {
	if c.it == nil {
		return nil, c.e.UpdateContext(ctx, func(any) (string, error) { return c.q.Text, nil })
	}
	// The agent does not look at a value that it counts the changes of between this one and
	// its number. It does not wait long: the value's lock is taken first.
	defer func() {
		if c.held {
			c.r.mu.Unlock()
		}
	}()
	if err := c.e.UpdateContext(ctx, c.text); err != nil {
		return nil, err
	}
	if c.held && c.will != c.was {
		c.it.count, c.it.last = c.will.Number, c.bytes
	}
	return &c.will, nil
}

// text returns the request's text, if the value is of the commit that the request names.
// It is called under the value's lock, or for an Atomic, which has none, before each
// compare-and-swap from the integer old.
func (c *change) text(old any) (string, error) {
	counted := !published(c.e)
	if counted && !c.held {
		c.r.mu.Lock()
		c.held = true
	}
	b, n, err := c.before(old)
	if err != nil {
		return "", err
	}
	if counted {
		n = c.it.observe(b)
	}
	c.was = wire.Commit{Number: n, Epoch: c.r.epoch}
	if c.q.If != nil && *c.q.If != c.was {
		return "", fmt.Errorf("%w: it is of commit %v, not %v", errConflict, c.was, *c.q.If)
	}
	if err := c.draft.e.Parse(c.q.Text); err != nil {
		return "", err
	}
	if c.bytes, _, err = c.draft.e.Bytes(0); err != nil {
		return "", err
	}
	c.will = c.was
	if !bytes.Equal(b, c.bytes) {
		c.will.Number++
	}
	return c.q.Text, nil
}

// before makes the draft what the value is, and returns its bytes, and the number of its
// commit if it has one of its own.
func (c *change) before(old any) (b []byte, n uint64, err error) {
	if c.e.Access == shm.AccessAtomic { // it may be another one by now
		if err := c.draft.e.Parse(fmt.Sprint(old)); err != nil {
			return nil, 0, err
		}
		return c.draft.e.Bytes(0)
	}
	if b, n, err = c.e.Bytes(0); err == nil {
		err = c.draft.e.SetBytes(context.Background(), 0, b)
	}
	return b, n, err
}

// draft is a value like another one, which only this process has.
type draft struct {
	s *shm.Segment
	e shm.Entry
}

func newDraft(e shm.Entry) (*draft, error) {
	about, err := e.Description()
	if err != nil {
		return nil, err
	}
	s, err := shm.Anonymous(nil)
	if err != nil {
		return nil, err
	}
	like, err := s.Make(about)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &draft{s, like}, nil
}
