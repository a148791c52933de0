//go:build linux

package shm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

type pair struct {
	A int64
	B int32
	C bool
	D [6]float64
}

func TestStructIsNeverTorn(t *testing.T) {
	s := open(t, testName(t), nil)
	v := must(NewStruct(s, "p", pair{}))(t)
	const writers, each = 3, 5000
	stop := make(chan struct{})
	var writing, reading sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				v.Update(func(p *pair) {
					p.A++
					p.B++
					p.C = !p.C
					for i := range p.D {
						p.D[i]++
					}
				})
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for {
				p := v.Load()
				if int64(p.B) != p.A || p.C != (p.A%2 == 1) || p.D[0] != float64(p.A) || p.D[5] != float64(p.A) {
					t.Errorf("torn: %+v", p)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	if p := v.Load(); p.A != writers*each {
		t.Fatalf("%d updates counted %d", writers*each, p.A)
	}
}

// keeps checks that a type of any size and shape comes back as it was stored.
func keeps[T comparable](values ...T) func(*testing.T) {
	return func(t *testing.T) {
		name := testName(t)
		s := open(t, name, nil)
		v := must(NewStruct(s, "v", values[0]))(t)
		neighbour := must(NewRawValue(s, "neighbour", uint64(math.MaxUint64)))(t)
		ro := must(NewStruct(open(t, name, &Options{ReadOnly: true}), "v", values[1]))(t)
		raw := must(NewRawStruct(s, "raw", values[0]))(t)
		if v.Load() != values[0] || ro.Load() != values[0] || raw.Get() != values[0] {
			t.Fatal("the first value is not init")
		}
		for range 3 {
			for _, x := range values {
				v.Store(x)
				raw.Set(x)
				if v.Load() != x || ro.Load() != x || raw.Get() != x || *raw.Ptr() != x {
					t.Fatalf("%v has become %v, %v, %v", x, v.Load(), ro.Load(), raw.Get())
				}
				v.Update(func(p *T) {
					if *p != x {
						t.Fatalf("Update is given %v for %v", *p, x)
					}
					*p = values[0]
				})
				if v.Load() != values[0] || ro.Load() != values[0] {
					t.Fatal("an update is lost")
				}
			}
		}
		if neighbour.Get() != math.MaxUint64 {
			t.Fatalf("the next value is %#x", neighbour.Get())
		}
	}
}

func TestStructOfAnyType(t *testing.T) {
	type padded struct {
		A int64
		B bool
	}
	type nested struct {
		P [3]padded
		C complex64
		D [2][2]bool
		E int8
	}
	type big struct{ A [100 << 10]byte }
	type odd struct{ A [67]byte }
	var big1, big2 big
	for i := range big1.A {
		big1.A[i], big2.A[i] = byte(i), byte(i>>3)
	}
	t.Run("complex128", keeps(complex(1, 2), complex(-0.5, math.Inf(1)), 0))
	t.Run("bool", keeps(true, false))
	t.Run("byte", keeps[byte](1, 255, 0))
	t.Run("one byte", keeps(struct{ A int8 }{1}, struct{ A int8 }{-128}))
	t.Run("array", keeps([16]byte{1, 15: 2}, [16]byte{}))
	t.Run("tail padding", keeps(padded{1, true}, padded{-1, false}))
	t.Run("nested", keeps(nested{E: 1}, nested{P: [3]padded{2: {5, true}}, C: 2i, D: [2][2]bool{1: {true, true}}, E: -1}))
	t.Run("67 bytes", keeps(odd{[67]byte{66: 1}}, odd{[67]byte{0: 1, 64: 2}}))
	t.Run("100 KiB", keeps(big1, big2))
}

// TestBoolsAreNormalised: a broken peer leaves 77 where a bool is, and no copy
// has it. With 77, Go's compiler would let t[i] through to t[77].
func TestBoolsAreNormalised(t *testing.T) {
	s := open(t, testName(t), nil)
	type flags struct {
		N  int32
		On bool
		A  [3]struct {
			X   int16
			Set [2]bool
		}
	}
	want := flags{N: 77, On: true}
	for i := range want.A {
		want.A[i].X, want.A[i].Set = 77, [2]bool{true, true}
	}
	scribble := func(b []byte) {
		for i := range b {
			b[i] = 77
		}
	}
	check := func(what string, got flags) {
		t.Helper()
		for _, b := range bytesOf(&got.On) {
			if b != 1 {
				t.Errorf("%s: a bool of %d", what, b)
			}
		}
		if got.On != want.On || got.A[2].Set != want.A[2].Set || bytesOf(&got.A[2].Set)[1] != 1 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	raw := must(NewRawStruct(s, "raw", flags{}))(t)
	scribble(bytesOf(raw.Ptr()))
	check("RawStruct.Get", raw.Get())
	v := must(NewStruct(s, "v", flags{}))(t)
	scribble(v.s.data[0])
	check("Struct.Load", v.Load())
	v.Update(func(f *flags) { check("Struct.Update", *f) })
	check("the slot that Update committed", *v.s.at[1])

	flag := must(NewRawStruct(s, "flag", false))(t)
	scribble(bytesOf(flag.Ptr()))
	if got := pick(flag.Get()); got != 11 {
		t.Errorf("element 1 is %d", got)
	}
}

// pick indexes without a bounds check, since the compiler knows that a bool is
// 0 or 1.
//
//go:noinline
func pick(b bool) int {
	table := [2]int{10, 11}
	i := 0
	if b {
		i = 1
	}
	return table[i]
}

func TestStructUpdateThatDoesNotFinish(t *testing.T) {
	s := open(t, testName(t), nil)
	v := must(NewStruct(s, "v", pair{A: 1}))(t)
	for what, leave := range map[string]func(){
		"panic":  func() { panic("no") },
		"Goexit": runtime.Goexit,
	} {
		var left sync.WaitGroup
		left.Go(func() {
			defer func() { _ = recover() }()
			v.Update(func(p *pair) {
				p.A, p.D[5] = 2, 3
				leave()
			})
			t.Errorf("%s: Update returned", what)
		})
		left.Wait()
		if got := v.Load(); got != (pair{A: 1}) {
			t.Errorf("%s committed %+v", what, got)
		}
		if !v.Mutex().TryLock() {
			t.Fatalf("%s left the lock", what)
		}
		if v.Mutex().Abandoned() {
			t.Errorf("%s: abandoned, though nothing is half changed", what)
		}
		v.Mutex().Unlock()
	}
	v.Update(func(p *pair) {
		if *p != (pair{A: 1}) {
			t.Errorf("the next one is given %+v", *p)
		}
		p.A++
	})
	if v.Load().A != 2 {
		t.Error("no update after that")
	}
}

// TestReaderUnderAnEagerWriter commits during every copy: a reader that can lock
// does so after maxTries, one that cannot goes on until there is a gap.
func TestReaderUnderAnEagerWriter(t *testing.T) {
	name := testName(t)
	v := must(NewStruct(open(t, name, nil), "v", pair{}))(t)
	ro := must(NewStruct(open(t, name, &Options{ReadOnly: true}), "v", pair{}))(t)
	for what, c := range map[string]struct {
		slots *slots
		want  int
	}{
		"read-write": {&v.s.slots, maxTries + 1},
		"read-only":  {&ro.s.slots, 10 * maxTries},
	} {
		tries := 0
		var got pair
		c.slots.read(func(slot []byte) {
			copyBytes(bytesOf(&got), slot)
			if tries++; tries < 10*maxTries && v.Mutex().TryLock() {
				v.Mutex().Unlock()
				v.Update(func(p *pair) { p.A++ })
			}
		})
		if tries != c.want || got != v.Load() {
			t.Errorf("%s: %d tries, want %d; %+v, want %+v", what, tries, c.want, got, v.Load())
		}
		v.Update(func(*pair) {}) // the lock is free
	}
}

// TestReaderBesideAHolder: a reader that was overtaken often enough to ask for the
// lock does not wait for who holds it, whether stopped or waiting for the reader.
func TestReaderBesideAHolder(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewStruct(s, "v", pair{}))(t)
	text := must(NewString(s, "text", 8))(t)
	for what, sl := range map[string]*slots{"struct": &v.s.slots, "text": text.s} {
		sl.mu.Lock()
		tries := 0
		within(t, "the copy of a "+what+" whose lock is held", func() {
			sl.read(func([]byte) {
				if tries++; tries <= maxTries {
					sl.cell.commit.Add(2) // as if the holder had been quick until now
				}
			})
		})
		if tries != maxTries+1 {
			t.Errorf("%s: %d tries", what, tries)
		}
		sl.mu.Unlock()
	}
}

// stopper stops in the middle of a commit of its own, then of a second value.
var stopper = helper("stopper", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewStruct(s, "v", pair{})
	if err != nil {
		return err
	}
	v.Update(func(p *pair) {
		p.A = 99
		fmt.Println("inside")
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Hour) // the signal may come a little later
	})
	return nil
})

