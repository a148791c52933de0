package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
)

func init() {
	inGo["redis"] = openRedis
	inGo["memcached"] = openMemcached
	inGo["nats"] = openNATS
	inGo["nats owner"] = serveNATS
	inGo["rpc"] = openRPC
	inGo["rpc owner"] = ownRPC
}

func socketIn(dir string) string { return filepath.Join(dir, "socket") }

// serving starts a server that makes a socket in dir, and waits for the socket.
func serving(ctx context.Context, dir string, program string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	c := grouped(exec.CommandContext(ctx, path, args...))
	if err := c.Start(); err != nil {
		return nil, err
	}
	for range 1000 {
		if conn, err := net.Dial("unix", socketIn(dir)); err == nil {
			_ = conn.Close()
			return c, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	endGroup(c)
	return nil, fmt.Errorf("%s makes no socket within 10 s", program)
}

func openRedis(dir string) (verbs, error) {
	options := &redis.Options{Network: "unix", Addr: socketIn(dir), PoolSize: 2}
	c := redis.NewClient(options)
	ctx := context.Background()
	return verbs{
		add:   func() error { return c.Incr(ctx, "count").Err() },
		total: func() (uint64, error) { return c.Get(ctx, "count").Uint64() },
		write: func(r *Record) error { return c.Set(ctx, "record", bytesOf(r), 0).Err() },
		read: func(r *Record) error {
			b, err := c.Get(ctx, "record").Bytes()
			if errors.Is(err, redis.Nil) {
				return nil
			}
			setBytes(r, b)
			return err
		},
		attach: func() error {
			c := redis.NewClient(options)
			defer c.Close()
			return c.Get(ctx, "count").Err()
		},
		wait: func() (func() error, error) {
			s := c.Subscribe(ctx, "poked")
			if _, err := s.Receive(ctx); err != nil { // that it is subscribed
				return nil, err
			}
			return func() error {
				defer s.Close()
				_, err := s.ReceiveMessage(ctx)
				return err
			}, nil
		},
		poke: func() error { return c.Publish(ctx, "poked", "1").Err() },
		mismatch: func() string {
			if err := c.Set(ctx, "word", "abc", 0).Err(); err != nil {
				return err.Error()
			}
			if err := c.Incr(ctx, "word").Err(); err != nil {
				return "refused by the increment: " + err.Error()
			}
			return "accepted"
		},
	}, nil
}

func openMemcached(dir string) (verbs, error) {
	c := memcache.New(socketIn(dir))
	c.Timeout = 10 * time.Second
	if err := c.Add(&memcache.Item{Key: "count", Value: []byte("0")}); err != nil && !errors.Is(err, memcache.ErrNotStored) {
		return verbs{}, err
	}
	return verbs{
		add: func() error { _, err := c.Increment("count", 1); return err },
		total: func() (uint64, error) {
			it, err := c.Get("count")
			if err != nil {
				return 0, err
			}
			return strconv.ParseUint(string(it.Value), 10, 64)
		},
		write: func(r *Record) error { return c.Set(&memcache.Item{Key: "record", Value: bytesOf(r)}) },
		read: func(r *Record) error {
			it, err := c.Get("record")
			if errors.Is(err, memcache.ErrCacheMiss) {
				return nil
			}
			if err == nil {
				setBytes(r, it.Value)
			}
			return err
		},
		attach: func() error {
			c := memcache.New(socketIn(dir))
			defer c.Close()
			_, err := c.Get("count")
			return err
		},
		mismatch: func() string {
			if err := c.Set(&memcache.Item{Key: "word", Value: []byte("abc")}); err != nil {
				return err.Error()
			}
			if _, err := c.Increment("word", 1); err != nil {
				return "refused by the increment: " + err.Error()
			}
			return "accepted"
		},
	}, nil
}

// serveNATS is a program that embeds a server, and does nothing else. Its socket says that
// it is ready; clients take the address in the file "url".
func serveNATS(dir string) (verbs, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(dir, "nats"), NoSigs: true, NoLog: true})
	if err != nil {
		return verbs{}, err
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return verbs{}, errors.New("the server does not start")
	}
	if err := os.WriteFile(filepath.Join(dir, "url"), []byte(s.ClientURL()), 0o600); err != nil {
		return verbs{}, err
	}
	l, err := net.Listen("unix", socketIn(dir))
	if err != nil {
		return verbs{}, err
	}
	defer l.Close()
	s.WaitForShutdown()
	return verbs{}, nil
}

