//go:build linux

package robust

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm/internal/errs"
	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
)

// All handles of a process share one Lock for one place, so that a queue never
// splits in two.
func TestOneLockForOnePlace(t *testing.T) {
	s := memtest.New(t)
	p := newParty(t, s)
	cell, off := s.Cell(0)
	other, otherOff := s.Cell(1)
	const goroutines = 16
	var all [goroutines]*Lock
	var wg sync.WaitGroup
	made := 0 // guarded by the table
	for i := range all {
		wg.Go(func() {
			all[i] = p.locks.Get(&p.Party, cell, off, fmt.Sprint(i), cells.Token(off), func() *Lock {
				made++
				return &Lock{Outer: i}
			})
		})
	}
	wg.Wait()
	mu := all[0]
	if made != 1 {
		t.Errorf("%d locks were made for one place", made)
	}
	for _, other := range all {
		if other != mu {
			t.Fatal("two locks for one place")
		}
	}
	if mu.Name() != fmt.Sprint(mu.Outer) {
		t.Errorf("the lock that goroutine %v made is named %q", mu.Outer, mu.Name())
	}
	second := p.locks.Get(&p.Party, other, otherOff, "other", cells.Token(otherOff), func() *Lock { return new(Lock) })
	if mu.Lock(); second == mu || !second.TryLock() {
		t.Error("one lock for two places")
	}
	if w, o := cell.Word.Load(), other.Word.Load(); w != p.ID() || o != p.ID() {
		t.Errorf("the words are %#x and %#x, of id %d", w, o, p.ID())
	}
	mu.Unlock()
	second.Unlock()
	if again := newParty(t, s).lock(0); again == mu {
		t.Error("two tables have one lock")
	}
}

// An uncontended lock writes the owner's id into the word, and nothing else.
func TestUncontendedLockWritesTheWord(t *testing.T) {
	s, p, mu, cell := locked(t)
	cell.Probed.Store(5)
	cell.Starve.Store(7)
	cell.Takeovers.Store(9)
	before := s.CellBytes(0)
	for what, c := range map[string]struct {
		lock   func()
		unlock func()
	}{
		"Lock and Unlock":         {mu.Lock, mu.Unlock},
		"LockContext and Unlock":  {func() { _ = mu.LockContext(t.Context()) }, mu.Unlock},
		"TryLock and UnlockAfter": {func() { mu.TryLock() }, func() { mu.UnlockAfter(true) }},
		"Acquire and Release":     {mu.Acquire, mu.Release},
		"Acquire and UnlockAfter": {mu.Acquire, func() { mu.UnlockAfter(false) }},
		"LockSlow and Release":    {func() { _ = mu.LockSlow(t.Context()) }, mu.Release},
		"Acquire and Free": {mu.Acquire, func() {
			if left := mu.Free(); left != 0 {
				mu.Finish(left, true)
			}
		}},
	} {
		c.lock()
		held := s.CellBytes(0)
		if w := cell.Word.Load(); w != p.ID() || held[4:] != before[4:] {
			t.Errorf("%s: the word is %#x, of id %d; the cell was %q and is %q", what, w, p.ID(), before, held)
		}
		if mu.TryLock() {
			t.Errorf("%s: locked twice", what)
		}
		c.unlock()
		if after := s.CellBytes(0); after != before {
			t.Errorf("%s: the cell was %q and is %q", what, before, after)
		}
	}
}

// Goroutines of one party and of several exclude each other. The race detector
// checks that it is told so.
func TestLocksExclude(t *testing.T) {
	const parties, goroutines, each = 3, 4, 500
	s, _, _, _ := locked(t)
	cell, _ := s.Cell(1)
	sum := 0
	var wg sync.WaitGroup
	for range parties {
		mu := newParty(t, s).lock(0)
		for range goroutines {
			wg.Go(func() {
				for range each {
					mu.Lock()
					sum++
					cell.Extent.Store(cell.Extent.Load() + 1)
					mu.Unlock()
				}
			})
		}
	}
	shmtest.Within(t, "all have added", wg.Wait)
	if n := cell.Extent.Load(); sum != parties*goroutines*each || n != uint32(sum) {
		t.Errorf("%d additions counted %d and %d", parties*goroutines*each, sum, n)
	}
	if free, _ := s.Cell(0); free.Word.Load() != 0 {
		t.Errorf("at rest the word is %#x", free.Word.Load())
	}
}

