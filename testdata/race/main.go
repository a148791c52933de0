// Race has small programs with and without data races. A test builds it with -race,
// runs each program, and checks what the race detector reports.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"

	"example.org/shm"
)

const rounds = 300

// both runs two functions at the same time.
func both(a, b func()) {
	var wg sync.WaitGroup
	wg.Go(a)
	wg.Go(b)
	wg.Wait()
}

func repeat(f func()) func() {
	return func() {
		for range rounds {
			f()
		}
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return x
}

// programs has the programs by name. A name starts with "right" if the program has no
// data race, and with "wrong" if it has one. Each program gets two attachments to one
// segment.
var programs = map[string]func(s, again *shm.Segment){
	"right: a Mutex guards the heap": func(s, _ *shm.Segment) {
		mu, n := must(shm.NewMutex(s, "mu")), 0
		add := func() { mu.Lock(); n++; mu.Unlock() }
		both(repeat(add), repeat(add))
	},
	"right: two attachments have one Mutex": func(s, again *shm.Segment) {
		a, b, n := must(shm.NewMutex(s, "mu")), must(shm.NewMutex(again, "mu")), 0
		both(repeat(func() { a.Lock(); n++; a.Unlock() }), repeat(func() { b.Lock(); n++; b.Unlock() }))
	},
	"right: TryLock and LockContext": func(s, _ *shm.Segment) {
		mu, n := must(shm.NewMutex(s, "mu")), 0
		both(repeat(func() {
			if mu.TryLock() {
				n++
				mu.Unlock()
			}
		}), repeat(func() {
			if mu.LockContext(context.Background()) == nil {
				n++
				mu.Unlock()
			}
		}))
	},
	"right: many goroutines hand a Mutex on": func(s, _ *shm.Segment) {
		mu, n := must(shm.NewMutex(s, "mu")), 0
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(repeat(func() { mu.Lock(); n++; mu.Unlock() }))
		}
		wg.Wait()
	},
	"right: Update guards the heap": func(s, _ *shm.Segment) {
		v, n := must(shm.NewValue[int64](s, "v", 0)), 0
		add := func() { v.Update(func(x int64) int64 { n++; return x + 1 }) }
		both(repeat(add), repeat(add))
	},
	"right: Store publishes the heap": func(s, _ *shm.Segment) {
		v, n := must(shm.NewValue[int64](s, "v", 0)), 0
		both(func() { n = 7; v.Store(1) }, func() {
			for v.Load() == 0 {
			}
			n++
		})
	},
	"right: a Value hands the heap on": func(s, _ *shm.Segment) {
		v := must(shm.NewValue[int64](s, "v", 0))
		handOn(v.Load, v.Store)
	},
	"right: an Array hands the heap on": func(s, _ *shm.Segment) {
		a := must(shm.NewArray[int64](s, "a", 3))
		handOn(func() int64 { return a.Load(1) }, func(n int64) { a.Store(1, n) })
	},
	"right: a Struct hands the heap on": func(s, again *shm.Segment) {
		a, b := must(shm.NewStruct(s, "s", [3]int64{})), must(shm.NewStruct(again, "s", [3]int64{}))
		handOn(func() int64 { return a.Load()[1] }, func(n int64) { b.Update(func(x *[3]int64) { x[1] = n }) })
	},
	"right: a String hands the heap on": func(s, _ *shm.Segment) {
		t := must(shm.NewString(s, "t", 20))
		must(0, t.Store("0"))
		handOn(func() int64 { return must(strconv.ParseInt(t.Load(), 10, 64)) }, func(n int64) { must(0, t.Store(strconv.FormatInt(n, 10))) })
	},
	"right: a Ring hands the heap on": func(s, again *shm.Segment) {
		a, b := must(shm.NewRing[[3]int64](s, "r", 4)), must(shm.NewRing[[3]int64](again, "r", 4))
		a.Append([3]int64{})
		handOn(func() int64 { x, _, _ := a.Last(); return x[1] }, func(n int64) { b.Append([3]int64{0, n, 0}) })
	},
	"right: a Counter hands the heap on": func(s, again *shm.Segment) {
		a, b := must(shm.NewCounter[int64](s, "c")), must(shm.NewCounter[int64](again, "c"))
		handOn(a.Load, func(n int64) { b.Add(n - b.Load()) })
	},
	"right: a Gauge hands the heap on": func(s, again *shm.Segment) {
		a, b := must(shm.NewGauge[int64](s, "g")), must(shm.NewGauge[int64](again, "g"))
		handOn(a.Load, b.Set)
	},
	"right: Max of a Gauge hands the heap on": func(s, _ *shm.Segment) {
		g := must(shm.NewGauge[int64](s, "g"))
		handOn(func() int64 { n, _ := g.Max(); return n }, func(n int64) { g.Add(n - g.Load()) })
	},
	"right: a Histogram hands the heap on": func(s, _ *shm.Segment) {
		h := must(shm.NewHistogram(s, "h", []float64{1}))
		handOn(func() int64 { return int64(h.Load().Counts[0]) }, func(int64) { h.Observe(0) })
	},
	"right: a row of a Table hands the heap on": func(s, again *shm.Segment) {
		a, b := must(shm.NewTable[[3]int64](s, "t", 3)), must(shm.NewTable[[3]int64](again, "t", 3))
		handOn(func() int64 { return a.Row(1).Load()[1] }, func(n int64) { b.Row(1).Store([3]int64{0, n, 0}) })
	},
	"right: a part of an AtomicArray hands the heap on": func(s, again *shm.Segment) {
		a, b := must(shm.NewAtomicArray[int64](s, "a", 3)), must(shm.NewAtomicArray[int64](again, "a", 3))
		handOn(func() int64 { return a.At(1).Load() }, func(n int64) { b.At(1).Store(n) })
	},
	"right: a RingReader gets the heap": func(s, again *shm.Segment) {
		a, b, n := must(shm.NewRing[int64](s, "r", 4)), must(shm.NewRing[int64](again, "r", 4)), 0
		r := b.From(1)
		both(func() { n = 7; a.Append(1) }, func() {
			_, _, err := r.Next(context.Background())
			must(0, err)
			n++
		})
	},
	"wrong: a Ring that is only read": func(s, _ *shm.Segment) {
		v, n := must(shm.NewRing[int64](s, "r", 4)), 0
		v.Append(1)
		both(repeat(func() { v.Last(); n++ }), repeat(func() { v.Last(); n++ }))
	},
	"wrong: a Struct that is only read": func(s, _ *shm.Segment) {
		v, n := must(shm.NewStruct(s, "s", [3]int64{})), 0
		both(repeat(func() { v.Load(); n++ }), repeat(func() { v.Load(); n++ }))
	},
	"right: Await sees what was published": func(s, _ *shm.Segment) {
		v, n := must(shm.NewValue[int64](s, "v", 0)), 0
		both(func() { n = 7; v.Add(1) }, func() {
			must(v.Await(context.Background(), func(x int64) bool { return x == 1 }))
			n++
		})
	},
	"right: an Atomic publishes the heap": func(s, again *shm.Segment) {
		a, b, n := must(shm.NewAtomic[uint32](s, "flag", 0)), must(shm.NewAtomic[uint32](again, "flag", 0)), 0
		both(func() { n = 7; a.Store(1) }, func() {
			for !b.CompareAndSwap(1, 2) {
			}
			n++
		})
	},
	"right: an AtomicArray hands the heap on, and an Entry sees it": func(s, again *shm.Segment) {
		a := must(shm.NewAtomicArray[int64](s, "a", 2))
		e, _ := again.Lookup("a")
		handOn(func() int64 { return e.Any().([]int64)[1] }, a.At(1).Store)
	},
	"right: an Entry of an AtomicArray hands the heap on": func(s, again *shm.Segment) {
		a := must(shm.NewAtomicArray[int64](s, "a", 2))
		e, _ := again.Lookup("a")
		handOn(a.At(1).Load, func(i int64) { must(e, e.Parse(fmt.Sprintf("[1: %d]", i))) })
	},
	"right: an update of an Entry of an AtomicArray hands the heap on": func(s, again *shm.Segment) {
		a := must(shm.NewAtomicArray[int64](s, "a", 2))
		e, _ := again.Lookup("a")
		handOn(a.At(1).Load, func(i int64) {
			f := func(any) (string, error) { return fmt.Sprintf("[1: %d]", i), nil }
			must(e, e.UpdateContext(context.Background(), f))
		})
	},
	"right: a RawValue under a Mutex": func(s, again *shm.Segment) {
		v := must(shm.NewValue[int64](s, "v", 0))
		raw := must(shm.NewValue[int64](again, "v", 0)).Raw()
		add := func() { v.Mutex().Lock(); raw.Set(raw.Get() + 1); v.Mutex().Unlock() }
		both(repeat(add), repeat(add))
	},
	"right: a RawValue beside the locked verbs": func(s, _ *shm.Segment) {
		v := must(shm.NewValue[int64](s, "v", 0))
		both(repeat(func() { v.Mutex().Lock(); v.Raw().Set(v.Raw().Get() + 1); v.Mutex().Unlock() }), repeat(func() { v.Add(1) }))
	},
	"right: a RawValue that all only read": func(s, _ *shm.Segment) {
		v := must(shm.NewRawValue[int64](s, "raw", 7))
		both(repeat(func() { v.Get() }), repeat(func() { v.Get() }))
	},
	"right: neighbours": func(s, _ *shm.Segment) {
		a, b := must(shm.NewRawValue[int32](s, "a", 7)), must(shm.NewRawValue[int32](s, "b", 7))
		both(repeat(func() { a.Set(1) }), repeat(func() { b.Set(1) }))
	},
	"wrong: a RawValue without a lock": func(s, _ *shm.Segment) {
		v := must(shm.NewRawValue[int64](s, "raw", 0))
		both(repeat(func() { v.Set(1) }), repeat(func() { v.Get() }))
	},
	"wrong: a RawValue in two attachments": func(s, again *shm.Segment) {
		a, b := must(shm.NewRawValue[int64](s, "raw", 0)), must(shm.NewRawValue[int64](again, "raw", 0))
		both(repeat(func() { a.Set(1) }), repeat(func() { b.Set(2) }))
	},
	"wrong: a Value's number without its lock, beside Add": func(s, _ *shm.Segment) {
		v := must(shm.NewValue[int64](s, "v", 0))
		both(repeat(func() { v.Raw().Set(1) }), repeat(func() { v.Add(1) }))
	},
	"right: Load beside all that changes a Value": func(s, _ *shm.Segment) {
		v := must(shm.NewValue[int64](s, "v", 0))
		both(repeat(func() { v.Load() }), repeat(func() { v.Add(1); v.Swap(3); v.Store(1); v.CompareAndSwap(1, 2) }))
	},
	"wrong: a Value's number without its lock": func(s, _ *shm.Segment) {
		v := must(shm.NewValue[int64](s, "v", 0))
		both(repeat(func() { v.Raw().Set(1) }), repeat(func() { v.Mutex().Lock(); v.Raw().Get(); v.Mutex().Unlock() }))
	},
	"wrong: a RawStruct without a lock": func(s, again *shm.Segment) {
		a, b := must(shm.NewRawStruct(s, "raw", [4]int64{})), must(shm.NewRawStruct(again, "raw", [4]int64{}))
		both(repeat(func() { a.Set([4]int64{1}) }), repeat(func() { b.Get() }))
	},
	"wrong: an element of a RawArray without a lock": func(s, _ *shm.Segment) {
		a := must(shm.NewRawArray[int32](s, "raw", 4))
		both(repeat(func() { a.Set(1, 1) }), repeat(func() { a.Get(1) }))
	},
	"wrong: an element of a RawArray beside All": func(s, _ *shm.Segment) {
		a := must(shm.NewRawArray[int32](s, "raw", 4))
		both(repeat(func() { a.Set(3, 1) }), repeat(func() {
			for range a.All() {
			}
		}))
	},
	"right: elements of a RawArray": func(s, _ *shm.Segment) {
		a := must(shm.NewRawArray[int8](s, "raw", 16))
		both(repeat(func() { a.Set(4, 1) }), repeat(func() { a.Set(5, a.Get(5)+1) }))
	},
	"wrong: an element of an Array without its lock": func(s, again *shm.Segment) {
		a, b := must(shm.NewArray[int64](s, "a", 4)), must(shm.NewArray[int64](again, "a", 4))
		both(repeat(func() { a.Raw().Set(2, 1) }), repeat(func() { b.Add(2, 1) }))
	},
	"right: elements of an Array under its lock": func(s, _ *shm.Segment) {
		a := must(shm.NewArray[int64](s, "a", 4))
		both(repeat(func() { a.Mutex().Lock(); a.Raw().Set(2, 1); a.Mutex().Unlock() }), repeat(func() { a.Add(2, 1); a.Load(2) }))
	},
	"wrong: a CharArray without a lock": func(s, _ *shm.Segment) {
		c := must(shm.NewCharArray(s, "raw", 16))
		both(repeat(func() { must(0, c.SetValue("text")) }), repeat(func() { c.Value() }))
	},
	"wrong: a CharArray without a lock, beside Raw": func(s, _ *shm.Segment) {
		c := must(shm.NewCharArray(s, "raw", 16))
		both(repeat(func() { must(0, c.SetRaw([]byte("text"))) }), repeat(func() { c.Raw() }))
	},
	"right: a CharArray under a Mutex": func(s, _ *shm.Segment) {
		c, mu := must(shm.NewCharArray(s, "raw", 16)), must(shm.NewMutex(s, "mu"))
		both(repeat(func() { mu.Lock(); must(0, c.SetValue("text")); mu.Unlock() }), repeat(func() { mu.Lock(); c.Value(); mu.Unlock() }))
	},
	"wrong: a field of a foreign struct beside all of it": func(_, _ *shm.Segment) {
		whole, field, _ := foreign()
		both(repeat(func() { field.Set(1) }), repeat(func() { whole.Get() }))
	},
	"wrong: bytes of foreign memory beside a number in it": func(_, _ *shm.Segment) {
		_, field, text := foreign()
		both(repeat(func() { field.Set(1) }), repeat(func() { must(0, text.SetValue("text that reaches the number")) }))
	},
	"right: parts of foreign memory": func(_, _ *shm.Segment) {
		_, field, text := foreign()
		both(repeat(func() { field.Set(1) }), repeat(func() { must(0, text.SetRaw([]byte("short"))) }))
	},
	"wrong: an Entry beside a RawValue": func(s, _ *shm.Segment) {
		v := must(shm.NewRawValue[int64](s, "raw", 0))
		e, _ := s.Lookup("raw")
		both(repeat(func() { v.Set(1) }), repeat(func() { e.Any() }))
	},
	"wrong: an Entry beside a RawArray": func(s, _ *shm.Segment) {
		a := must(shm.NewRawArray[int64](s, "raw", 3))
		e, _ := s.Lookup("raw")
		both(repeat(func() { a.Get(1) }), repeat(func() { must(0, e.Parse("[1: 5]")) }))
	},
	"wrong: the heap under two locks": func(s, _ *shm.Segment) {
		a, b, n := must(shm.NewMutex(s, "a")), must(shm.NewMutex(s, "b")), 0
		both(repeat(func() { a.Lock(); n++; a.Unlock() }), repeat(func() { b.Lock(); n++; b.Unlock() }))
	},
}

