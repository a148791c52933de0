//go:build linux

package shm_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// Each benchmark has the native rival beside ours, so that benchstat can print the
// ratio: see docs/BENCHMARKS.md for the commands. This file has the operations on
// values; the other files *_bench_test.go have segments, other processes, and locks of
// dead owners.

func benchSegment(b *testing.B) *shm.Segment { return open(b, shmtest.Name(b), nil) }

var sink int64

func BenchmarkAdd(b *testing.B) {
	s := benchSegment(b)
	v := shmtest.Must(shm.NewValue[int64](s, "value", 0))(b)
	a := shmtest.Must(shm.NewAtomic[int64](s, "atomic", 0))(b)
	b.Run("impl=shm.Value/t=int64/procs=1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Add(1)
		}
	})
	b.Run("impl=sync.Mutex/t=int64/procs=1", func(b *testing.B) {
		g := &struct {
			mu sync.Mutex
			n  int64
		}{}
		for b.Loop() {
			g.mu.Lock()
			g.n++
			g.mu.Unlock()
		}
		sink = g.n
	})
	b.Run("impl=sync.Mutex.stack/t=int64/procs=1", func(b *testing.B) {
		var mu sync.Mutex
		var n int64
		for b.Loop() {
			mu.Lock()
			n++
			mu.Unlock()
		}
		sink = n
	})
	b.Run("impl=shm.Atomic/t=int64/procs=1", func(b *testing.B) {
		for b.Loop() {
			a.Add(1)
		}
	})
	b.Run("impl=atomic.Int64/t=int64/procs=1", func(b *testing.B) {
		n := new(atomic.Int64)
		for b.Loop() {
			n.Add(1)
		}
	})
}

func BenchmarkMutex(b *testing.B) {
	s := benchSegment(b)
	m := shmtest.Must(shm.NewMutex(s, "mutex"))(b)
	b.Run("impl=shm.Mutex", func(b *testing.B) {
		for b.Loop() {
			m.Lock()
			sink++
			m.Unlock()
		}
	})
	b.Run("impl=sync.Mutex", func(b *testing.B) {
		m := new(sync.Mutex)
		for b.Loop() {
			m.Lock()
			sink++
			m.Unlock()
		}
	})
}

func BenchmarkGoroutines(b *testing.B) {
	s := benchSegment(b)
	v := shmtest.Must(shm.NewValue[int64](s, "value", 0))(b)
	for _, n := range []int{2, 4, 8} {
		b.Run(fmt.Sprint("impl=shm.Value/goroutines=", n), func(b *testing.B) {
			parallel(b, n, func() { v.Add(1) })
		})
		b.Run(fmt.Sprint("impl=sync.Mutex/goroutines=", n), func(b *testing.B) {
			g := &struct {
				mu sync.Mutex
				n  int64
			}{}
			parallel(b, n, func() {
				g.mu.Lock()
				g.n++
				g.mu.Unlock()
			})
		})
	}
}

func parallel(b *testing.B, goroutines int, f func()) {
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range b.N / goroutines {
				f()
			}
		})
	}
	wg.Wait()
}

func BenchmarkLoad(b *testing.B) {
	s := benchSegment(b)
	v := shmtest.Must(shm.NewValue[int64](s, "value", 0))(b)
	r := shmtest.Must(shm.NewRawValue[int64](s, "raw", 0))(b)
	b.Run("impl=shm.Value", func(b *testing.B) {
		var x int64
		for b.Loop() {
			x += v.Load()
		}
		sink = x
	})
	b.Run("impl=atomic.Int64", func(b *testing.B) {
		n := new(atomic.Int64)
		var x int64
		for b.Loop() {
			x += n.Load()
		}
		sink = x
	})
	b.Run("impl=shm.RawValue", func(b *testing.B) {
		for b.Loop() {
			r.Set(r.Get() + 1)
		}
	})
	b.Run("impl=pointer", func(b *testing.B) {
		p := new(int64)
		for b.Loop() {
			*p++
		}
		sink = *p
	})
}

var plain = new(int64)

