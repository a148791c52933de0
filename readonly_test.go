//go:build linux

package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

func TestReadOnlyAttachment(t *testing.T) {
	name := shmtest.Name(t)
	rw := open(t, name, nil)
	shmtest.Must(shm.NewRawValue(rw, "raw", int64(3)))(t)
	shmtest.Must(shm.NewAtomic(rw, "atomic", uint64(3)))(t)
	shmtest.Must(shm.NewValue(rw, "locked", float32(3)))(t)
	shmtest.Must(shm.NewMutex(rw, "mutex"))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	raw := shmtest.Must(shm.NewRawValue(ro, "raw", int64(0)))(t)
	counter := shmtest.Must(shm.NewAtomic(ro, "atomic", uint64(0)))(t)
	locked := shmtest.Must(shm.NewValue(ro, "locked", float32(0)))(t)
	mu := shmtest.Must(shm.NewMutex(ro, "mutex"))(t)
	if raw.Get() != 3 || counter.Load() != 3 || locked.Load() != 3 {
		t.Fatal("loads do not work")
	}
	for what, change := range map[string]func(){
		"Atomic.Store": func() { counter.Store(1) }, "Atomic.Swap": func() { counter.Swap(1) }, "Atomic.Add": func() { counter.Add(1) },
		"Atomic.And": func() { counter.And(1) }, "Atomic.Or": func() { counter.Or(1) }, "Atomic.CompareAndSwap": func() { counter.CompareAndSwap(3, 1) },
		"Value.Store": func() { locked.Store(1) }, "Value.Add": func() { locked.Add(1) }, "Value.Swap": func() { locked.Swap(1) },
		"Value.CompareAndSwap": func() { locked.CompareAndSwap(3, 1) }, "Value.Update": func() { locked.Update(func(x float32) float32 { return 1 }) },
		"Mutex.Lock": mu.Lock, "Mutex.TryLock": func() { mu.TryLock() }, "Mutex.Unlock": mu.Unlock, "Mutex.LockContext": func() { _ = mu.LockContext(t.Context()) },
	} {
		err := shmtest.Panic(change)
		if e, ok := err.(error); !ok || !errors.Is(e, shm.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if counter.Load() != 3 || locked.Load() != 3 {
		t.Error("something was changed")
	}
	// Both attachments of this process show the same memory.
	shmtest.Must(shm.NewRawValue(rw, "raw", int64(0)))(t).Set(4)
	if raw.Get() != 4 {
		t.Error("a change is not seen")
	}
}

// scribbler writes to a read-only attachment, which is a fault.
var scribbler = shmtest.Helper("scribbler", func(args []string) error {
	s, err := shm.Open(args[0], &shm.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	v, err := shm.NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	debug.SetPanicOnFault(true)
	fault := shmtest.Panic(func() { v.Set(1) })
	if _, ok := fault.(interface{ Addr() uintptr }); !ok {
		return fmt.Errorf("Set ended with %v", fault)
	}
	fmt.Println(v.Get())
	return nil
})

func TestRawSetOfAReadOnlyAttachmentIsAFault(t *testing.T) {
	name := shmtest.Name(t)
	shmtest.Must(shm.NewRawValue(open(t, name, nil), "n", int64(7)))(t)
	p := shmtest.Start(t, scribbler, name)
	p.Expect("7")
	p.Wait()
}

func TestMissingValueOfAReadOnlySegment(t *testing.T) {
	name := shmtest.Name(t)
	nameValues(t, open(t, name, nil), 0, 1)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	if _, err := shm.NewRawValue(ro, "missing", int64(0)); !errors.Is(err, shm.ErrReadOnly) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := shm.NewMutex(ro, "missing"); !errors.Is(err, shm.ErrReadOnly) {
		t.Fatal(err)
	}
}