// What a program must not do is a panic that names the value, and writes
// nothing.
func TestMisuse(t *testing.T) {
	s, _, mu, cell := locked(t)
	readOnly := newParty(t, memtest.Open(t, s.Path, true)).lock(0)
	holder := startAgent(t, s)
	for _, c := range []struct {
		what   string
		before func()
		do     func()
		want   string
		after  func()
	}{
		{"unlock of a free lock", nil, mu.Unlock, "not locked", nil},
		{"release of a free lock", nil, mu.Release, "not locked", nil},
		{"UnlockAfter of a free lock", nil, func() { mu.UnlockAfter(true) }, "not locked", nil},
		{"Abandoned of a free lock", nil, func() { mu.Abandoned() }, "not locked", nil},
		{"unlock of another process's lock", func() { holder.Do("lock", "locked") }, mu.Unlock,
			fmt.Sprint("process ", holder.Pid()), func() { holder.Do("unlock", "unlocked") }},
		{"Abandoned of another process's lock", func() { holder.Do("lock", "locked") }, func() { mu.Abandoned() },
			fmt.Sprint("process ", holder.Pid()), func() { holder.Do("unlock", "unlocked") }},
		{"unlock of a reservation", func() { cell.Word.Store(format.KernelWaiters) }, mu.Unlock, "not locked", func() { cell.Word.Store(0) }},
		{"lock in a read-only mapping", nil, readOnly.Lock, errs.ReadOnly.Error(), nil},
		{"Acquire in a read-only mapping", nil, readOnly.Acquire, errs.ReadOnly.Error(), nil},
		{"LockSlow in a read-only mapping", nil, func() { _ = readOnly.LockSlow(t.Context()) }, errs.ReadOnly.Error(), nil},
		{"TryLock in a read-only mapping", nil, func() { readOnly.TryLock() }, errs.ReadOnly.Error(), nil},
		{"LockContext in a read-only mapping", nil, func() { _ = readOnly.LockContext(t.Context()) }, errs.ReadOnly.Error(), nil},
		{"unlock in a read-only mapping", mu.Lock, readOnly.Unlock, errs.ReadOnly.Error(), mu.Unlock},
		{"Abandoned in a read-only mapping", mu.Lock, func() { readOnly.Abandoned() }, errs.ReadOnly.Error(), mu.Unlock},
	} {
		if c.before != nil {
			c.before()
		}
		before := s.CellBytes(0)
		got := fmt.Sprint(shmtest.Panic(c.do))
		if !strings.Contains(got, c.want) || !strings.Contains(got, `"n"`) {
			t.Errorf("%s: panic %q, want %q and the name", c.what, got, c.want)
		}
		if s.CellBytes(0) != before {
			t.Errorf("%s has written", c.what)
		}
		if c.after != nil {
			c.after()
		}
	}
}

// After Shut locks held stay held, and can be released. No more can be taken by
// Lock and its like, while Acquire goes on.
func TestShut(t *testing.T) {
	s, p, mu, _ := locked(t)
	free := p.lock(1)
	mu.Lock()
	queued := make(chan struct{})
	go func() { mu.Acquire(); close(queued) }()
	parked(t, mu, 1)
	p.Shut()
	for what, lock := range map[string]func(){
		"Lock": free.Lock, "TryLock": func() { free.TryLock() }, "LockContext": func() { _ = free.LockContext(t.Context()) },
		"Lock of what is held": mu.Lock, "TryLock of what is held": func() { mu.TryLock() },
	} {
		before := s.CellBytes(1)
		got := fmt.Sprint(shmtest.Panic(lock))
		if !strings.Contains(got, errs.Closed.Error()) || !strings.Contains(got, `"n"`) || !strings.Contains(got, s.Path) {
			t.Errorf("%s: panic %q", what, got)
		}
		if s.CellBytes(1) != before {
			t.Errorf("%s has written", what)
		}
	}
	mu.Unlock()
	shmtest.Within(t, "the lock of a verb that goes on", func() { <-queued })
	mu.Unlock()
	free.Acquire()
	free.Release()
	if err := free.LockSlow(t.Context()); err != nil {
		t.Error(err)
	}
	if !free.Abandoned() {
		free.Abandon()
	}
	free.Unlock()
	p.Reopen()
	free.Lock()
	if !free.Abandoned() {
		t.Error("the mark is gone")
	}
	free.Unlock()
	if !mu.TryLock() {
		t.Error("it cannot be locked again")
	}
	mu.Unlock()
}