func openNATS(dir string) (verbs, error) {
	url, err := os.ReadFile(filepath.Join(dir, "url"))
	if err != nil {
		return verbs{}, err
	}
	nc, err := nats.Connect(string(url))
	if err != nil {
		return verbs{}, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return verbs{}, err
	}
	ctx := context.Background()
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "league", Storage: jetstream.MemoryStorage})
	if err != nil {
		return verbs{}, err
	}
	return verbs{
		add: func() error { // there is no increment: compare and swap by revision
			for {
				e, err := kv.Get(ctx, "count")
				switch {
				case errors.Is(err, jetstream.ErrKeyNotFound):
					_, err = kv.Create(ctx, "count", []byte("1"))
				case err == nil:
					n, _ := strconv.ParseUint(string(e.Value()), 10, 64)
					_, err = kv.Update(ctx, "count", strconv.AppendUint(nil, n+1, 10), e.Revision())
				}
				if !errors.Is(err, jetstream.ErrKeyExists) { // that is also what a lost race is
					return err
				}
			}
		},
		total: func() (uint64, error) {
			e, err := kv.Get(ctx, "count")
			if err != nil {
				return 0, err
			}
			return strconv.ParseUint(string(e.Value()), 10, 64)
		},
		write: func(r *Record) error { _, err := kv.Put(ctx, "record", bytesOf(r)); return err },
		read: func(r *Record) error {
			e, err := kv.Get(ctx, "record")
			if errors.Is(err, jetstream.ErrKeyNotFound) {
				return nil
			}
			if err == nil {
				setBytes(r, e.Value())
			}
			return err
		},
		attach: func() error {
			nc, err := nats.Connect(string(url))
			if err != nil {
				return err
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			_, err = js.KeyValue(ctx, "league")
			return err
		},
		wait: func() (func() error, error) {
			w, err := kv.Watch(ctx, "poked", jetstream.UpdatesOnly())
			if err != nil {
				return nil, err
			}
			return func() error {
				<-w.Updates()
				return w.Stop()
			}, nil
		},
		poke: func() error { _, err := kv.Put(ctx, "poked", nil); return err },
		mismatch: func() string {
			if _, err := kv.Put(ctx, "word", []byte("abc")); err != nil {
				return err.Error()
			}
			e, err := kv.Get(ctx, "word")
			if err != nil {
				return err.Error()
			}
			if _, err = strconv.ParseUint(string(e.Value()), 10, 64); err != nil {
				return "accepted by the server; the program's own reading of the text fails: " + err.Error()
			}
			return "accepted"
		},
	}, nil
}

// Owner is what one process owns and others ask for by net/rpc.
type Owner struct {
	mu    sync.Mutex
	count uint64
	r     Record
}

// Add adds and returns the sum.
func (o *Owner) Add(n uint64, sum *uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count += n
	*sum = o.count
	return nil
}

// Set sets the record.
func (o *Owner) Set(r Record, _ *struct{}) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.r = r
	return nil
}

// Get returns the record.
func (o *Owner) Get(_ struct{}, r *Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	*r = o.r
	return nil
}

// ownRPC is the owner: a process that only serves.
func ownRPC(dir string) (verbs, error) {
	s := rpc.NewServer()
	if err := s.Register(new(Owner)); err != nil {
		return verbs{}, err
	}
	l, err := net.Listen("unix", socketIn(dir))
	if err != nil {
		return verbs{}, err
	}
	s.Accept(l)
	return verbs{}, nil
}

func openRPC(dir string) (verbs, error) {
	c, err := rpc.Dial("unix", socketIn(dir))
	if err != nil {
		return verbs{}, err
	}
	add := func(n uint64) (sum uint64, err error) { err = c.Call("Owner.Add", n, &sum); return sum, err }
	return verbs{
		add:   func() error { _, err := add(1); return err },
		total: func() (uint64, error) { return add(0) },
		write: func(r *Record) error { return c.Call("Owner.Set", *r, &struct{}{}) },
		read:  func(r *Record) error { return c.Call("Owner.Get", struct{}{}, r) },
		attach: func() error {
			c, err := rpc.Dial("unix", socketIn(dir))
			if err != nil {
				return err
			}
			var n uint64
			if err := c.Call("Owner.Add", uint64(0), &n); err != nil {
				return err
			}
			return c.Close()
		},
		mismatch: func() string {
			if err := c.Call("Owner.Add", "abc", new(uint64)); err != nil {
				return "refused: " + err.Error()
			}
			return "accepted"
		},
	}, nil
}
