package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"example.org/shm"
)

// These examples are the Go code of docs/sharedctypes.md, which shows their bodies.
// TestSharedctypesPage compares the two.

func ExampleStruct_point() {
	type Point struct{ X, Y float64 }
	if os.Getenv("EXAMPLE_ROLE") == "child" { // modify, in the other process
		var v struct {
			N shm.Value[int32]
			X shm.RawValue[float64]
			S shm.String
			A shm.Struct[[3]Point]
		}
		if err := shm.Bind(must(shm.Inherited("", nil)), &v); err != nil {
			panic(err)
		}
		v.N.Update(func(n int32) int32 { return n * n })
		v.X.Set(v.X.Get() * v.X.Get())
		if err := v.S.Store(strings.ToUpper(v.S.Load())); err != nil {
			panic(err)
		}
		v.A.Update(func(all *[3]Point) {
			for i := range all {
				all[i].X *= all[i].X
				all[i].Y *= all[i].Y
			}
		})
		os.Exit(0)
	}
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	n := must(shm.NewValue[int32](seg, "N", 7))
	x := must(shm.NewRawValue(seg, "X", 1.0/3))
	s := must(shm.NewString(seg, "S", 11))
	a := must(shm.NewStruct(seg, "A", [3]Point{{1.875, -6.25}, {-5.75, 2}, {2.375, 9.5}}))
	if err := s.Store("hello world"); err != nil {
		panic(err)
	}

	p := exec.Command(must(os.Executable()), "-test.run=^ExampleStruct_point$")
	p.Env = append(os.Environ(), "EXAMPLE_ROLE=child")
	p.Stderr = os.Stderr
	seg.Pass(p)
	if err := p.Run(); err != nil {
		panic(err)
	}
	fmt.Println(n.Load(), x.Get(), s.Load(), a.Load())
	// Output: 49 0.1111111111111111 HELLO WORLD [{3.515625 39.0625} {33.0625 4} {5.640625 90.25}]
}

func ExampleRawValue_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	n := must(shm.NewRawValue[int32](seg, "n", 7))
	n.Set(n.Get() + 1)
	zero := must(shm.NewRawValue[int32](seg, "zero", 0))
	x := must(shm.NewRawValue(seg, "x", 2.4))
	fmt.Println(n.Get(), zero.Get(), x.Get())
	// Output: 8 0 2.4
}

func ExampleRawValue_overflow() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	b := must(shm.NewRawValue[int8](seg, "b", 0))
	n := must(shm.NewRawValue[int32](seg, "n", 0))
	f := must(shm.NewRawValue[float32](seg, "f", 0.1))
	small, large := 300, int64(1<<40+3) // 300 itself does not compile
	b.Set(int8(small))
	n.Set(int32(large))
	fmt.Println(b.Get(), n.Get(), float64(f.Get()))
	// Output: 44 3 0.10000000149011612
}

func ExampleLayoutOf_typecodes() {
	for _, l := range []shm.Layout{
		must(shm.LayoutOf[int8]()), must(shm.LayoutOf[uint8]()), must(shm.LayoutOf[int16]()), must(shm.LayoutOf[uint16]()),
		must(shm.LayoutOf[int32]()), must(shm.LayoutOf[uint32]()), must(shm.LayoutOf[int64]()), must(shm.LayoutOf[uint64]()),
		must(shm.LayoutOf[float32]()), must(shm.LayoutOf[float64]()),
	} {
		fmt.Print(l.Format, " ", l.Size, "; ")
	}
	// Output: <b 1; <B 1; <h 2; <H 2; <i 4; <I 4; <q 8; <Q 8; <f 4; <d 8;
}

func ExampleRawArray_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	a := must(shm.NewRawArray[int32](seg, "a", 3))
	copy(a.Slice(), []int32{9, 2, 8})
	fmt.Println(a.Len(), a.Get(1), a.Slice())

	// The numbers are there when the name is: whoever attaches sees no zeros.
	b := must(shm.NewRawStruct(seg, "b", [3]int32{9, 2, 8}))
	fmt.Println(b.Get())

	_, err := shm.NewRawArray[int32](seg, "c", -1)
	fmt.Println(err)
	_, err = shm.NewRawArray[int32](seg, "c", 0) // the length found, and there is none
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// 3 2 [9 2 8]
	// [9 2 8]
	// shm: value "c": invalid argument: length -1
	// true
}