// Shut ends each wait that it is to end, wherever that sleeps, and no other one.
func TestShutEndsWaits(t *testing.T) {
	for what, holder := range map[string]func(s *memtest.Segment, p *party) *Lock{
		"held here":      func(_ *memtest.Segment, p *party) *Lock { return p.lock(0) },
		"held elsewhere": func(s *memtest.Segment, _ *party) *Lock { return newParty(t, s).lock(0) },
	} {
		t.Run(what, func(t *testing.T) {
			s, p, mu, cell := locked(t)
			held := holder(s, p)
			held.Lock()
			const each = 5
			ended, goOn := make(chan error, 4*each), make(chan struct{}, each)
			for range each {
				go func() { ended <- mu.LockContext(context.Background()) }()
				go func() {
					err, _ := shmtest.Panic(mu.Lock).(error)
					ended <- err
				}()
				go func() {
					ended <- mu.Await(context.Background(), cell.Commit.Load, func() bool { return false })
				}()
				go func() { mu.Acquire(); goOn <- struct{}{} }()
			}
			parked(t, mu, 3*each)
			time.Sleep(10 * time.Millisecond) // One of them sleeps in the kernel.
			p.Shut()
			p.locks.EndWaits()
			p.Reopen() // They end all the same.
			for range 3 * each {
				shmtest.Within(t, "a wait ends", func() {
					if err := <-ended; !errors.Is(err, errs.Closed) || !strings.Contains(err.Error(), s.Path) || strings.Count(err.Error(), "shm: ") != 1 {
						t.Error(err)
					}
				})
			}
			if len(goOn) != 0 {
				t.Error("a lock that is held was taken")
			}
			held.Unlock()
			for range each {
				shmtest.Within(t, "the lock of a verb that goes on", func() { <-goOn })
				mu.Unlock()
			}
			if w := cell.Word.Load(); w&format.OwnerMask != 0 {
				t.Errorf("the word is %#x", w)
			}
			mu.Lock()
			//lint:ignore SA2001 that it can be taken is what is tested
			mu.Unlock()
			p.locks.EndWaits() // nobody
		})
	}
}

// One that waits and one that closes: whatever the moment, the wait ends at once.
func TestShutBesideAWait(t *testing.T) {
	_, p, mu, cell := locked(t)
	mu.Lock()
	for range shmtest.Rounds(300) {
		ended := make(chan error, 2)
		go func() { ended <- mu.Await(context.Background(), cell.Commit.Load, func() bool { return false }) }()
		go func() {
			defer func() {
				if err, ok := recover().(error); ok {
					ended <- err
				}
			}()
			ended <- mu.LockContext(context.Background())
		}()
		for range rand.IntN(3) {
			runtime.Gosched()
		}
		p.Shut()
		p.locks.EndWaits()
		for range 2 {
			shmtest.Within(t, "a wait ends", func() {
				if err := <-ended; !errors.Is(err, errs.Closed) {
					t.Error(err)
				}
			})
		}
		p.Reopen()
	}
}

// The mark stays for each holder until one has asked for it and finished.
func TestAbandoned(t *testing.T) {
	_, _, mu, cell := locked(t)
	mark := func(want bool, what string) {
		t.Helper()
		if got := cell.Abandoned.Load() != 0; got != want {
			t.Errorf("%s: the mark is set: %v", what, got)
		}
	}
	hold := func(f func()) {
		mu.Lock()
		f()
	}
	hold(func() { mu.Abandon() })
	mu.Unlock()
	mark(true, "after a holder that was told nothing")
	hold(func() {})
	mu.UnlockAfter(true)
	mark(true, "after one that did not ask")
	hold(func() {
		for range 2 {
			if !mu.Abandoned() {
				t.Error("the holder is not told")
			}
		}
		mark(true, "while the holder repairs")
	})
	mu.UnlockAfter(false)
	mark(true, "after one that did not finish")
	hold(func() { mu.Abandoned() })
	mu.Release()
	mark(true, "after a verb of a value, inside which nobody asks")
	hold(func() { mu.Abandoned() })
	mu.Unlock()
	mark(false, "after one that finished")
	hold(func() {
		if mu.Abandoned() {
			t.Error("the next holder is told")
		}
		mu.Abandon() // which it does not have to be told of
	})
	mu.Unlock()
	mark(true, "after one that asked before it abandoned")
	hold(func() { mu.Abandoned() })
	mu.UnlockAfter(true)
	mark(false, "after one that finished a function")
}