func TestStoppedWriterBlocksNoLoad(t *testing.T) {
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewStruct(s, "v", pair{A: 1}))(t)
	p := start(t, stopper, name)
	p.expect("inside")
	entry, _ := s.Lookup("v")
	for range 1000 {
		if got := v.Load(); got != (pair{A: 1}) {
			t.Fatalf("%+v", got)
		}
	}
	if lock, ok := entry.Lock(); !ok || !lock.Held || !lock.Alive || lock.Pid != p.cmd.Process.Pid || v.Mutex().TryLock() {
		t.Fatalf("the writer does not hold the lock: %v", lock)
	}
	if text := entry.Text(); text != "{A: 1, B: 0, C: false, D: [0, 0, 0, 0, 0, 0]}" {
		t.Errorf("%s", text)
	}
	p.kill()
	if lock, _ := entry.Lock(); !lock.Held || lock.Alive {
		t.Errorf("%v", lock)
	}
	v.Update(func(p *pair) { p.B = 5 }) // takes the dead one's lock over
	if got := v.Load(); got != (pair{A: 1, B: 5}) {
		t.Errorf("%+v", got)
	}
}

func TestStructReadOnly(t *testing.T) {
	name := testName(t)
	must(NewStruct(open(t, name, nil), "v", pair{A: 1}))(t)
	must(NewString(open(t, name, nil), "s", 8))(t)
	ro := open(t, name, &Options{ReadOnly: true})
	v, text := must(NewStruct(ro, "v", pair{}))(t), must(NewString(ro, "s", 0))(t)
	for what, change := range map[string]func(){
		"Store": func() { v.Store(pair{}) }, "Update": func() { v.Update(func(*pair) {}) }, "Mutex.Lock": v.Mutex().Lock,
		"String.Store": func() { _ = text.Store("x") },
	} {
		if err, ok := panicOf(change).(error); !ok || !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if v.Load() != (pair{A: 1}) || text.Load() != "" {
		t.Error("something was changed")
	}
}

// TestNothingAllocates: but what returns a string.
func TestNothingAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own")
	}
	s := open(t, testName(t), nil)
	type flagged struct {
		A [100]int64
		B bool
		C [3]int8
	}
	v := must(NewStruct(s, "v", flagged{}))(t)
	small := must(NewStruct(s, "small", complex(0, 0)))(t)
	raw := must(NewRawStruct(s, "raw", flagged{}))(t)
	text := must(NewString(s, "text", 16))(t)
	a := must(NewArray[int32](s, "array", 16))(t)
	n := must(NewValue(s, "n", int64(0)))(t)
	var x flagged
	for what, f := range map[string]func(){
		"Struct.Load":    func() { x = v.Load() },
		"Struct.Store":   func() { v.Store(x) },
		"Struct.Update":  func() { v.Update(func(p *flagged) { p.A[0]++ }) },
		"complex":        func() { small.Store(small.Load() + 1) },
		"RawStruct":      func() { raw.Set(raw.Get()) },
		"String.Store":   func() { _ = text.Store("sixteen bytes ok") },
		"Array":          func() { a.Store(3, a.Load(2)+a.Add(1, 1)) },
		"Array.WithLock": func() { a.WithLock(func(s []int32) { s[0]++ }) },
		"Value":          func() { n.Store(n.Load() + n.Add(1)) },
		"Value.Update":   func() { n.Update(func(i int64) int64 { return i + 1 }) },
		//lint:ignore SA2001 that it can be taken is what is tested
		"Mutex": func() { v.Mutex().Lock(); v.Mutex().Unlock() },
	} {
		if allocs := testing.AllocsPerRun(100, f); allocs != 0 {
			t.Errorf("%s allocates %v times", what, allocs)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { text.Load() }); allocs > 1 {
		t.Errorf("String.Load allocates %v times", allocs)
	}
}