// foreign returns overlapping values of memory that another program laid out: a struct
// that spans two pages, a number in it, and a C string with all of it.
func foreign() (whole shm.RawStruct[[6]int64], field shm.RawValue[int64], text shm.CharArray) {
	f := must(os.CreateTemp("", "race-"))
	defer f.Close()
	must(0, os.Remove(f.Name()))
	must(0, f.Truncate(8192))
	s := must(shm.OpenFile(f, &shm.Options{Foreign: true}))
	const at = 4096 - 16
	return must(shm.RawStructAt[[6]int64](s, at)), must(shm.RawValueAt[int64](s, at+24)), must(shm.CharArrayAt(s, at, 48))
}

// handOn runs two goroutines that change a variable in turns. A shared number says
// whose turn it is.
func handOn(load func() int64, store func(int64)) {
	n := 0
	turns := func(first int64) func() {
		return func() {
			for i := first; i < 2000; i += 2 {
				for load() != i {
				}
				n++
				store(i + 1)
			}
		}
	}
	both(turns(0), turns(1))
}

func main() {
	if len(os.Args) == 1 {
		for name := range programs {
			fmt.Println(name)
		}
		return
	}
	s := must(shm.Anonymous(nil))
	again := must(shm.OpenFile(s.File(), nil))
	programs[os.Args[1]](s, again)
}
