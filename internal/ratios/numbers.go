//go:build linux

package main

import (
	"sync"
	"sync/atomic"

	"example.org/shm"
)

// Sinks keep results, so that no loop is without effect. Nothing reads them.
var (
	//lint:ignore U1000 a store to it is an effect
	sink int64
	//lint:ignore U1000 a store to it is an effect
	sinkFloat float64
	//lint:ignore U1000 a store to it is an effect
	sinkText string
)

// guarded is what a program without shared memory has: a variable, and the lock
// that guards it.
type guarded[T any] struct {
	mu sync.Mutex
	v  T
}

// Update is how a program writes it that must release the lock if f panics.
func (g *guarded[T]) Update(f func(T) T) T {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.v = f(g.v)
	return g.v
}

// Change is Update for a type that is too large to be passed by value.
func (g *guarded[T]) Change(f func(*T)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.v)
}

var numbers = []comparison{
	{
		name: "RawValue.Get", rival: "a Go pointer", target: 1.05,
		loops: func(b *bed) (ours, rival loop) {
			v, p := must(shm.NewRawValue(b.segment, "v", int64(1))), new(int64)
			return func(n int) {
					var x int64
					for range n {
						x ^= v.Get()
					}
					sink = x
				}, func(n int) {
					var x int64
					for range n {
						x ^= *p
					}
					sink = x
				}
		},
	}, {
		name: "RawValue.Set", rival: "a Go pointer", target: 1.05,
		loops: func(b *bed) (ours, rival loop) {
			v, p := must(shm.NewRawValue(b.segment, "v", int64(1))), new(int64)
			return func(n int) {
					for i := range n {
						v.Set(int64(i))
					}
				}, func(n int) {
					for i := range n {
						*p = int64(i)
					}
				}
		},
	}, {
		name: "RawValue.Get and Set", ours: "RawValue.Get and Set, an increment", rival: "a Go pointer",
		loops: func(b *bed) (ours, rival loop) {
			v, p := must(shm.NewRawValue(b.segment, "v", int64(1))), new(int64)
			return func(n int) {
					for range n {
						v.Set(v.Get() + 1)
					}
				}, func(n int) {
					for range n {
						*p++
					}
				}
		},
	}, {
		name: "Atomic.Load", rival: "atomic.Int64.Load", target: 1.05,
		loops: func(b *bed) (ours, rival loop) {
			v, p := must(shm.NewAtomic(b.segment, "v", int64(1))), new(atomic.Int64)
			return func(n int) {
					var x int64
					for range n {
						x += v.Load()
					}
					sink = x
				}, func(n int) {
					var x int64
					for range n {
						x += p.Load()
					}
					sink = x
				}
		},
	}, {
		name: "Atomic.Add", rival: "atomic.Int64.Add", target: 1.05,
		loops: func(b *bed) (ours, rival loop) {
			v, p := must(shm.NewAtomic(b.segment, "v", int64(1))), new(atomic.Int64)
			return func(n int) {
					for range n {
						v.Add(1)
					}
				}, func(n int) {
					for range n {
						p.Add(1)
					}
				}
		},
	}, {
		name: "Value.Load", rival: "atomic.Int64.Load", target: 1.2,
		loops: func(b *bed) (ours, rival loop) {
			v, p := must(shm.NewValue(b.segment, "v", int64(1))), new(atomic.Int64)
			return func(n int) {
					var x int64
					for range n {
						x += v.Load()
					}
					sink = x
				}, func(n int) {
					var x int64
					for range n {
						x += p.Load()
					}
					sink = x
				}
		},
	}, {
		name: "Value.Add", rival: "sync.Mutex, increment", target: 1.1,
		note: "Both have two locked instructions, which take most of the time. Ours also loads the change word and fields of the handle.",
		loops: func(b *bed) (ours, rival loop) {
			v, g := must(shm.NewValue(b.segment, "v", int64(1))), new(guarded[int64])
			return func(n int) {
					for range n {
						v.Add(1)
					}
				}, func(n int) {
					for range n {
						g.mu.Lock()
						g.v++
						g.mu.Unlock()
					}
				}
		},
	}, {
		name: "Value.Add, a lock on the stack", ours: "Value.Add", rival: "sync.Mutex on the stack, increment", target: 1.15,
		loops: func(b *bed) (ours, rival loop) {
			v := must(shm.NewValue(b.segment, "v", int64(1)))
			return func(n int) {
					for range n {
						v.Add(1)
					}
				}, func(n int) {
					var mu sync.Mutex
					var x int64
					for range n {
						mu.Lock()
						x++
						mu.Unlock()
					}
					sink = x
				}
		},
	}, {
		name: "Value.Store", rival: "sync.Mutex, assignment", target: 1.1,
		loops: func(b *bed) (ours, rival loop) {
			v, g := must(shm.NewValue(b.segment, "v", int64(1))), new(guarded[int64])
			return func(n int) {
					for i := range n {
						v.Store(int64(i))
					}
				}, func(n int) {
					for i := range n {
						g.mu.Lock()
						g.v = int64(i)
						g.mu.Unlock()
					}
				}
		},
	}, {
		name: "Value.Update", rival: "sync.Mutex, unlocked by a defer", target: 1.2,
		loops: func(b *bed) (ours, rival loop) {
			v, g := must(shm.NewValue(b.segment, "v", int64(1))), new(guarded[int64])
			return func(n int) {
					for range n {
						v.Update(func(x int64) int64 { return x + 1 })
					}
				}, func(n int) {
					for range n {
						g.Update(func(x int64) int64 { return x + 1 })
					}
				}
		},
	},
}

