//go:build linux

package shm_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// A Mutex is a sync.Locker.
var _ sync.Locker = (*shm.Mutex)(nil)

// cellBytes returns a copy of a lock's cell.
func cellBytes(c *format.LockCell) string { return string(mem.BytesOf(c)) }

// Misuse is a panic that names the value, and writes nothing.
func TestMisuse(t *testing.T) {
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, "n")
	readOnly := shmtest.Must(shm.NewValue[int64](open(t, s.Name(), &shm.Options{ReadOnly: true}), "n", 0))(t).Mutex()
	holder := agent.Start(t, s.Name())
	lock, unlock := func() { holder.Do("lock", "locked") }, func() { holder.Do("unlock", "unlocked") }
	held := fmt.Sprint("process ", holder.Pid())
	for _, c := range []struct {
		what   string
		before func()
		do     func()
		want   string
		after  func()
	}{
		{"unlock of a free lock", nil, mu.Unlock, "not locked", nil},
		{"Abandoned of a free lock", nil, func() { mu.Abandoned() }, "not locked", nil},
		{"unlock of another process's lock", lock, mu.Unlock, held, unlock},
		{"Abandoned of another process's lock", lock, func() { mu.Abandoned() }, held, unlock},
		{"unlock of a reservation", func() { cell.Word.Store(format.KernelWaiters) }, mu.Unlock, "not locked", func() { cell.Word.Store(0) }},
		{"lock in a read-only attachment", nil, readOnly.Lock, shm.ErrReadOnly.Error(), nil},
		{"TryLock in a read-only attachment", nil, func() { readOnly.TryLock() }, shm.ErrReadOnly.Error(), nil},
		{"LockContext in a read-only attachment", nil, func() { _ = readOnly.LockContext(t.Context()) }, shm.ErrReadOnly.Error(), nil},
		{"unlock in a read-only attachment", mu.Lock, readOnly.Unlock, shm.ErrReadOnly.Error(), mu.Unlock},
		{"Abandoned in a read-only attachment", mu.Lock, func() { readOnly.Abandoned() }, shm.ErrReadOnly.Error(), mu.Unlock},
	} {
		if c.before != nil {
			c.before()
		}
		before := cellBytes(cell)
		got := fmt.Sprint(shmtest.Panic(c.do))
		if !strings.Contains(got, c.want) || !strings.Contains(got, `"n"`) {
			t.Errorf("%s: panic %q, want %q and the name", c.what, got, c.want)
		}
		if cellBytes(cell) != before {
			t.Errorf("%s has written", c.what)
		}
		if c.after != nil {
			c.after()
		}
	}
}

