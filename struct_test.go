//go:build linux

package shm_test

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
	"unsafe"

	"example.org/shm"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
)

type pair struct {
	A int64
	B int32
	C bool
	D [6]float64
}

func TestStructIsNeverTorn(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewStruct(s, "p", pair{}))(t)
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

// keeps checks that values come back as they were stored.
func keeps[T comparable](values ...T) func(*testing.T) {
	return func(t *testing.T) {
		name := shmtest.Name(t)
		s := open(t, name, nil)
		v := shmtest.Must(shm.NewStruct(s, "v", values[0]))(t)
		neighbour := shmtest.Must(shm.NewRawValue(s, "neighbour", uint64(math.MaxUint64)))(t)
		ro := shmtest.Must(shm.NewStruct(open(t, name, &shm.Options{ReadOnly: true}), "v", values[1]))(t)
		raw := shmtest.Must(shm.NewRawStruct(s, "raw", values[0]))(t)
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

func TestRawStruct(t *testing.T) {
	type inner struct {
		Yes bool
		No  [2]bool
	}
	type record struct {
		A  int8
		In [2]inner
		B  complex128
		C  [4]byte `shm:"c,char"`
		_  [3]byte
		D  bool
	}
	name := shmtest.Name(t)
	s := open(t, name, nil)
	want := record{A: -1, In: [2]inner{{true, [2]bool{false, true}}, {No: [2]bool{true, false}}}, B: 1i, C: [4]byte{'a'}, D: true}
	v := shmtest.Must(shm.NewRawStruct(s, "v", want))(t)
	ro := shmtest.Must(shm.NewRawStruct(open(t, name, &shm.Options{ReadOnly: true}), "v", record{}))(t)
	if v.Get() != want || ro.Get() != want {
		t.Fatalf("%+v", v.Get())
	}
	want.D, want.A = false, 5
	v.Set(want)
	v.Ptr().A++
	if want.A++; ro.Get() != want {
		t.Fatalf("%+v", ro.Get())
	}
	// A faulty peer writes bools that are neither 0 nor 1.
	memory := unsafe.Slice((*byte)(unsafe.Pointer(v.Ptr())), unsafe.Sizeof(want))
	for i := range memory {
		memory[i] = 77
	}
	got := ro.Get()
	for i, b := range []bool{got.In[0].Yes, got.In[1].No[1], got.D} {
		if *(*byte)(unsafe.Pointer(&b)) != 1 {
			t.Errorf("bool %d is %d", i, *(*byte)(unsafe.Pointer(&b)))
		}
	}
	if got.A != 77 || got.C != [4]byte{77, 77, 77, 77} || memory[1] != 77 {
		t.Errorf("more than bools was changed: %+v", got)
	}
	one := shmtest.Must(shm.NewRawStruct(s, "bool", true))(t)
	*(*byte)(unsafe.Pointer(one.Ptr())) = 2
	if b := one.Get(); *(*byte)(unsafe.Pointer(&b)) != 1 {
		t.Error("a lone bool is not put right")
	}
	if id := shmtest.Must(shm.NewRawStruct(s, "uuid", [16]byte{1, 2, 3}))(t); id.Get() != [16]byte{1, 2, 3} {
		t.Error(id.Get())
	}
}

// A faulty peer may leave 77 where a bool is. No copy has the 77: in code that the Go
// compiler makes, a bool of 77 may be an index of 77.
func TestBoolsAreNormalised(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
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
		for _, b := range mem.BytesOf(&got.On) {
			if b != 1 {
				t.Errorf("%s: a bool of %d", what, b)
			}
		}
		if got.On != want.On || got.A[2].Set != want.A[2].Set || mem.BytesOf(&got.A[2].Set)[1] != 1 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	raw := shmtest.Must(shm.NewRawStruct(s, "raw", flags{}))(t)
	scribble(mem.BytesOf(raw.Ptr()))
	check("RawStruct.Get", raw.Get())
	v := shmtest.Must(shm.NewStruct(s, "v", flags{}))(t)
	slots := v.Slots()
	scribble(mem.BytesOf(slots[0]))
	check("Struct.Load", v.Load())
	v.Update(func(f *flags) { check("Struct.Update", *f) })
	check("the slot that Update committed", *slots[1])

	flag := shmtest.Must(shm.NewRawStruct(s, "flag", false))(t)
	scribble(mem.BytesOf(flag.Ptr()))
	if got := pick(flag.Get()); got != 11 {
		t.Errorf("element 1 is %d", got)
	}
}

// pick indexes a table without a bounds check, because the compiler relies on a bool
// to be 0 or 1.
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
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewStruct(s, "v", pair{A: 1}))(t)
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

// A nil pointer panics before StoreFrom takes the lock.
func TestStoreFromNil(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewStruct(s, "v", pair{A: 1}))(t)
	if shmtest.Panic(func() { v.StoreFrom(nil) }) == nil {
		t.Error("StoreFrom stored nil")
	}
	if !v.Mutex().TryLock() {
		t.Fatal("StoreFrom left the lock")
	}
	v.Mutex().Unlock()
	if v.Load() != (pair{A: 1}) {
		t.Errorf("StoreFrom stored %+v", v.Load())
	}
}

// stopper stops in the middle of an Update.
var stopper = shmtest.Helper("stopper", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := shm.NewStruct(s, "v", pair{})
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
	name := shmtest.Name(t)
	s := open(t, name, nil)
	v := shmtest.Must(shm.NewStruct(s, "v", pair{A: 1}))(t)
	p := shmtest.Start(t, stopper, name)
	p.Expect("inside")
	entry, _ := s.Lookup("v")
	for range 1000 {
		if got := v.Load(); got != (pair{A: 1}) {
			t.Fatalf("%+v", got)
		}
	}
	if lock, ok := entry.Lock(); !ok || !lock.Held || !lock.Alive || lock.Pid != p.Cmd.Process.Pid || v.Mutex().TryLock() {
		t.Fatalf("the writer does not hold the lock: %v", lock)
	}
	if text := entry.Text(); text != "{A: 1, B: 0, C: false, D: [0, 0, 0, 0, 0, 0]}" {
		t.Errorf("%s", text)
	}
	p.Kill()
	if lock, _ := entry.Lock(); !lock.Held || lock.Alive {
		t.Errorf("%v", lock)
	}
	v.Update(func(p *pair) { p.B = 5 }) // takes over the lock of the dead process
	if got := v.Load(); got != (pair{A: 1, B: 5}) {
		t.Errorf("%+v", got)
	}
}

func TestStructReadOnly(t *testing.T) {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewStruct(open(t, name, nil), "v", pair{A: 1}))(t)
	shmtest.Must(shm.NewString(open(t, name, nil), "s", 8))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	v, text := shmtest.Must(shm.NewStruct(ro, "v", pair{}))(t), shmtest.Must(shm.NewString(ro, "s", 0))(t)
	for what, change := range map[string]func(){
		"Store": func() { v.Store(pair{}) }, "Update": func() { v.Update(func(*pair) {}) }, "Mutex.Lock": v.Mutex().Lock,
		"String.Store": func() { _ = text.Store("x") },
	} {
		if err, ok := shmtest.Panic(change).(error); !ok || !errors.Is(err, shm.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if v.Load() != (pair{A: 1}) || text.Load() != "" {
		t.Error("something was changed")
	}
}
