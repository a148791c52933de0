//go:build linux

package main

import "example.org/shm"

type (
	block64 struct{ A [8]int64 }
	block1k struct{ A [128]int64 }

	// flagged64 has a bool, which another program may have made neither true nor
	// false.
	flagged64 struct {
		A  [7]int64
		N  int32
		OK bool
		_  [3]byte
	}
)

var structs = []comparison{
	structLoad[block64]("64 B", 0.8),
	structLoad[flagged64]("64 B with a bool", 1.0),
	structLoad[block1k]("1 KiB", 0),
	structLoadPlain[block64]("64 B", 0),
	structLoadPlain[block1k]("1 KiB", 1.5),
	structLoadTo[block64]("64 B"),
	structStore[block64]("64 B", 1.5),
	structStore[block1k]("1 KiB", 0),
	{
		name: "Struct.StoreFrom, 64 B", rival: "a copy under a sync.Mutex",
		loops: func(b *bed) (ours, rival loop) {
			v, g, in := must(shm.NewStruct(b.segment, "v", block64{})), new(guarded[block64]), new(block64)
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
	},
	{
		name: "Struct.Update, 64 B", rival: "sync.Mutex, unlocked by a defer, in a func", target: 1.2,
		note: "Update makes two copies, of 64 bytes each, and the rival changes the struct in place: if f panics, or the process is killed, the rival leaves half a change.",
		loops: func(b *bed) (ours, rival loop) {
			v, g := must(shm.NewStruct(b.segment, "v", block64{})), new(guarded[block64])
			return func(n int) {
					for range n {
						v.Update(func(x *block64) { x.A[0]++; x.A[7]-- })
					}
				}, func(n int) {
					for range n {
						g.Change(func(x *block64) { x.A[0]++; x.A[7]-- })
					}
				}
		},
	},
}

func structLoad[T any](what string, target float64) comparison {
	return comparison{
		name: "Struct.Load, " + what, rival: "a copy under a sync.Mutex", target: target,
		loops: func(b *bed) (ours, rival loop) {
			var zero T
			v, g, out := must(shm.NewStruct(b.segment, "v", zero)), new(guarded[T]), new(T)
			return func(n int) {
					for range n {
						*out = v.Load()
					}
				}, func(n int) {
					for range n {
						g.mu.Lock()
						*out = g.v
						g.mu.Unlock()
					}
				}
		},
	}
}

func structLoadPlain[T any](what string, target float64) comparison {
	return comparison{
		name: "Struct.Load, " + what + ", unguarded", ours: "Struct.Load, " + what, rival: "a plain copy", target: target,
		loops: func(b *bed) (ours, rival loop) {
			var zero T
			v, g, out := must(shm.NewStruct(b.segment, "v", zero)), new(guarded[T]), new(T)
			return func(n int) {
					for range n {
						*out = v.Load()
					}
				}, func(n int) {
					for range n {
						*out = g.Copy()
					}
				}
		},
	}
}

func structLoadTo[T any](what string) comparison {
	return comparison{
		name: "Struct.LoadTo, " + what, rival: "a plain copy into a variable",
		loops: func(b *bed) (ours, rival loop) {
			var zero T
			v, g, out := must(shm.NewStruct(b.segment, "v", zero)), new(guarded[T]), new(T)
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
	}
}

// Copy is the least that a method costs which returns a copy and is too long to
// be inlined.
//
//go:noinline
func (g *guarded[T]) Copy() T { return g.v }

func structStore[T any](what string, target float64) comparison {
	return comparison{
		name: "Struct.Store, " + what, rival: "a copy under a sync.Mutex", target: target,
		loops: func(b *bed) (ours, rival loop) {
			var zero T
			v, g, in := must(shm.NewStruct(b.segment, "v", zero)), new(guarded[T]), new(T)
			return func(n int) {
					for range n {
						v.Store(*in)
					}
				}, func(n int) {
					for range n {
						g.mu.Lock()
						g.v = *in
						g.mu.Unlock()
					}
				}
		},
	}
}
