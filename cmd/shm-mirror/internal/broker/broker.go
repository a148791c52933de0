// Package broker is what the agents use of NATS: a connection that comes back by itself,
// and the bucket that has the newest state of each value.
//
// The package imports nothing of this project.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options says how to reach NATS. What concerns credentials and TLS is handed to the
// client of NATS as it is.
type Options struct {
	URL         string
	Credentials string // file with a JWT and a key
	Nkey        string // file with the seed of an nkey
	CA          string // file with certificates of authorities
	Cert, Key   string // files of this client's certificate
	Bucket      string
	Replicas    int // of the bucket, in a cluster; if this process makes it
	Memory      bool
	Name        string                            // of this client, for NATS's own tools
	Changed     func(bool, error)                 // called when the connection is there, or gone; may be nil
	Trouble     func(error)                       // called with what the server objects to; may be nil
	Limits      func(o *jetstream.KeyValueConfig) // for tests; may be nil
}

// ErrBucket says that a bucket holds something else.
var ErrBucket = errors.New("the bucket was not made by shm-mirror")

// ErrEnded says that the server has ended a connection for good: for a reason that the
// client of NATS does not know, so that it does not connect again.
var ErrEnded = errors.New("the connection to NATS has ended and does not come back")

const description = "values of shared memory, by shm-mirror"

// CheckBucket returns why no bucket can have a name, or nil.
func CheckBucket(name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return fmt.Errorf("bucket %q: a name consists of letters, digits, - and _", name)
	}
	return nil
}

// Conn is a connection to NATS, and a bucket.
type Conn struct {
	NC    *nats.Conn
	JS    jetstream.JetStream
	o     Options
	ended chan struct{} // closed once the connection has ended for good
}

// Connect connects. It fails if there is no server at the moment, so that a mistake in the
// URL is noticed. Later the connection comes back by itself, also after the server has
// refused the credentials: it may know them again a moment later. What ends the connection
// for good, Use reports.
func Connect(o Options) (*Conn, error) {
	changed := o.Changed
	if changed == nil {
		changed = func(bool, error) {}
	}
	trouble := seldom(o.Trouble)
	ended := make(chan struct{})
	options := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond), nats.Timeout(5 * time.Second),
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(),
		nats.ClosedHandler(func(*nats.Conn) { close(ended) }),
		nats.ReconnectBufSize(-1), // what cannot be sent is not kept: the newest is sent later
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { changed(false, err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { trouble(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { changed(true, nil) }),
	}
	if o.Credentials != "" {
		options = append(options, nats.UserCredentials(o.Credentials))
	}
	if o.Nkey != "" {
		key, err := nats.NkeyOptionFromSeed(o.Nkey)
		if err != nil {
			return nil, fmt.Errorf("nkey in %s: %w", o.Nkey, err)
		}
		options = append(options, key)
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if o.Cert != "" || o.Key != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	nc, err := nats.Connect(o.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", redacted(o.URL), inside(err))
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Conn{nc, js, o, ended}, nil
}

// sameAfter is for how long an error with the same text is not told again: with the wrong
// password there is one at each attempt to connect.
const sameAfter = time.Minute

// seldom returns a function that calls tell, which may be nil, unless it did so with the
// same error a short time ago.
func seldom(tell func(error)) func(error) {
	var mu sync.Mutex
	var text string
	var at time.Time
	return func(err error) {
		if tell == nil {
			return
		}
		mu.Lock()
		same := err.Error() == text && time.Since(at) < sameAfter
		if !same {
			text, at = err.Error(), time.Now()
		}
		mu.Unlock()
		if !same {
			tell(err)
		}
	}
}

// Use calls f with a context that also ends when the connection has ended for good. If it
// has, the error wraps ErrEnded.
func (c *Conn) Use(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-ctx.Done():
		case <-c.ended:
			cancel(ErrEnded)
		}
	}()
	err := f(ctx)
	if errors.Is(context.Cause(ctx), ErrEnded) {
		return fmt.Errorf("%w: %w; start the agent again", ErrEnded, c.NC.LastError())
	}
	return err
}

// redacted returns URLs without their passwords.
func redacted(urls string) string {
	all := strings.Split(urls, ",")
	for i, text := range all {
		text = strings.TrimSpace(text)
		scheme, rest, found := strings.Cut(text, "://")
		if !found {
			scheme, rest = "", text
		} else {
			scheme += "://"
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			user, _, _ := strings.Cut(rest[:at], ":")
			rest = user + ":xxxxx" + rest[at:]
			if !strings.Contains(text, user+":") { // a token
				rest = "xxxxx" + rest[strings.LastIndexByte(rest, '@'):]
			}
		}
		all[i] = scheme + rest
	}
	return strings.Join(all, ",")
}

// inside returns an error of net/url without the URL, which may have a password.
func inside(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Close ends the connection.
func (c *Conn) Close() { c.NC.Close() }

// Make attaches to the bucket, or makes it. The error wraps ErrBucket if the bucket holds
// something else.
func (c *Conn) Make(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := c.Bucket(ctx)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	config := jetstream.KeyValueConfig{
		Bucket: c.o.Bucket, Description: description, History: 1, Replicas: max(c.o.Replicas, 1), Storage: jetstream.FileStorage,
	}
	if c.o.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	if c.o.Limits != nil {
		c.o.Limits(&config)
	}
	if kv, err = c.JS.CreateKeyValue(ctx, config); err != nil {
		if errors.Is(err, jetstream.ErrBucketExists) { // somebody else has made it meanwhile
			return c.Bucket(ctx)
		}
		return nil, c.explain("making", err)
	}
	return kv, nil
}

// Bucket attaches to the bucket.
func (c *Conn) Bucket(ctx context.Context) (jetstream.KeyValue, error) {
	stream, err := c.JS.Stream(ctx, "KV_"+c.o.Bucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("bucket %q: %w", c.o.Bucket, jetstream.ErrBucketNotFound)
	}
	if err != nil {
		return nil, c.explain("finding", err)
	}
	if config := stream.CachedInfo().Config; config.Description != description || config.MaxMsgsPerSubject != 1 {
		return nil, fmt.Errorf("bucket %q: %w, but for %q; name another one", c.o.Bucket, ErrBucket, config.Description)
	}
	kv, err := c.JS.KeyValue(ctx, c.o.Bucket)
	if err != nil {
		return nil, c.explain("attaching to", err)
	}
	return kv, nil
}

// notClustered is the server's number of "replicas > 1 not supported in non-clustered mode".
const notClustered jetstream.ErrorCode = 10074

// MayPass reports whether an error of Make may be gone a moment later, as while the
// servers of a cluster look for a leader.
func MayPass(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) ||
		errors.As(err, &api) && api.Code >= 500 && api.ErrorCode != notClustered
}

func (c *Conn) explain(doing string, err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%s bucket %q: the server at %s has no JetStream, or its leader is not known yet: %w", doing, c.o.Bucket, c.NC.ConnectedUrlRedacted(), err)
	}
	return fmt.Errorf("%s bucket %q: %w", doing, c.o.Bucket, err)
}

// Subject is the subject of a key, for a message that nobody acknowledges.
func (c *Conn) Subject(key string) string { return "$KV." + c.o.Bucket + "." + key }

// Lost returns how many connections have been lost and replaced by another one.
func (c *Conn) Lost() uint64 { return c.NC.Stats().Reconnects }

// Limit returns the largest message in bytes.
func (c *Conn) Limit() int { return int(c.NC.MaxPayload()) }
