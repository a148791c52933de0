//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"example.org/shm"
	"golang.org/x/sys/unix"
)

const (
	streamReaders = 5
	streamLength  = 500 // messages of a round, one a millisecond
	manyRows      = 10_000
)

// telegram is 200 bytes, and says when it was sent.
type telegram struct {
	At, N int64 // N counts the messages of a round from 1; streamLength is the last
	_     [184]byte
}

type small struct{ A, B int64 }

var streams = []comparison{
	{
		name: "Ring.Append, 16 bytes, no readers", rival: "10 million a second", unit: "million/s", more: true, target: 1,
		note: "Append takes and releases the ring's lock, which are two locked instructions: they take most of the time.",
		both: func(b *bed) round {
			v := must(shm.NewRing[small](b.segment, "r", 1024))
			return func() (ours, rival float64, err error) {
				const n = 20_000
				begin := time.Now()
				for i := range n {
					v.Append(small{int64(i), 1})
				}
				return n / time.Since(begin).Seconds() / 1e6, 10, nil
			}
		},
	},
	delivered("the median", 0.5),
	delivered("the 99th percentile", 0.99),
	{
		name: "Struct.LoadTo, 1 KiB", rival: "a plain copy", target: 1,
		loops: func(b *bed) (ours, rival loop) {
			v, g, out := must(shm.NewStruct(b.segment, "v", block1k{})), new(guarded[block1k]), new(block1k)
			return func(n int) {
					for range n {
						v.LoadTo(out)
					}
				}, func(n int) {
					for range n {
						g.CopyTo(out)
					}
				}
		},
	}, {
		name: "Struct.StoreFrom, 1 KiB", rival: "a copy under a sync.Mutex",
		loops: func(b *bed) (ours, rival loop) {
			v, g, in := must(shm.NewStruct(b.segment, "v", block1k{})), new(guarded[block1k]), new(block1k)
			return func(n int) {
					for range n {
						v.StoreFrom(in)
					}
				}, func(n int) {
					for range n {
						g.mu.Lock()
						g.v = *in
						g.mu.Unlock()
					}
				}
		},
	}, {
		name: "NewTable, making 10,000 rows of 64 bytes", rival: "NewRawArray of as many bytes", target: 3, pairs: 101,
		loops: func(b *bed) (ours, rival loop) {
			b.batch, b.between = 1, unmapped
			name := b.name()
			each := func(make func(s *shm.Segment)) loop {
				return func(n int) {
					for range n {
						s := must(shm.Open(name, &shm.Options{Exclusive: true}))
						make(s)
						check(s.Close())
						check(shm.Remove(name))
					}
				}
			}
			bytes := manyRows * (64 + 2*64) // the lock, and two slots
			return each(func(s *shm.Segment) { _ = must(shm.NewTable[block64](s, "t", manyRows)) }),
				each(func(s *shm.Segment) { _ = must(shm.NewRawArray[byte](s, "t", bytes)) })
		},
	}, {
		name: "NewTable, attaching to 10,000 rows", rival: "50 microseconds", target: 1,
		both: func(b *bed) round {
			_ = must(shm.NewTable[block64](b.segment, "t", manyRows))
			return func() (ours, rival float64, err error) {
				const n = 20
				begin := time.Now()
				for range n {
					_ = must(shm.NewTable[block64](b.segment, "t", 0))
				}
				return float64(time.Since(begin).Nanoseconds()) / n, 50_000, nil
			}
		},
	}, {
		name: "Table.Row and Load, 64 B", rival: "Struct.Load, 64 B",
		loops: func(b *bed) (ours, rival loop) {
			t, v, out := must(shm.NewTable[block64](b.segment, "t", manyRows)), must(shm.NewStruct(b.segment, "v", block64{})), new(block64)
			return func(n int) {
					for range n {
						*out = t.Row(7).Load()
					}
				}, func(n int) {
					for range n {
						*out = v.Load()
					}
				}
		},
	},
}

// CopyTo is Copy by a pointer.
//
//go:noinline
func (g *guarded[T]) CopyTo(out *T) { *out = g.v }

// delivered compares how long a message takes from a Ring's writer to processes that wait
// for it with how long one in a Struct takes to those that await its change.
func delivered(what string, at float64) comparison {
	return comparison{
		name: "Ring, 200 bytes to 5 processes 1,000 times a second, " + what, rival: "Struct.Await", unit: "µs", target: 1.05, long: true, pairs: 11,
		note: "Both wake the same way, and with fewer cores than readers most of the time is that until a reader gets one. A message that a reader of the struct never saw took as long as until it saw a newer one.",
		sides: func(b *bed) (ours, rival side) {
			name := b.name()
			s := b.open(name)
			ring, one := must(shm.NewRing[telegram](s, "ring", 4096)), must(shm.NewStruct(s, "struct", telegram{}))
			return b.deliver(name, "ring", func(m *telegram) { ring.Append(*m) }, at), b.deliver(name, "struct", one.StoreFrom, at)
		},
	}
}

// deliver starts the readers of one kind, and returns the side that sends to them.
func (b *bed) deliver(name, kind string, send func(*telegram), at float64) side {
	var all []*worker
	for range streamReaders {
		all = append(all, b.start("listener", name, kind))
	}
	return func() (float64, error) {
		for _, w := range all {
			if err := w.say("listen"); err != nil {
				return 0, err
			}
			if err := w.expect("ready"); err != nil {
				return 0, err
			}
		}
		next := time.Now()
		for i := range streamLength {
			next = next.Add(time.Millisecond)
			time.Sleep(time.Until(next))
			send(&telegram{At: monotonic(), N: int64(i + 1)})
		}
		var late []float64
		for _, w := range all {
			var some []float64
			line, err := w.line()
			if err == nil {
				err = json.Unmarshal([]byte(line), &some)
			}
			if err != nil {
				return 0, err
			}
			late = append(late, some...)
		}
		slices.Sort(late)
		return quantile(late, at) / 1000, nil
	}
}

// listener reads the messages of a round whenever it is told to, and prints how many
// nanoseconds each took. Its arguments are the segment and the kind of value.
func listener(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	ring, err := shm.NewRing[telegram](s, "ring", 0)
	if err != nil {
		return err
	}
	one, err := shm.NewStruct(s, "struct", telegram{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	return eachLine(func(string) error {
		r, last := ring.Reader(), one.Load().At
		fmt.Println("ready")
		var late []int64
		for n := int64(0); n < streamLength; {
			var m telegram
			var err error
			if args[1] == "ring" {
				m, _, err = r.Next(ctx)
				if err == nil && m.N != n+1 {
					err = fmt.Errorf("message %d after %d", m.N, n)
				}
			} else {
				m, err = one.Await(ctx, func(m telegram) bool { return m.At != last })
				last = m.At
			}
			if err != nil {
				return err
			}
			took := monotonic() - m.At
			for ; n < m.N; n++ { // those that were overwritten meanwhile
				late = append(late, took+(m.N-n-1)*time.Millisecond.Nanoseconds())
			}
		}
		b, err := json.Marshal(late)
		fmt.Println(string(b))
		return err
	})
}

// monotonic returns the time of a clock that all processes share.
func monotonic() int64 {
	var ts unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}
