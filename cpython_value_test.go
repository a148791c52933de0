//go:build linux

package shm

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// What CPython's own tests want of sharedctypes and its heap, in Go; which case
// of theirs is which test, docs/sharedctypes-tests.md says.

// number is a Value, or a RawValue.
func number[T Word](s *Segment, raw bool, name string, init T) (load func() T, store func(T), err error) {
	if raw {
		v, err := NewRawValue(s, name, init)
		return v.Get, v.Set, err
	}
	v, err := NewValue(s, name, init)
	return v.Load, v.Store, err
}

// numbers is what of an Array, or a RawArray, is used with its lock held.
func numbers[T Word](s *Segment, raw bool, name string, n int) (use func(func([]T)), err error) {
	if raw {
		a, err := NewRawArray[T](s, name, n)
		return func(f func([]T)) { f(a.Slice()) }, err
	}
	a, err := NewArray[T](s, name, n)
	return a.WithLock, err
}

// coded is a number of one typecode, which is one thing first and another then.
type coded struct {
	isFirst, isThen func() bool
	change          func()
}

func codedAs[T Word](s *Segment, raw bool, code string, first, then T) (coded, error) {
	load, store, err := number(s, raw, code, first)
	return coded{func() bool { return load() == first }, func() bool { return load() == then }, func() { store(then) }}, err
}

func codes(s *Segment, raw bool) ([]coded, error) {
	i, err1 := codedAs[int32](s, raw, "i", 4343, 24234)
	d, err2 := codedAs(s, raw, "d", 3.625, -4.25)
	h, err3 := codedAs[int16](s, raw, "h", -232, 234)
	q, err4 := codedAs[int64](s, raw, "q", 1<<33, 1<<34)
	c, err5 := codedAs[byte](s, raw, "c", 'x', 'y')
	return []coded{i, d, h, q, c}, errors.Join(err1, err2, err3, err4, err5)
}

// child is the other process of the cases.
var child = helper("child", func(args []string) error {
	s, err := Open(args[2], nil)
	if err != nil {
		return err
	}
	raw := args[1] == "raw"
	switch args[0] {
	case "double":
		k, err := bindKinds(s, raw)
		if err != nil {
			return err
		}
		return k.double()
	case "change":
		all, err := codes(s, raw)
		for _, c := range all {
			c.change()
		}
		return err
	case "sum":
		use, err := numbers[int32](s, raw, "list", 0)
		if err != nil {
			return err
		}
		use(sums)
		return nil
	}
	return errors.New("what is " + args[0])
})

// sums makes each number the sum of all up to it.
func sums(list []int32) {
	for i := 1; i < len(list); i++ {
		list[i] += list[i-1]
	}
}

// runChild runs a child to its end.
func runChild(t *testing.T, what string, raw bool, segment string) {
	t.Helper()
	kind := "locked"
	if raw {
		kind = "raw"
	}
	start(t, child, what, kind, segment).wait()
}

func childChangesNumbers(t *testing.T, raw bool) {
	name := testName(t)
	all := must(codes(open(t, name, nil), raw))(t)
	for i, c := range all {
		if !c.isFirst() {
			t.Errorf("number %d does not start as it was made", i)
		}
	}
	runChild(t, "change", raw, name)
	for i, c := range all {
		if !c.isThen() {
			t.Errorf("number %d is not what the child has stored", i)
		}
	}
}

func TestChildChangesValues(t *testing.T)    { t.Parallel(); childChangesNumbers(t, false) }
func TestChildChangesRawValues(t *testing.T) { t.Parallel(); childChangesNumbers(t, true) }

