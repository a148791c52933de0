//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestArray(t *testing.T) {
	t.Run("int8", arrayOfNumbers[int8](-128, 127, 1))
	t.Run("uint16", arrayOfNumbers[uint16](0xffff, 0, 1))
	t.Run("float32", arrayOfNumbers[float32](-0.5, 1e30, 1))
	t.Run("int64", arrayOfNumbers[int64](-1<<63, 1<<63-1, 1))
	t.Run("complex64", arrayOfNumbers[complex64](1+2i, -1, 1i))
}

func arrayOfNumbers[T shm.Word](low, high, one T) func(*testing.T) {
	return func(t *testing.T) {
		name := shmtest.Name(t)
		s := open(t, name, nil)
		const n = 13
		a := shmtest.Must(shm.NewArray[T](s, "a", n))(t)
		after := shmtest.Must(shm.NewRawValue(s, "after", ^uint64(0)))(t)
		ro := shmtest.Must(shm.NewArray[T](open(t, name, &shm.Options{ReadOnly: true}), "a", 0))(t)
		if a.Len() != n || ro.Len() != n {
			t.Fatal(a.Len(), ro.Len())
		}
		for i := range n {
			a.Store(i, low)
			if i > 0 && (a.Load(i-1) != high || i < n-1 && a.Load(i+1) != 0) {
				t.Fatal("a store has touched its neighbours")
			}
			a.Store(i, high)
			if a.Load(i) != high || ro.Load(i) != high {
				t.Fatalf("element %d is %v", i, a.Load(i))
			}
			if sum := a.Add(i, one); sum != high+one || ro.Load(i) != sum {
				t.Fatalf("%v and %v is %v", high, one, sum)
			}
			a.Store(i, high)
		}
		a.WithLock(func(s []T) {
			if len(s) != n || s[0] != high {
				t.Fatalf("%v", s)
			}
			s[5] = low
		})
		if ro.Load(5) != low || a.Raw().Get(5) != low || a.Raw().Len() != n || after.Get() != ^uint64(0) {
			t.Error("a change under the lock is lost")
		}
		for _, i := range []int{-1, n} {
			for what, f := range map[string]func(){
				"Load": func() { a.Load(i) }, "Store": func() { a.Store(i, low) }, "Add": func() { a.Add(i, low) },
			} {
				if err, ok := shmtest.Panic(f).(runtime.Error); !ok {
					t.Errorf("%s(%d): %v", what, i, err)
				}
			}
		}
		if !a.Mutex().TryLock() {
			t.Fatal("a panic has left the lock held")
		}
		a.Mutex().Unlock()
		for what, f := range map[string]func(){
			"Store": func() { ro.Store(0, low) }, "Add": func() { ro.Add(0, low) }, "WithLock": func() { ro.WithLock(func([]T) {}) },
		} {
			if err, ok := shmtest.Panic(f).(error); !ok || !errors.Is(err, shm.ErrReadOnly) {
				t.Errorf("%s: %v", what, err)
			}
		}
		var mismatch *shm.LayoutError
		if _, err := shm.NewArray[T](s, "a", n+1); !errors.As(err, &mismatch) || mismatch.HaveLen != n || mismatch.WantLen != n+1 {
			t.Error(err)
		}
		if _, err := shm.NewArray[T](s, "b", 0); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestArrayAddsUp(t *testing.T) {
	a := shmtest.Must(shm.NewArray[int16](open(t, shmtest.Name(t), nil), "a", 4))(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 4000 {
				a.Add((i+g)%4, 1) // neighbours in one word
			}
		})
	}
	wg.Wait()
	for i := range 4 {
		if a.Load(i) != 4000 {
			t.Errorf("element %d is %d", i, a.Load(i))
		}
	}
}

func TestAllEndsWhenTold(t *testing.T) {
	a := shmtest.Must(shm.NewRawArray[int8](open(t, shmtest.Name(t), nil), "a", 10))(t)
	n := 0
	for range a.All() {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Fatal(n)
	}
}

func TestRawArrayIsOnePieceOfMemory(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	var all []shm.RawArray[uint16]
	for i := range 50 {
		all = append(all, shmtest.Must(shm.NewRawArray[uint16](s, fmt.Sprint(i), i+1))(t))
	}
	for i, a := range all {
		for j := range a.Slice() {
			a.Slice()[j] = uint16(i + 1)
		}
	}
	for i, a := range all {
		for j, x := range a.All() {
			if x != uint16(i+1) {
				t.Fatalf("array %d[%d] is %d: arrays overlap", i, j, x)
			}
		}
	}
}

// abandoner stops in the middle of a change, and is killed there.
var abandoner = shmtest.Helper("abandoner", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	a, err := shm.NewArray[int32](s, "a", 0)
	if err != nil {
		return err
	}
	a.WithLock(func(s []int32) {
		s[0]--
		fmt.Println("inside")
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Hour) // the signal may come a little later
	})
	return nil
})

// A holder that does not finish leaves what it has changed. Abandoned tells each
// later holder, until one that was told unlocks.
func TestHolderThatDoesNotFinish(t *testing.T) {
	name := shmtest.Name(t)
	a := shmtest.Must(shm.NewArray[int32](open(t, name, nil), "a", 3))(t)
	told := func() (yes bool) {
		a.Mutex().Lock()
		defer a.Mutex().Unlock()
		return a.Mutex().Abandoned()
	}
	for what, leave := range map[string]func(){
		"panic":  func() { a.WithLock(func(s []int32) { s[0]--; panic(1) }) },
		"Goexit": func() { a.WithLock(func(s []int32) { s[0]--; runtime.Goexit() }) },
		"kill -9": func() {
			p := shmtest.Start(t, abandoner, name)
			p.Expect("inside")
			if a.Load(0) != -1 { // a load waits for nobody
				t.Error("the change is not seen")
			}
			p.Kill()
		},
	} {
		if told() {
			t.Fatalf("before %s: abandoned", what)
		}
		var left sync.WaitGroup
		left.Go(func() {
			defer func() { _ = recover() }()
			leave()
		})
		left.Wait()
		a.Add(1, 1) // neither reports nor clears it
		if a.Load(0) != -1 {
			t.Errorf("%s: the change is gone", what)
		}
		// A holder that was told and fails leaves the mark to the next one.
		left.Go(func() {
			defer func() { _ = recover() }()
			a.WithLock(func(s []int32) {
				if !a.Mutex().Abandoned() {
					t.Errorf("%s: the next holder is not told", what)
				}
				panic(2)
			})
		})
		left.Wait()
		a.WithLock(func(s []int32) {
			if !a.Mutex().Abandoned() {
				t.Errorf("%s: the second holder is not told", what)
			}
			s[0] = 0 // repaired
		})
		if told() {
			t.Errorf("%s: a holder is told after the repair", what)
		}
	}
}