// BenchmarkRaw is unsynchronised access beside a plain pointer and slice.
func BenchmarkRaw(b *testing.B) {
	s := benchSegment(b)
	v := shmtest.Must(shm.NewRawValue[int64](s, "v", 0))(b)
	const n = 4096
	a := shmtest.Must(shm.NewRawArray[float64](s, "a", n))(b)
	p := plain // on the heap: a register would be another thing
	b.Run("op=Get/impl=shm.RawValue", func(b *testing.B) {
		var sum int64
		for range b.N {
			sum += v.Get()
		}
		sink = sum
	})
	b.Run("op=Get/impl=pointer", func(b *testing.B) {
		var sum int64
		for range b.N {
			sum += *p
		}
		sink = sum
	})
	b.Run("op=Set/impl=shm.RawValue", func(b *testing.B) {
		for i := range b.N {
			v.Set(int64(i))
		}
	})
	b.Run("op=Set/impl=pointer", func(b *testing.B) {
		for i := range b.N {
			*p = int64(i)
		}
	})
	for _, impl := range []string{"shm.RawArray", "slice"} {
		x := a.Slice()
		if impl == "slice" {
			x = make([]float64, n)
		}
		b.Run(fmt.Sprintf("op=Sum%d/impl=%s", n, impl), func(b *testing.B) {
			var sum float64
			for range b.N {
				for _, y := range x {
					sum += y
				}
			}
			sink = int64(sum)
		})
	}
	b.Run(fmt.Sprintf("op=SumGet%d/impl=shm.RawArray", n), func(b *testing.B) {
		var sum float64
		for range b.N {
			for i := range a.Len() {
				sum += a.Get(i)
			}
		}
		sink = int64(sum)
	})
}

type (
	block64 struct{ A [8]int64 }
	block1k struct{ A [128]int64 }
)

// guarded is what a Struct replaces inside a process.
type guarded[T any] struct {
	mu sync.Mutex
	v  T
}

func (g *guarded[T]) Load() T {
	g.mu.Lock()
	x := g.v
	g.mu.Unlock()
	return x
}

func (g *guarded[T]) Store(x T) {
	g.mu.Lock()
	g.v = x
	g.mu.Unlock()
}

// Copy is the least that a method costs which returns a copy and is too long to be
// inlined, as the others are.
//
//go:noinline
func (g *guarded[T]) Copy() T { return g.v }

func BenchmarkStruct(b *testing.B) {
	s := benchSegment(b)
	benchStruct[block64](b, s, "64B")
	benchStruct[block1k](b, s, "1KiB")
}

func benchStruct[T any](b *testing.B, s *shm.Segment, size string) {
	var x T
	v, g := shmtest.Must(shm.NewStruct(s, size, x))(b), new(guarded[T])
	b.Run("op=Load/impl=shm.Struct/size="+size, func(b *testing.B) {
		for b.Loop() {
			x = v.Load()
		}
	})
	b.Run("op=Load/impl=sync.Mutex/size="+size, func(b *testing.B) {
		for b.Loop() {
			x = g.Load()
		}
	})
	b.Run("op=Load/impl=copy/size="+size, func(b *testing.B) {
		for b.Loop() {
			x = g.Copy()
		}
	})
	b.Run("op=Store/impl=shm.Struct/size="+size, func(b *testing.B) {
		for b.Loop() {
			v.Store(x)
		}
	})
	b.Run("op=Store/impl=sync.Mutex/size="+size, func(b *testing.B) {
		for b.Loop() {
			g.Store(x)
		}
	})
}

// guardedText is what a String replaces.
type guardedText struct {
	mu sync.Mutex
	b  [16]byte
	n  int
}

func (g *guardedText) Store(text string) {
	g.mu.Lock()
	g.n = copy(g.b[:], text)
	g.mu.Unlock()
}

func (g *guardedText) Load() string {
	g.mu.Lock()
	text := string(g.b[:g.n])
	g.mu.Unlock()
	return text
}

func BenchmarkString(b *testing.B) {
	s := benchSegment(b)
	v, g := shmtest.Must(shm.NewString(s, "s", 16))(b), new(guardedText)
	text := "sixteen bytes ok"
	b.Run("op=Store/impl=shm.String/size=16B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = v.Store(text)
		}
	})
	b.Run("op=Store/impl=sync.Mutex/size=16B", func(b *testing.B) {
		for b.Loop() {
			g.Store(text)
		}
	})
	b.Run("op=Load/impl=shm.String/size=16B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			text = v.Load()
		}
	})
	b.Run("op=Load/impl=sync.Mutex/size=16B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			text = g.Load()
		}
	})
}
