//go:build linux

package shm_test

import (
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

func TestValueOfEachType(t *testing.T) {
	t.Run("int8", valueOfNumbers[int8](-128, 127, 1))
	t.Run("uint8", valueOfNumbers[uint8](0, 255, 1))
	t.Run("int16", valueOfNumbers[int16](-1<<15, 1<<15-1, 1))
	t.Run("uint32", valueOfNumbers[uint32](0, math.MaxUint32, 1))
	t.Run("int64", valueOfNumbers[int64](math.MinInt64, math.MaxInt64, 1))
	t.Run("float32", valueOfNumbers[float32](-0.5, 1e30, 1))
	t.Run("float64", valueOfNumbers[float64](-0.5, math.Inf(1), 1))
	t.Run("complex64", valueOfNumbers[complex64](1+2i, -1, 1i))
	t.Run("Duration", valueOfNumbers(-time.Second, time.Hour, 1))
}

func valueOfNumbers[T shm.Word](low, high, one T) func(*testing.T) {
	return func(t *testing.T) {
		name := shmtest.Name(t)
		s := open(t, name, nil)
		v := shmtest.Must(shm.NewValue(s, "v", low))(t)
		next := shmtest.Must(shm.NewRawValue(s, "next", ^uint64(0)))(t)
		ro := shmtest.Must(shm.NewValue(open(t, name, &shm.Options{ReadOnly: true}), "v", high))(t)
		check := func(what string, got, want, now T) {
			t.Helper()
			if got != want || v.Load() != now || ro.Load() != now || v.Raw().Get() != now {
				t.Errorf("%s returned %v, want %v; the number is %v and %v, want %v", what, got, want, v.Load(), ro.Load(), now)
			}
		}
		check("init", low, low, low)
		v.Store(high)
		check("Store", high, high, high)
		check("Swap", v.Swap(low), high, low)
		check("Add", v.Add(one), low+one, low+one)
		v.Store(high)
		check("Add to the largest", v.Add(one), high+one, high+one)
		check("Update", v.Update(func(x T) T { return x - one - one }), high+one-one-one, high+one-one-one)
		v.Store(low)
		if v.CompareAndSwap(high, one) || v.Load() != low || !v.CompareAndSwap(low, high) {
			t.Error("CompareAndSwap compares with another number")
		}
		check("CompareAndSwap", high, high, high)
		if next.Get() != ^uint64(0) {
			t.Errorf("the next value is %#x", next.Get())
		}
	}
}

func TestCompareAndSwapComparesBits(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewValue(s, "v", math.NaN()))(t)
	if !v.CompareAndSwap(math.NaN(), 0) {
		t.Error("a NaN does not equal itself")
	}
	if v.CompareAndSwap(math.Copysign(0, -1), 1) || v.Load() != 0 {
		t.Error("0 equals -0")
	}
	other := shmtest.Must(shm.NewValue(s, "other", math.Float64frombits(0x7ff8000000000002)))(t)
	if other.CompareAndSwap(math.NaN(), 1) {
		t.Error("a NaN equals another one")
	}
}

func TestValueAddsUpBetweenProcesses(t *testing.T) {
	const procs, each = 4, 100_000
	s, v := agent.Locked(t)
	var all []*shmtest.Process
	for range procs {
		all = append(all, agent.Start(t, s.Name()))
	}
	for _, p := range all {
		p.Say(fmt.Sprint("add ", each))
	}
	for _, p := range all {
		p.Expect("added")
	}
	if got := v.Load(); got != procs*each {
		t.Fatalf("%d additions counted %d", procs*each, got)
	}
}

func TestValueAddsUpBetweenGoroutines(t *testing.T) {
	const goroutines, each = 64, 20_000
	s := open(t, shmtest.Name(t), nil)
	v := shmtest.Must(shm.NewValue[int32](s, "n", 0))(t)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				v.Add(1)
			}
		})
	}
	wg.Wait()
	if got := v.Load(); got != goroutines*each {
		t.Fatalf("%d additions counted %d", goroutines*each, got)
	}
}

// An Update whose function does not return normally changes nothing, and releases
// the lock.
func TestUpdateThatDoesNotFinish(t *testing.T) {
	_, v := agent.Locked(t)
	v.Store(7)
	shmtest.Panic(func() { v.Update(func(int64) int64 { panic("no") }) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.Update(func(int64) int64 { runtime.Goexit(); return 8 })
	}()
	<-done
	if !v.Mutex().TryLock() {
		t.Fatal("the lock is not free")
	}
	if v.Mutex().Abandoned() {
		t.Error("the lock is abandoned, though nothing was changed")
	}
	v.Mutex().Unlock()
	if got := v.Load(); got != 7 {
		t.Errorf("the number is %d", got)
	}
}

// Memory that another program laid out may not be aligned to the size of a number.
// Then one store cannot write the number, and Synchronized refuses it.
func TestSynchronizedForeignMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign")
	shmtest.WriteFile(t, path, make([]byte, 64))
	foreign := open(t, path, &shm.Options{Foreign: true})
	mu := shmtest.Must(shm.NewMutex(open(t, shmtest.Name(t), nil), "lock"))(t)
	v := shm.Synchronized(shmtest.Must(shm.RawValueAt[complex64](foreign, 8))(t), mu)
	if sum := v.Add(2 - 1i); sum != 2-1i || v.Load() != sum || v.Raw().Get() != sum || v.Mutex() != mu {
		t.Errorf("the sum is %v, and the number %v", sum, v.Load())
	}
	odd := shmtest.Must(shm.RawValueAt[complex64](foreign, 4))(t)
	if got := fmt.Sprint(shmtest.Panic(func() { shm.Synchronized(odd, mu) })); !strings.Contains(got, "complex64 of 8 bytes is not aligned") {
		t.Errorf("a number that is not aligned: panic %q", got)
	}
	if got := fmt.Sprint(shmtest.Panic(func() { shm.Synchronized(odd, nil) })); !strings.Contains(got, "nil Mutex") {
		t.Errorf("no lock: panic %q", got)
	}
}