const arrayLength = 4096

var arrays = []comparison{
	{
		name: "RawArray.Slice, sum", rival: "a slice, sum", unit: "ns for 4,096", target: 1.05,
		loops: func(b *bed) (ours, rival loop) {
			sum := func(s []float64) loop {
				return func(n int) {
					var x float64
					for range n {
						for _, y := range s {
							x += y
						}
					}
					sinkFloat = x
				}
			}
			return sum(must(shm.NewRawArray[float64](b.segment, "v", arrayLength)).Slice()), sum(make([]float64, arrayLength))
		},
	}, {
		name: "RawArray.Get, sum", rival: "a slice, sum by index", unit: "ns for 4,096", target: 1.05,
		loops: func(b *bed) (ours, rival loop) {
			v, s := must(shm.NewRawArray[float64](b.segment, "v", arrayLength)), make([]float64, arrayLength)
			return func(n int) {
					var x float64
					for range n {
						for i := range v.Len() {
							x += v.Get(i)
						}
					}
					sinkFloat = x
				}, func(n int) {
					var x float64
					for range n {
						for i := range len(s) {
							x += s[i]
						}
					}
					sinkFloat = x
				}
		},
	}, {
		name: "Array.Load", rival: "atomic loads of a slice's elements", unit: "ns for 4,096",
		loops: func(b *bed) (ours, rival loop) {
			v, s := must(shm.NewArray[int64](b.segment, "v", arrayLength)), make([]atomic.Int64, arrayLength)
			return func(n int) {
					var x int64
					for range n {
						for i := range v.Len() {
							x += v.Load(i)
						}
					}
					sink = x
				}, func(n int) {
					var x int64
					for range n {
						for i := range len(s) {
							x += s[i].Load()
						}
					}
					sink = x
				}
		},
	}, {
		name: "RawArray.Set", rival: "a slice, assignment by index", unit: "ns for 4,096",
		loops: func(b *bed) (ours, rival loop) {
			v, s := must(shm.NewRawArray[float64](b.segment, "v", arrayLength)), make([]float64, arrayLength)
			return func(n int) {
					for range n {
						for i := range v.Len() {
							v.Set(i, float64(i))
						}
					}
				}, func(n int) {
					for range n {
						for i := range len(s) {
							s[i] = float64(i)
						}
					}
				}
		},
	}, {
		name: "Array.Store", rival: "sync.Mutex, assignment to an element",
		loops: func(b *bed) (ours, rival loop) {
			v := must(shm.NewArray[int64](b.segment, "v", arrayLength))
			g := &guarded[[]int64]{v: make([]int64, arrayLength)}
			return func(n int) {
					for i := range n {
						v.Store(i%arrayLength, 1)
					}
				}, func(n int) {
					for i := range n {
						g.mu.Lock()
						g.v[i%arrayLength] = 1
						g.mu.Unlock()
					}
				}
		},
	}, {
		name: "Array.Add", rival: "sync.Mutex, increment of an element", target: 1.15,
		loops: func(b *bed) (ours, rival loop) {
			v := must(shm.NewArray[int64](b.segment, "v", arrayLength))
			g := &guarded[[]int64]{v: make([]int64, arrayLength)}
			return func(n int) {
					for i := range n {
						v.Add(i%arrayLength, 1)
					}
				}, func(n int) {
					for i := range n {
						g.mu.Lock()
						g.v[i%arrayLength]++
						g.mu.Unlock()
					}
				}
		},
	},
}

var locks = []comparison{
	{
		name: "Mutex.Lock and Unlock", rival: "sync.Mutex", target: 1.2,
		loops: func(b *bed) (ours, rival loop) {
			mu, other := must(shm.NewMutex(b.segment, "v")), new(sync.Mutex)
			return func(n int) {
					for range n {
						mu.Lock()
						sink++
						mu.Unlock()
					}
				}, func(n int) {
					for range n {
						other.Lock()
						sink++
						other.Unlock()
					}
				}
		},
	},
	crowd(2, 1.3), crowd(4, 1.3), crowd(8, 1.3),
}

// crowd compares goroutines of one process that add to one number.
func crowd(goroutines int, target float64) comparison {
	spread := func(n int, f func(n int)) {
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() { f(n / goroutines) })
		}
		wg.Wait()
	}
	return comparison{
		name: "Value.Add, " + digits(goroutines) + " goroutines", rival: "sync.Mutex, increment, as many", target: target,
		loops: func(b *bed) (ours, rival loop) {
			v, g := must(shm.NewValue(b.segment, "v", int64(1))), new(guarded[int64])
			return func(n int) {
					spread(n, func(n int) {
						for range n {
							v.Add(1)
						}
					})
				}, func(n int) {
					spread(n, func(n int) {
						for range n {
							g.mu.Lock()
							g.v++
							g.mu.Unlock()
						}
					})
				}
		},
	}
}
