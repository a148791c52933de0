package interop_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// These tests do in Go what CPython's own tests do with sharedctypes and its heap.
// docs/sharedctypes-tests.md says which case of CPython is which test.

// number makes a Value or a RawValue.
func number[T shm.Word](s *shm.Segment, raw bool, name string, init T) (load func() T, store func(T), err error) {
	if raw {
		v, err := shm.NewRawValue(s, name, init)
		return v.Get, v.Set, err
	}
	v, err := shm.NewValue(s, name, init)
	return v.Load, v.Store, err
}

// numbers makes an Array or a RawArray. The function use calls its argument with
// the elements, and holds the lock if there is one.
func numbers[T shm.Word](s *shm.Segment, raw bool, name string, n int) (use func(func([]T)), err error) {
	if raw {
		a, err := shm.NewRawArray[T](s, name, n)
		return func(f func([]T)) { f(a.Slice()) }, err
	}
	a, err := shm.NewArray[T](s, name, n)
	return a.WithLock, err
}

// coded is a number of one typecode. It has one value first, and another one after
// change.
type coded struct {
	isFirst, isThen func() bool
	change          func()
}

func codedAs[T shm.Word](s *shm.Segment, raw bool, code string, first, then T) (coded, error) {
	load, store, err := number(s, raw, code, first)
	return coded{func() bool { return load() == first }, func() bool { return load() == then }, func() { store(then) }}, err
}

func codes(s *shm.Segment, raw bool) ([]coded, error) {
	i, err1 := codedAs[int32](s, raw, "i", 4343, 24234)
	d, err2 := codedAs(s, raw, "d", 3.625, -4.25)
	h, err3 := codedAs[int16](s, raw, "h", -232, 234)
	q, err4 := codedAs[int64](s, raw, "q", 1<<33, 1<<34)
	c, err5 := codedAs[byte](s, raw, "c", 'x', 'y')
	return []coded{i, d, h, q, c}, errors.Join(err1, err2, err3, err4, err5)
}

// child is the other process of these tests. Its arguments are what to do, raw or
// locked, and the segment.
var child = shmtest.Helper("child", func(args []string) error {
	s, err := shm.Open(args[2], nil)
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

// sums sets each number to the sum of the numbers up to it.
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
	shmtest.Start(t, child, what, kind, segment).Wait()
}

func childChangesNumbers(t *testing.T, raw bool) {
	name := shmtest.Name(t)
	all := shmtest.Must(codes(shmtest.Opened(shm.Open(name, nil))(t), raw))(t)
	for i, c := range all {
		if !c.isFirst() {
			t.Errorf("number %d does not start with its first value", i)
		}
	}
	runChild(t, "change", raw, name)
	for i, c := range all {
		if !c.isThen() {
			t.Errorf("number %d is not what the child stored", i)
		}
	}
}

func TestChildChangesValues(t *testing.T)    { t.Parallel(); childChangesNumbers(t, false) }
func TestChildChangesRawValues(t *testing.T) { t.Parallel(); childChangesNumbers(t, true) }

func childSumsArray(t *testing.T, raw bool) {
	name := shmtest.Name(t)
	want := []int32{680, 626, 934, 821, 150, 233, 548, 982, 714, 831}
	use := shmtest.Must(numbers[int32](shmtest.Opened(shm.Open(name, nil))(t), raw, "list", len(want)))(t)
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

// TestArraysStartFromZero makes arrays after others have been written and given
// back. Within a segment no memory is ever given back.
func TestArraysStartFromZero(t *testing.T) {
	for range 3 {
		s := shmtest.Must(shm.Anonymous(nil))(t)
		for round := range 3 {
			a := shmtest.Must(shm.NewArray[int32](s, fmt.Sprint(round), 10))(t)
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

// hasLock reports whether a handle has a lock.
func hasLock(handle any) bool {
	_, mutex := handle.(interface{ Mutex() *shm.Mutex })
	return mutex
}

func TestLockAndNumberOfAValue(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
	one, two := shmtest.Must(shm.NewValue(s, "one", int32(5)))(t), shmtest.Must(shm.NewValue(s, "two", int32(5)))(t)
	if one.Mutex() == nil || two.Mutex() == nil || one.Mutex() == two.Mutex() {
		t.Error("the values do not have a lock of their own each")
	}
	if one.Raw().Set(6); one.Load() != 6 || two.Raw().Get() != 5 {
		t.Errorf("%d, %d", one.Load(), two.Raw().Get())
	}
	lock, raw := shmtest.Must(shm.NewMutex(s, "lock"))(t), shmtest.Must(shm.NewRawValue(s, "raw", int32(5)))(t)
	three := shm.Synchronized(raw, lock)
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
	if shmtest.Panic(func() { shm.Synchronized(raw, nil) }) == nil {
		t.Error("Synchronized accepts a nil lock")
	}
}

func TestLockAndNumbersOfAnArray(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), nil))(t)
	one, two := shmtest.Must(shm.NewArray[int32](s, "one", 10))(t), shmtest.Must(shm.NewArray[int32](s, "two", 10))(t)
	if one.Mutex() == nil || two.Mutex() == nil || one.Mutex() == two.Mutex() {
		t.Error("the values do not have a lock of their own each")
	}
	if one.Raw().Set(9, 6); one.Load(9) != 6 || one.Raw().Len() != 10 || two.Load(9) != 0 {
		t.Errorf("%v, %v", one.Raw().Slice(), two.Raw().Slice())
	}
	one.WithLock(func([]int32) {
		if one.Mutex().TryLock() {
			t.Error("WithLock takes another lock")
		}
	})
	if raw := shmtest.Must(shm.NewRawArray[int32](s, "raw", 10))(t); hasLock(raw) || !hasLock(one) {
		t.Error("a RawArray has a lock")
	}
}
