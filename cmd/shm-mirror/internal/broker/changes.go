package broker

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Change is the newest value of a key.
type Change struct {
	Key   string
	Value []byte
}

// unusedFor is after how long a server removes a consumer that nobody asks any more.
const unusedFor = 30 * time.Second

// Changes returns the keys that match a pattern with their values, and then each change
// of one, until ctx is done. The channel is closed when no more arrive.
//
// It asks the server for as many bytes as one message may have, and for more once half
// of them have arrived. A change that is replaced before it is asked for is not sent at
// all. So a slow connection gets fewer changes, and none waits behind more than that.
func (c *Conn) Changes(ctx context.Context, pattern string) (<-chan Change, error) {
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream := "KV_" + c.o.Bucket
	consumer, err := c.JS.OrderedConsumer(limit, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{c.Subject(pattern)}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, InactiveThreshold: unusedFor,
	})
	if err != nil {
		return nil, c.explain("watching", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(c.Limit()+envelope), jetstream.PullExpiry(2*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
	if err != nil {
		return nil, c.explain("watching", err)
	}
	changes := make(chan Change)
	go func() {
		defer close(changes)
		defer func() {
			messages.Stop()
			if info := consumer.CachedInfo(); info != nil {
				limit, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = c.JS.DeleteConsumer(limit, stream, info.Name) // if it cannot, the server does so after unusedFor
			}
		}()
		for {
			m, err := messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				return
			}
			if m.Headers().Get("KV-Operation") != "" {
				continue // the key was removed
			}
			select {
			case changes <- Change{strings.TrimPrefix(m.Subject(), c.Subject("")), m.Data()}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return changes, nil
}

// envelope is more than the subject and the headers of a message have.
const envelope = 8192
