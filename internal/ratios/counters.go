//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"example.org/shm"
)

// padded is a number in lines of its own.
type padded struct {
	_ [128]byte
	n atomic.Int64
	_ [128]byte
}

// latencies returns the bounds of 19 buckets and one more, and observations that fall in
// all of them.
func latencies() (bounds, observations []float64) {
	for i := range 19 {
		bounds = append(bounds, float64(i+1))
	}
	for range 1024 {
		observations = append(observations, 21*rand.Float64())
	}
	return bounds, observations
}

var counters = []comparison{
	{
		name: "Counter.Add", rival: "atomic.Int64.Add on a private line", target: 1.1,
		loops: func(b *bed) (ours, rival loop) {
			c, p := must(shm.NewCounter[int64](b.segment, "c")), new(padded)
			return func(n int) {
					for range n {
						c.Add(1)
					}
				}, func(n int) {
					for range n {
						p.n.Add(1)
					}
				}
		},
	}, {
		name: "Histogram.Observe, 20 buckets", rival: "Counter.Add", target: 3,
		note: "Observe makes two atomic changes, and the one of the sum is a compare-and-swap.",
		loops: func(b *bed) (ours, rival loop) {
			bounds, xs := latencies()
			h, c := must(shm.NewHistogram(b.segment, "h", bounds)), must(shm.NewCounter[int64](b.segment, "c"))
			return func(n int) {
					for i := range n {
						h.Observe(xs[i%len(xs)])
					}
				}, func(n int) {
					for range n {
						c.Add(1)
					}
				}
		},
	}, {
		name: "Gauge.Set", rival: "atomic.Int64.Store on a private line",
		loops: func(b *bed) (ours, rival loop) {
			g, p := must(shm.NewGauge[int64](b.segment, "g")), new(padded)
			return func(n int) {
					for i := range n {
						g.Set(int64(i))
					}
				}, func(n int) {
					for i := range n {
						p.n.Store(int64(i))
					}
				}
		},
	}, {
		name: "Counter.Load, 64 cells", rival: "a microsecond", target: 1,
		both: func(b *bed) round {
			c := must(shm.NewCounter[int64](b.segment, "c"))
			e, _ := b.segment.Lookup("c")
			// The header says that 64 cells were claimed.
			_ = must(b.segment.File().WriteAt(binary.NativeEndian.AppendUint64(nil, 64), e.Offset-128))
			return func() (ours, rival float64, err error) {
				const n = 10_000
				begin := time.Now()
				for range n {
					sink += c.Load()
				}
				return float64(time.Since(begin).Nanoseconds()) / n, 1000, nil
			}
		},
	},
	counted(2, "private", "an atomic addition on a line of its own", 1/1.3),
	counted(16, "private", "an atomic addition on a line of its own", 1/1.3),
	counted(2, "atomic", "Atomic.Add", 0),
	counted(16, "atomic", "Atomic.Add", 0),
}

// adder adds from when the number "run" is 1 until it is 2, and prints how often. Its
// arguments are the segment, what it adds to, and its number among those that do.
func adder(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{MustExist: true})
	if err != nil {
		return err
	}
	var v struct {
		Run     shm.Atomic[int32]   `shm:"run"`
		Counter shm.Counter[int64]  `shm:"counter"`
		Atomic  shm.Atomic[int64]   `shm:"atomic"`
		Private shm.RawArray[int64] `shm:"private"`
	}
	if err := shm.Bind(s, &v); err != nil {
		return err
	}
	i, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	const batch = 64 // between two looks
	private := &v.Private.Slice()[32*(i+1)]
	some := map[string]func(){
		"counter": func() {
			for range batch {
				v.Counter.Add(1)
			}
		},
		"atomic": func() {
			for range batch {
				v.Atomic.Add(1)
			}
		},
		"private": func() {
			for range batch {
				atomic.AddInt64(private, 1)
			}
		},
	}[args[1]]
	v.Counter.Add(0) // claims the cell
	fmt.Println("ready")
	for v.Run.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	n := 0
	for ; v.Run.Load() == 1; n += batch {
		some()
	}
	fmt.Println(n)
	return nil
}

// addAll lets processes add, and returns how many million additions a second they made
// together.
func (b *bed) addAll(procs int, what string) (millions float64, err error) {
	err = catch(func() {
		name := b.name()
		s := b.open(name)
		c, run := must(shm.NewCounter[int64](s, "counter")), must(shm.NewAtomic[int32](s, "run", 0))
		_ = must(shm.NewAtomic[int64](s, "atomic", 0))
		_ = must(shm.NewRawArray[int64](s, "private", 32*(procs+2)))
		var all []*worker
		for i := range procs {
			all = append(all, b.start("adder", name, what, strconv.Itoa(i)))
		}
		for _, w := range all {
			check(w.expect("ready"))
		}
		begin := time.Now()
		run.Store(1)
		time.Sleep(contention)
		run.Store(2)
		took := time.Since(begin)
		total := 0
		for _, w := range all {
			total += must(strconv.Atoi(must(w.line())))
			w.stop()
		}
		if got := c.Load(); what == "counter" && got != int64(total) {
			check(fmt.Errorf("%d additions counted %d", total, got))
		}
		millions = float64(total) / took.Seconds() / 1e6
	})
	return millions, err
}

// counted compares the rate of processes that add to one Counter with that of as many
// that add to something else.
func counted(procs int, what, rival string, target float64) comparison {
	return comparison{
		name: "Counter.Add, " + digits(procs) + " processes, against " + what, ours: "Counter.Add, " + digits(procs) + " processes", rival: rival,
		unit: "million/s", more: true, target: target, long: true, pairs: 11,
		sides: func(b *bed) (ours, theirs side) {
			return func() (float64, error) { return b.addAll(procs, "counter") },
				func() (float64, error) { return b.addAll(procs, what) }
		},
	}
}