// After Close a lock that is held stays held and can be released. A Mutex cannot be
// locked any more, but the verbs of values go on.
func TestLockAndClose(t *testing.T) {
	s, v := agent.Locked(t)
	free := shmtest.Must(shm.NewMutex(s, "free"))(t)
	held, freeCell := agent.Cell(t, s, "n"), agent.Cell(t, s, "free")
	other := agent.Start(t, s.Name())
	v.Mutex().Lock()
	queued := make(chan bool)
	go func() { v.Add(1); queued <- true }()
	shmtest.Eventually(t, "a goroutine waits", func() bool { return held.Word.Load()&format.LocalWaiters != 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other.Do("trylock", "false")
	other.Do("lockFor 20", "gave up")
	for what, lock := range map[string]func(){
		"Lock": free.Lock, "TryLock": func() { free.TryLock() },
		"LockContext":            func() { _ = free.LockContext(t.Context()) },
		"TryLock of a held lock": func() { v.Mutex().TryLock() },
	} {
		before := cellBytes(freeCell)
		got := fmt.Sprint(shmtest.Panic(lock))
		if !strings.Contains(got, shm.ErrClosed.Error()) || !strings.Contains(got, `"free"`) && !strings.Contains(got, `"n"`) {
			t.Errorf("%s after Close: panic %q", what, got)
		}
		if cellBytes(freeCell) != before {
			t.Errorf("%s after Close has written", what)
		}
	}
	v.Mutex().Unlock()
	<-queued
	other.Do("lock", "locked")
	other.Do("abandoned", "false")
	other.Do("unlock", "unlocked")
	if v.Add(1) != 2 || shmtest.Panic(v.Mutex().Unlock) == nil {
		t.Error("the verbs do not go on after Close")
	}
}

// Another goroutine may unlock.
func TestUnlockByAnotherGoroutine(t *testing.T) {
	_, v := agent.Locked(t)
	for range 1000 {
		v.Mutex().Lock()
		done := make(chan struct{})
		go func() { v.Mutex().Unlock(); close(done) }()
		v.Add(1)
		<-done
	}
}

// All attachments of a process have one Mutex for one place, so a queue of
// goroutines is never split in two.
func TestOneMutexForOnePlace(t *testing.T) {
	s, v := agent.Locked(t)
	if again := shmtest.Must(shm.NewValue[int64](open(t, s.Name(), nil), "n", 0))(t); again.Mutex() != v.Mutex() {
		t.Error("two attachments have two locks for one place")
	}
	all := shm.Synchronized(shmtest.Must(shm.NewRawValue[int32](open(t, s.Name(), nil), "other", 0))(t), v.Mutex())
	if all.Mutex() != v.Mutex() {
		t.Error("Synchronized returned a value with another lock")
	}
	v.Mutex().Lock()
	if all.Mutex().TryLock() {
		t.Error("locked twice")
	}
	v.Mutex().Unlock()
}

// No id is given out twice, not even at the end of the counter.
func TestIDsEnd(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	header := agent.Header(t, s)
	header.NextID.Store(format.MaxID)
	mu := shmtest.Must(shm.NewMutex(s, "first"))(t) // takes the last id
	mu.Lock()
	if lock, _ := lookup(t, s, "first").Lock(); lock.ID != format.MaxID {
		t.Fatalf("id %d, want %d", lock.ID, format.MaxID)
	}
	mu.Unlock()
	p := shmtest.Start(t, lateComer, s.Name())
	if got := p.Line(); !strings.Contains(got, "segment is full") || !strings.Contains(got, "ids") {
		t.Errorf("after the last id: %s", got)
	}
	p.Expect("7") // the raw types work
	if n, ok := header.NextID.Load(); !ok || n != format.MaxID+1 {
		t.Errorf("the counter is at %d, %v", n, ok)
	}
}

// lateComer prints why it gets no lock, and a raw number.
var lateComer = shmtest.Helper("lateComer", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	_, err = shm.NewMutex(s, "late")
	fmt.Println(err)
	raw, err := shm.NewRawValue[int64](s, "raw", 7)
	if err != nil {
		return err
	}
	fmt.Println(raw.Get())
	return nil
})

// A function that releases the lock under which it runs changes nothing: the value could be
// another process's by then. The panic names the value and the verb, and the lock is free.
func TestUpdateWhoseFunctionUnlocks(t *testing.T) {
	type pair struct{ A, B int64 }
	s, n := agent.Locked(t)
	n.Store(7)
	p := shmtest.Must(shm.NewStruct(s, "p", pair{7, 7}))(t)
	entry, _ := s.Lookup("n")
	for _, c := range []struct {
		what, want string
		mu         *shm.Mutex
		do         func()
	}{
		{"Value.Update", `Update of "n"`, n.Mutex(), func() { n.Update(func(int64) int64 { n.Mutex().Unlock(); return 1 }) }},
		{"Value.UpdateContext", `UpdateContext of "n"`, n.Mutex(), func() {
			_, _ = n.UpdateContext(t.Context(), func(int64) (int64, error) { n.Mutex().Unlock(); return 1, nil })
		}},
		{"Struct.Update", `Update of "p"`, p.Mutex(), func() { p.Update(func(x *pair) { p.Mutex().Unlock(); x.A = 1 }) }},
		{"Struct.UpdateContext", `UpdateContext of "p"`, p.Mutex(), func() {
			_ = p.UpdateContext(t.Context(), func(x *pair) error { p.Mutex().Unlock(); x.A = 1; return nil })
		}},
		{"Value.Update that panics then", "mine", n.Mutex(), func() { n.Update(func(int64) int64 { n.Mutex().Unlock(); panic("mine") }) }},
		{"Struct.UpdateContext that panics then", "mine", p.Mutex(), func() {
			_ = p.UpdateContext(t.Context(), func(x *pair) error { p.Mutex().Unlock(); x.A = 1; panic("mine") })
		}},
		{"Entry.UpdateContext", `UpdateContext of "n"`, n.Mutex(), func() {
			_ = entry.UpdateContext(t.Context(), func(any) (string, error) { n.Mutex().Unlock(); return "1", nil })
		}},
	} {
		if got := fmt.Sprint(shmtest.Panic(c.do)); !strings.Contains(got, c.want) {
			t.Errorf("%s: panic %q, want %q", c.what, got, c.want)
		}
		if n.Load() != 7 || p.Load() != (pair{7, 7}) {
			t.Errorf("%s has written: %d, %v", c.what, n.Load(), p.Load())
		}
		if !c.mu.TryLock() {
			t.Fatalf("%s: the lock is held", c.what)
		}
		c.mu.Unlock()
	}
}