func childSumsArray(t *testing.T, raw bool) {
	name := testName(t)
	want := []int32{680, 626, 934, 821, 150, 233, 548, 982, 714, 831}
	use := must(numbers[int32](open(t, name, nil), raw, "list", len(want)))(t)
	use(func(list []int32) { copy(list, want) })
	four := []int32{1, 2, 3, 4}
	use(func(list []int32) {
		if len(list) != len(want) || list[3] != want[3] || !slices.Equal(list[2:7], want[2:7]) {
			t.Errorf("%v", list)
		}
		copy(list[4:8], four)
	})
	copy(want[4:8], four)
	use(func(list []int32) {
		if !slices.Equal(list, want) {
			t.Errorf("%v, want %v", list, want)
		}
	})
	runChild(t, "sum", raw, name)
	sums(want)
	use(func(list []int32) {
		if !slices.Equal(list, want) {
			t.Errorf("%v after the child, want %v", list, want)
		}
	})
}

func TestChildSumsArray(t *testing.T)    { t.Parallel(); childSumsArray(t, false) }
func TestChildSumsRawArray(t *testing.T) { t.Parallel(); childSumsArray(t, true) }

// TestArraysStartFromZero makes arrays in memory that others have used before,
// as far as there is such: a segment gives none of its own back.
func TestArraysStartFromZero(t *testing.T) {
	for range 3 {
		s := must(Anonymous(nil))(t)
		for round := range 3 {
			a := must(NewArray[int32](s, fmt.Sprint(round), 10))(t)
			a.WithLock(func(list []int32) {
				if !slices.Equal(list, make([]int32, 10)) {
					t.Errorf("%v", list)
				}
				for i := range list {
					list[i] = int32(i)
				}
			})
			for i := range a.Len() {
				if a.Load(i) != int32(i) {
					t.Errorf("element %d is %d", i, a.Load(i))
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
	}
}

// hasLock reports whether a handle has what a locked one has.
func hasLock(handle any) bool {
	_, mutex := handle.(interface{ Mutex() *Mutex })
	return mutex
}

func TestLockAndNumberOfAValue(t *testing.T) {
	s := open(t, testName(t), nil)
	one, two := must(NewValue(s, "one", int32(5)))(t), must(NewValue(s, "two", int32(5)))(t)
	if one.Mutex() == nil || two.Mutex() == nil || one.Mutex() == two.Mutex() {
		t.Error("each has a lock of its own")
	}
	if one.Raw().Set(6); one.Load() != 6 || two.Raw().Get() != 5 {
		t.Errorf("%d, %d", one.Load(), two.Raw().Get())
	}
	lock, raw := must(NewMutex(s, "lock"))(t), must(NewRawValue(s, "raw", int32(5)))(t)
	three := Synchronized(raw, lock)
	if three.Mutex() != lock || three.Raw() != raw || !hasLock(three) || hasLock(raw) {
		t.Error("the lock is not the one that was given")
	}
	lock.Lock()
	if three.Mutex().TryLock() {
		t.Error("the lock is free")
	}
	if lock.Unlock(); three.Add(1) != 6 || raw.Get() != 6 {
		t.Error(raw.Get())
	}
	if panicOf(func() { Synchronized(raw, nil) }) == nil {
		t.Error("nil is a lock")
	}
}

func TestLockAndNumbersOfAnArray(t *testing.T) {
	s := open(t, testName(t), nil)
	one, two := must(NewArray[int32](s, "one", 10))(t), must(NewArray[int32](s, "two", 10))(t)
	if one.Mutex() == nil || two.Mutex() == nil || one.Mutex() == two.Mutex() {
		t.Error("each has a lock of its own")
	}
	if one.Raw().Set(9, 6); one.Load(9) != 6 || one.Raw().Len() != 10 || two.Load(9) != 0 {
		t.Errorf("%v, %v", one.Raw().Slice(), two.Raw().Slice())
	}
	one.WithLock(func([]int32) {
		if one.Mutex().TryLock() {
			t.Error("WithLock takes another lock")
		}
	})
	if raw := must(NewRawArray[int32](s, "raw", 10))(t); hasLock(raw) || !hasLock(one) {
		t.Error("a RawArray has a lock")
	}
}