func ExampleRawArray_slices() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	a := must(shm.NewRawArray[int32](seg, "a", 10))
	for i := range a.Len() {
		a.Set(i, int32(i))
	}
	s := a.Slice()
	fmt.Println(s[2:5], s[min(5, len(s)):min(100, len(s))], s[len(s)-1])
	for i := 0; i < len(s); i += 3 {
		fmt.Print(s[i], " ")
	}
	fmt.Println(slices.Contains(s, 3))

	// The array type has the length: another one does not compile.
	*(*[4]int32)(s[4:8]) = [4]int32{1, 2, 3, 4}
	fmt.Println(s)

	defer func() { fmt.Println(recover()) }()
	a.Get(10)
	// Output:
	// [2 3 4] [5 6 7 8 9] 9
	// 0 3 6 9 true
	// [0 1 2 3 1 2 3 4 8 9]
	// runtime error: index out of range [10] with length 10
}

func ExampleCharArray_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	c := must(shm.NewCharArray(seg, "c", 8))
	fmt.Println(c.SetValue("abcdef"), c.SetValue("xy"))
	fmt.Printf("%q %q\n", c.Value(), c.Raw())
	fmt.Println(c.SetValue("123456789"))
	fmt.Println(c.SetRaw([]byte("12")), c.Len(), string(c.Bytes()[3:6]))
	fmt.Printf("%q\n", c.Raw())

	x := must(shm.NewRawValue(seg, "x", byte('x')))
	x.Set(x.Get() - 'a' + 'A')
	fmt.Printf("%c\n", x.Get())
	// Output:
	// <nil> <nil>
	// "xy" "xy\x00def\x00\x00"
	// shm: value too long: 9 bytes, the C string holds 8
	// <nil> 8 def
	// "12\x00def\x00\x00"
	// X
}

func ExampleRawArray_runes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	w := must(shm.NewRawArray[rune](seg, "w", 4))
	copy(w.Slice(), []rune("héŁ"))
	fmt.Printf("%q\n", string(w.Slice()))

	s := must(shm.NewString(seg, "s", 16)) // rather: UTF-8, which C and Python read as well
	fmt.Println(s.Store("héŁ"), s.Load())
	// Output:
	// "héŁ\x00"
	// <nil> héŁ
}

func ExampleRawStruct_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type Point struct{ X, Y float64 }
	p := must(shm.NewRawStruct(seg, "p", Point{X: 1})) // the rest is zero
	p.Ptr().Y += 2
	points := must(shm.NewRawStruct(seg, "points", [2]Point{{1, 2}, {X: 3}}))
	matrix := must(shm.NewRawStruct(seg, "matrix", [2][3]int32{}))
	matrix.Ptr()[1][2] = 5
	fmt.Println(p.Get(), points.Get(), matrix.Get())
	// Output: {1 2} [{1 2} {3 0}] [[0 0 0] [0 0 5]]
}

func ExampleRawStruct_copy() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type Point struct{ X, Y float64 }
	p := must(shm.NewRawStruct(seg, "p", Point{2, 5}))
	q := must(shm.NewRawStruct(seg, "q", p.Get()))
	p.Ptr().X = 0
	fmt.Println(p.Get(), q.Get())
	// Output: {0 5} {2 5}
}

func ExampleValue_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	v := must(shm.NewValue[int32](seg, "v", 3))
	v.Store(4)
	v.Add(1)                                         // with v.get_lock(): v.value += 1
	v.Update(func(x int32) int32 { return x*x - 1 }) // with v: v.value = v.value ** 2 - 1
	fmt.Println(v.Load(), v.Raw().Get())

	mu := v.Mutex()
	mu.Lock()
	v.Raw().Set(v.Raw().Get() + 1) // while holding it, the raw form
	mu.Unlock()
	fmt.Println(v.Load())
	// Output:
	// 24 24
	// 25
}

func ExampleMutex_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	v := must(shm.NewValue[int32](seg, "v", 0))
	mu := v.Mutex()
	fmt.Println(mu.TryLock(), mu.TryLock())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	fmt.Println(mu.LockContext(ctx))
	mu.Unlock()

	defer func() { fmt.Println(recover()) }()
	mu.Unlock()
	// Output:
	// true false
	// shm: locking "v": context deadline exceeded
	// shm: unlock of "v", which is not locked (word 0x0)
}

