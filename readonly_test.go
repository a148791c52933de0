//go:build linux

package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"testing"
)

func TestReadOnlyAttachment(t *testing.T) {
	name := testName(t)
	rw := open(t, name, nil)
	must(NewRawValue(rw, "raw", int64(3)))(t)
	must(NewAtomic(rw, "atomic", uint64(3)))(t)
	must(NewValue(rw, "locked", float32(3)))(t)
	must(NewMutex(rw, "mutex"))(t)
	ro := open(t, name, &Options{ReadOnly: true})
	raw := must(NewRawValue(ro, "raw", int64(0)))(t)
	counter := must(NewAtomic(ro, "atomic", uint64(0)))(t)
	locked := must(NewValue(ro, "locked", float32(0)))(t)
	mu := must(NewMutex(ro, "mutex"))(t)
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
		err := panicOf(change)
		if e, ok := err.(error); !ok || !errors.Is(e, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if counter.Load() != 3 || locked.Load() != 3 {
		t.Error("something was changed")
	}
	// In this process both attachments show the same memory.
	must(NewRawValue(rw, "raw", int64(0)))(t).Set(4)
	if raw.Get() != 4 {
		t.Error("a change is not seen")
	}
}

// panicOf returns what f panics with.
func panicOf(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// scribbler writes to a read-only attachment, which the hardware refuses.
var scribbler = helper("scribbler", func(args []string) error {
	s, err := Open(args[0], &Options{ReadOnly: true})
	if err != nil {
		return err
	}
	v, err := NewRawValue(s, "n", int64(0))
	if err != nil {
		return err
	}
	debug.SetPanicOnFault(true)
	fault := panicOf(func() { v.Set(1) })
	if _, ok := fault.(interface{ Addr() uintptr }); !ok {
		return fmt.Errorf("Set ended with %v", fault)
	}
	fmt.Println(v.Get())
	return nil
})

func TestRawSetOfAReadOnlyAttachmentIsAFault(t *testing.T) {
	name := testName(t)
	must(NewRawValue(open(t, name, nil), "n", int64(7)))(t)
	p := start(t, scribbler, name)
	p.expect("7")
	p.wait()
}

func TestMissingValueOfAReadOnlySegment(t *testing.T) {
	name := testName(t)
	nameValues(t, open(t, name, nil), 0, 1)
	ro := open(t, name, &Options{ReadOnly: true})
	if _, err := NewRawValue(ro, "missing", int64(0)); !errors.Is(err, ErrReadOnly) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := NewMutex(ro, "missing"); !errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
}
