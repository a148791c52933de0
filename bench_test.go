//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
)

// Each benchmark has the native rival beside ours. They run one after another, so
// a ratio of two of them also has in it what else the machine did meanwhile:
// internal/ratios measures the two in turn, and more of them.

// benchSegment returns a segment without a name.
func benchSegment(b *testing.B) *shm.Segment {
	b.Helper()
	s, err := shm.Anonymous(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// sinks keep what a loop has computed.
var (
	sinkInt  int64
	sinkText string
)

// guarded is what a Value or a Struct replaces inside a process.
type guarded[T any] struct {
	mu sync.Mutex
	v  T
}

func BenchmarkAdd(b *testing.B) {
	s := benchSegment(b)
	v := shmtest.Must(shm.NewValue[int64](s, "value", 0))(b)
	a := shmtest.Must(shm.NewAtomic[int64](s, "atomic", 0))(b)
	g, n := new(guarded[int64]), new(atomic.Int64)
	b.Run("impl=shm.Value/t=int64", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Add(1)
		}
	})
	b.Run("impl=sync.Mutex/t=int64", func(b *testing.B) {
		for b.Loop() {
			g.mu.Lock()
			g.v++
			g.mu.Unlock()
		}
	})
	b.Run("impl=shm.Atomic/t=int64", func(b *testing.B) {
		for b.Loop() {
			a.Add(1)
		}
	})
	b.Run("impl=atomic.Int64/t=int64", func(b *testing.B) {
		for b.Loop() {
			n.Add(1)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	s := benchSegment(b)
	v := shmtest.Must(shm.NewValue[int64](s, "value", 0))(b)
	r := shmtest.Must(shm.NewRawValue[int64](s, "raw", 0))(b)
	n, p := new(atomic.Int64), new(int64)
	b.Run("impl=shm.Value", func(b *testing.B) {
		for b.Loop() {
			sinkInt = v.Load()
		}
	})
	b.Run("impl=atomic.Int64", func(b *testing.B) {
		for b.Loop() {
			sinkInt = n.Load()
		}
	})
	b.Run("impl=shm.RawValue", func(b *testing.B) {
		for b.Loop() {
			sinkInt = r.Get()
		}
	})
	b.Run("impl=pointer", func(b *testing.B) {
		for b.Loop() {
			sinkInt = *p
		}
	})
}

func BenchmarkMutex(b *testing.B) {
	mu, other := shmtest.Must(shm.NewMutex(benchSegment(b), "mutex"))(b), new(sync.Mutex)
	b.Run("impl=shm.Mutex", func(b *testing.B) {
		for b.Loop() {
			mu.Lock()
			sinkInt++
			mu.Unlock()
		}
	})
	b.Run("impl=sync.Mutex", func(b *testing.B) {
		for b.Loop() {
			other.Lock()
			sinkInt++
			other.Unlock()
		}
	})
}

func BenchmarkStruct(b *testing.B) {
	type block struct{ A [8]int64 }
	v, g, x := shmtest.Must(shm.NewStruct(benchSegment(b), "struct", block{}))(b), new(guarded[block]), new(block)
	b.Run("op=Load/impl=shm.Struct/size=64B", func(b *testing.B) {
		for b.Loop() {
			*x = v.Load()
		}
	})
	b.Run("op=Load/impl=sync.Mutex/size=64B", func(b *testing.B) {
		for b.Loop() {
			g.mu.Lock()
			*x = g.v
			g.mu.Unlock()
		}
	})
	b.Run("op=Store/impl=shm.Struct/size=64B", func(b *testing.B) {
		for b.Loop() {
			v.Store(*x)
		}
	})
	b.Run("op=Store/impl=sync.Mutex/size=64B", func(b *testing.B) {
		for b.Loop() {
			g.mu.Lock()
			g.v = *x
			g.mu.Unlock()
		}
	})
	b.Run("op=Update/impl=shm.Struct/size=64B", func(b *testing.B) {
		for b.Loop() {
			v.Update(func(x *block) { x.A[0]++ })
		}
	})
	b.Run("op=Update/impl=sync.Mutex/size=64B", func(b *testing.B) {
		for b.Loop() {
			func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.v.A[0]++
			}()
		}
	})
}

// BenchmarkStructCopy compares the verbs that return and take a large struct with those
// that take a pointer, and with a plain copy.
func BenchmarkStructCopy(b *testing.B) {
	type large [128]int64
	v, x, y := shmtest.Must(shm.NewStruct(benchSegment(b), "large", large{}))(b), new(large), new(large)
	for name, f := range map[string]func(){
		"op=Load/impl=shm.Struct/size=1KiB":      func() { *x = v.Load() },
		"op=LoadTo/impl=shm.Struct/size=1KiB":    func() { v.LoadTo(x) },
		"op=Store/impl=shm.Struct/size=1KiB":     func() { v.Store(*x) },
		"op=StoreFrom/impl=shm.Struct/size=1KiB": func() { v.StoreFrom(x) },
		"op=copy/impl=plain/size=1KiB":           func() { *y = *x },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}

func BenchmarkRing(b *testing.B) {
	s := benchSegment(b)
	type small [2]int64
	v := shmtest.Must(shm.NewRing[small](s, "ring", 1024))(b)
	b.Run("op=Append/impl=shm.Ring/size=16B", func(b *testing.B) {
		for b.Loop() {
			v.Append(small{1, 2})
		}
	})
	b.Run("op=Append+Next/impl=shm.Ring/size=16B", func(b *testing.B) {
		r, ctx := v.Reader(), b.Context()
		for b.Loop() {
			v.Append(small{1, 2})
			if _, _, err := r.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	// A value a millisecond to five readers: how long until each has it.
	type message struct {
		At  int64
		Pad [192]byte
	}
	const readers = 5
	ring := shmtest.Must(shm.NewRing[message](s, "messages", 64))(b)
	one := shmtest.Must(shm.NewStruct(s, "message", message{}))(b)
	for name, impl := range map[string]struct {
		send    func(message)
		receive func() func(context.Context) (message, error)
	}{
		"op=deliver/impl=shm.Ring/size=200B": {
			func(m message) { ring.Append(m) },
			func() func(context.Context) (message, error) {
				r := ring.Reader()
				return func(ctx context.Context) (message, error) { m, _, err := r.Next(ctx); return m, err }
			},
		},
		"op=deliver/impl=shm.Struct.Await/size=200B": {
			one.Store,
			func() func(context.Context) (message, error) {
				last := one.Load().At
				return func(ctx context.Context) (message, error) {
					m, err := one.Await(ctx, func(m message) bool { return m.At != last })
					last = m.At
					return m, err
				}
			},
		},
	} {
		b.Run(name, func(b *testing.B) {
			begin, got := time.Now(), make(chan time.Duration, readers)
			for range readers {
				receive := impl.receive()
				go func() {
					for {
						m, err := receive(b.Context())
						if err != nil {
							return
						}
						got <- time.Since(begin) - time.Duration(m.At)
					}
				}()
			}
			var sum time.Duration
			n := 0
			for b.Loop() {
				time.Sleep(time.Millisecond)
				impl.send(message{At: int64(time.Since(begin))})
				for range readers {
					sum += <-got
					n++
				}
			}
			b.ReportMetric(float64(sum.Nanoseconds())/float64(n), "ns/delivery")
		})
	}
}

func BenchmarkString(b *testing.B) {
	v, g := shmtest.Must(shm.NewString(benchSegment(b), "string", 16))(b), new(guarded[[16]byte])
	text := "sixteen bytes ok"
	b.Run("op=Store/impl=shm.String/size=16B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := v.Store(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=Store/impl=sync.Mutex/size=16B", func(b *testing.B) {
		for b.Loop() {
			g.mu.Lock()
			copy(g.v[:], text)
			g.mu.Unlock()
		}
	})
	b.Run("op=Load/impl=shm.String/size=16B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sinkText = v.Load()
		}
	})
	b.Run("op=Load/impl=sync.Mutex/size=16B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.mu.Lock()
			sinkText = string(g.v[:])
			g.mu.Unlock()
		}
	})
}

// BenchmarkTable makes 10,000 rows, and beside it a RawArray of as many bytes, each in a
// new segment, then attaches to them and asks for a row.
func BenchmarkTable(b *testing.B) {
	const n = 10000
	type row [8]int64
	rows := shmtest.Must(shm.NewTable[row](benchSegment(b), "table", n))(b)
	bytes := n * int(format.RowSize(format.RoundUp(64+32)))
	inNew := func(b *testing.B, make func(s *shm.Segment) error) {
		for b.Loop() {
			b.StopTimer()
			s := shmtest.Must(shm.Anonymous(nil))(b)
			b.StartTimer()
			err := make(s)
			b.StopTimer()
			if err := errors.Join(err, s.Close()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	b.Run("op=Make/impl=shm.Table/rows=10000", func(b *testing.B) {
		inNew(b, func(s *shm.Segment) error { return shmtest.Error(shm.NewTable[row](s, "x", n)) })
	})
	b.Run("op=Make/impl=shm.RawArray/rows=10000", func(b *testing.B) {
		inNew(b, func(s *shm.Segment) error { return shmtest.Error(shm.NewRawArray[byte](s, "x", bytes)) })
	})
	s := benchSegment(b)
	shmtest.Must(shm.NewTable[row](s, "table", n))(b)
	b.Run("op=Attach/impl=shm.Table/rows=10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := shm.NewTable[row](s, "table", 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	i := 0
	b.Run("op=Row.Load/impl=shm.Table/rows=10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sinkInt = rows.Row(i).Load()[0]
			i = (i + 1) % n
		}
	})
}

// BenchmarkLockAny takes the first of 64 places, which is free, and releases it.
func BenchmarkLockAny(b *testing.B) {
	places := shmtest.Must(shm.NewMutexes(benchSegment(b), "places", 64))(b)
	ctx := context.Background()
	for b.Loop() {
		i, err := places.LockAny(ctx)
		if err != nil {
			b.Fatal(err)
		}
		places.At(i).Unlock()
	}
}

// valuesOf makes n small values in a segment, and returns how many there was room for.
func valuesOf(b *testing.B, s *shm.Segment, n int) (made int) {
	b.Helper()
	for made < n {
		_, err := shm.NewRawValue(s, fmt.Sprintf("value/%07d", made), int64(0))
		if errors.Is(err, shm.ErrFull) {
			return made
		}
		if err != nil {
			b.Fatal(err)
		}
		made++
	}
	return made
}

// BenchmarkEntries lists a segment of 8 MiB that is full of the smallest records. It
// reports how much of the heap the process needs for it: live is what is left of a
// collection when the last value has been seen, and kept is the same if the program keeps
// all entries.
func BenchmarkEntries(b *testing.B) {
	name := shmtest.Name(b)
	maker := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 8 << 20}))(b)
	n := valuesOf(b, maker, 1<<20)
	if err := maker.Close(); err != nil {
		b.Fatal(err)
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	heap() // unmaps what the maker had, with what it knew of its values
	for _, keep := range []bool{false, true} {
		what := map[bool]string{false: "live", true: "kept"}[keep]
		b.Run(fmt.Sprintf("size=8MiB/values=%d/heap=%s", n, what), func(b *testing.B) {
			b.ReportAllocs()
			var most float64
			for b.Loop() {
				b.StopTimer()
				before := heap()
				s := shmtest.Opened(shm.Open(name, nil))(b)
				var kept []shm.Entry
				b.StartTimer()
				seen := 0
				for e := range s.Entries() {
					if seen++; keep {
						kept = append(kept, e)
					}
					if seen == n {
						b.StopTimer()
						most = max(most, heap()-before)
						b.StartTimer()
					}
				}
				b.StopTimer()
				if seen != n || keep != (len(kept) == n) {
					b.Fatalf("%d of %d values were listed, and %d kept", seen, n, len(kept))
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(most/(1<<20), "MiB-heap")
			b.ReportMetric(most/float64(n), "B-heap/value")
		})
	}
}

// BenchmarkMillion attaches to a segment of 1,000,000 values, and finds one of them: for
// the first time, and again.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	name := shmtest.Name(b)
	maker := shmtest.Opened(shm.Open(name, &shm.Options{MaxSize: 1 << 30}))(b)
	if made := valuesOf(b, maker, n); made != n {
		b.Skipf("there was room for %d values", made)
	}
	if err := maker.Close(); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	asked := make([]string, n)
	for i, j := range rand.Perm(n) {
		asked[i] = fmt.Sprintf("value/%07d", j)
	}
	b.Run("op=Open", func(b *testing.B) {
		for b.Loop() {
			s, err := shm.Open(name, nil)
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
	s := shmtest.Opened(shm.Open(name, nil))(b)
	b.Run("op=Lookup", func(b *testing.B) {
		at := 0
		for b.Loop() {
			if _, ok := s.Lookup(asked[at%n]); !ok {
				b.Fatalf("%q is not found", asked[at%n])
			}
			at++
		}
	})
	b.Run("op=LookupAgain", func(b *testing.B) {
		at := 0
		for b.Loop() {
			if _, ok := s.Lookup(asked[at%1000]); !ok {
				b.Fatalf("%q is not found", asked[at%1000])
			}
			at++
		}
	})
}