func ExampleSynchronized_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	lock := must(shm.NewMutex(seg, "lock"))
	a := shm.Synchronized(must(shm.NewRawValue[int32](seg, "a", 1)), lock)
	b := shm.Synchronized(must(shm.NewRawValue(seg, "b", 0.5)), lock)
	a.Add(1)
	fmt.Println(a.Load(), b.Load(), a.Mutex() == b.Mutex())
	// Output: 2 0.5 true
}

func ExampleArray_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	a := must(shm.NewArray[int32](seg, "a", 10))
	a.Store(3, 7)
	a.Add(3, 1)
	a.WithLock(func(s []int32) {
		copy(s[4:8], []int32{1, 2, 3, 4})
	})
	fmt.Println(a.Len(), a.Load(3), a.Load(a.Len()-1))
	for i, x := range a.Raw().All() {
		if x != 0 {
			fmt.Print(i, ": ", x, " ")
		}
	}
	// Output:
	// 10 8 0
	// 3: 8 4: 1 5: 2 6: 3 7: 4
}

func ExampleString_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	s := must(shm.NewString(seg, "s", 11))
	fmt.Println(s.Store("hello world"))
	fmt.Println(s.Store("hello, world"))
	fmt.Println(s.Load(), s.Cap())
	// Output:
	// <nil>
	// shm: value too long: 12 bytes, "s" holds 11
	// hello world 11
}

func ExampleStruct_sharedctypes() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	type Point struct{ X, Y float64 }
	p := must(shm.NewStruct(seg, "p", Point{X: 1}))
	p.Update(func(p *Point) { p.X, p.Y = 5, 6 }) // both, or neither
	fmt.Println(p.Load().X, p.Load())

	ok := must(shm.NewStruct(seg, "ok", true)) // a bool; or an Atomic of 0 and 1
	flag := must(shm.NewAtomic[uint32](seg, "flag", 1))
	fmt.Println(ok.Load(), flag.Swap(0) == 1)
	// Output:
	// 5 {5 6}
	// true true
}

func ExampleInherited_sharedctypes() {
	name := exampleName("inherited")
	defer shm.Remove(name)
	parent := must(shm.Open(name, nil))
	defer parent.Close()
	must(shm.NewValue[int32](parent, "v", 5))

	anybody := must(shm.Open(name, nil)) // a process that is no child, and knows the name
	defer anybody.Close()
	v := must(shm.NewValue[int32](anybody, "v", 0))
	e, _ := anybody.Lookup("v")
	fmt.Println(v.Load(), e.Name, e.Layout.Format, e.Access, e.Text())
	// Output: 5 v <i locked 5
}

func ExampleTypeError_pointers() {
	type node struct {
		Value int64
		Next  *node
	}
	_, err := shm.LayoutOf[node]()
	fmt.Println(err)

	type entry struct {
		Value int64
		Next  int32 // an index into the array, which means the same everywhere
	}
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	list := must(shm.NewRawStruct(seg, "list", [8]entry{0: {10, 5}, 5: {20, -1}}))
	for i := int32(0); i >= 0; i = list.Ptr()[i].Next {
		fmt.Println(list.Ptr()[i].Value)
	}
	// Output:
	// shm: shm_test.node.Next: *shm_test.node points into the memory of one process; use the value itself, or its index in an array
	// 10
	// 20
}

func ExampleMutex_Abandoned() {
	seg := must(shm.Anonymous(nil))
	defer seg.Close()
	a := must(shm.NewArray[int32](seg, "a", 3))
	p := must(shm.NewStruct(seg, "p", [3]int32{}))
	fails := func(change func()) {
		defer func() { _ = recover() }()
		change()
	}
	fails(func() {
		a.WithLock(func(s []int32) { s[0], s[1] = 1, 2; panic("no third") })
	})
	fails(func() {
		p.Update(func(s *[3]int32) { s[0], s[1] = 1, 2; panic("no third") })
	})
	a.Mutex().Lock()
	fmt.Println(a.Raw().Slice(), a.Mutex().Abandoned()) // part of it, and you are told
	a.Mutex().Unlock()
	fmt.Println(p.Load()) // nothing
	// Output:
	// [1 2 0] true
	// [0 0 0]
}
