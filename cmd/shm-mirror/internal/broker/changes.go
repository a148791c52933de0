package broker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// unusedFor is after how long a server removes a consumer that nobody asks any more.
const unusedFor = 30 * time.Second

// Changes calls changed with each key that matches a pattern and its value, and then with
// each change of one, in a goroutine of its own. changed may keep the value. After stop no
// call begins, but one may still be running. ended gives an error after which changes may
// be missing: the caller stops then, and begins again.
//
// It asks the server for as many bytes as one message may have, and for more once half
// of them have been taken. A change that is replaced before it is asked for is not sent at
// all. So a slow connection gets fewer changes, and none waits behind more than that.
func (c *Conn) Changes(ctx context.Context, pattern string, changed func(key string, value []byte)) (ended <-chan error, stop func(), err error) {
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, prefix := "KV_"+c.o.Bucket, c.Subject("")
	consumer, err := c.JS.OrderedConsumer(limit, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{c.Subject(pattern)}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, InactiveThreshold: unusedFor,
	})
	if err != nil {
		return nil, nil, c.explain("watching", err)
	}
	failed := make(chan error, 1)
	consuming, err := consumer.Consume(
		func(m jetstream.Msg) {
			if h := m.Headers(); h == nil || h.Get("KV-Operation") == "" { // otherwise the key was removed
				changed(strings.TrimPrefix(m.Subject(), prefix), m.Data())
			}
		},
		jetstream.PullMaxBytes(c.Limit()+envelope), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				return // it asks again where it was
			}
			select {
			case failed <- c.explain("watching", err):
			default:
			}
		}),
	)
	if err != nil {
		return nil, nil, c.explain("watching", err)
	}
	return failed, func() {
		consuming.Stop()
		if info := consumer.CachedInfo(); info != nil {
			limit, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = c.JS.DeleteConsumer(limit, stream, info.Name) // if it cannot, the server does so after unusedFor
		}
	}, nil
}

// envelope is more than the subject and the headers of a message have.
const envelope = 8192
