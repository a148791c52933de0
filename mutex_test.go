//go:build linux

package shm

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// adder adds 1 to a Value as often as told, then prints "done".
var adder = helper("adder", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for range n {
		v.Add(1)
	}
	fmt.Println("done")
	return nil
})

func TestValueAddsUpBetweenProcesses(t *testing.T) {
	const procs, each = 4, 100_000
	name := testName(t)
	s := open(t, name, nil)
	v := must(NewValue[int64](s, "n", 0))(t)
	var all []*process
	for range procs {
		p := start(t, adder, name, strconv.Itoa(each))
		p.expect("ready")
		all = append(all, p)
	}
	for _, p := range all {
		p.say("go")
	}
	for _, p := range all {
		p.expect("done")
		p.wait()
	}
	if got := v.Load(); got != procs*each {
		t.Fatalf("%d additions counted %d", procs*each, got)
	}
}

func TestValueAddsUpBetweenGoroutines(t *testing.T) {
	const goroutines, each = 64, 20_000
	s := open(t, testName(t), nil)
	v := must(NewValue[int32](s, "n", 0))(t)
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

// cellBytes returns a copy of a lock's cell.
func cellBytes(mu *Mutex) string {
	return string(sliceAt[byte](mu.m, mu.off, line))
}

// What a program must not do is a panic that names the value, and writes
// nothing.
func TestMisuse(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	readOnly := must(NewValue[int64](open(t, name, &Options{ReadOnly: true}), "n", 0))(t).Mutex()
	holder := startAgent(t, name)
	for _, c := range []struct {
		what   string
		before func()
		do     func()
		want   string
		after  func()
	}{
		{"unlock of a free lock", nil, mu.Unlock, "not locked", nil},
		{"Abandoned of a free lock", nil, func() { mu.Abandoned() }, "not locked", nil},
		{"unlock of another process's lock", func() { holder.must("lock", "locked") }, mu.Unlock,
			fmt.Sprint("process ", holder.cmd.Process.Pid), func() { holder.must("unlock", "unlocked") }},
		{"Abandoned of another process's lock", func() { holder.must("lock", "locked") }, func() { mu.Abandoned() },
			fmt.Sprint("process ", holder.cmd.Process.Pid), func() { holder.must("unlock", "unlocked") }},
		{"unlock of a reservation", func() { mu.cell.word.Store(wordW) }, mu.Unlock, "not locked", func() { mu.cell.word.Store(0) }},
		{"lock in a read-only attachment", nil, readOnly.Lock, ErrReadOnly.Error(), nil},
		{"TryLock in a read-only attachment", nil, func() { readOnly.TryLock() }, ErrReadOnly.Error(), nil},
		{"LockContext in a read-only attachment", nil, func() { _ = readOnly.LockContext(t.Context()) }, ErrReadOnly.Error(), nil},
		{"unlock in a read-only attachment", func() { mu.Lock() }, readOnly.Unlock, ErrReadOnly.Error(), mu.Unlock},
		{"Abandoned in a read-only attachment", func() { mu.Lock() }, func() { readOnly.Abandoned() }, ErrReadOnly.Error(), mu.Unlock},
	} {
		if c.before != nil {
			c.before()
		}
		before := cellBytes(mu)
		got := fmt.Sprint(panicOf(c.do))
		if !strings.Contains(got, c.want) || !strings.Contains(got, `"n"`) {
			t.Errorf("%s: panic %q, want %q and the name", c.what, got, c.want)
		}
		if cellBytes(mu) != before {
			t.Errorf("%s has written", c.what)
		}
		if c.after != nil {
			c.after()
		}
	}
	if got := fmt.Sprint(panicOf(func() { Synchronized(v.Raw(), nil) })); !strings.Contains(got, "nil Mutex") {
		t.Errorf("Synchronized with no lock: panic %q", got)
	}
}

// After Close locks held stay held and can be released; no more can be taken by
// hand, while the library's verbs go on.
func TestLockAndClose(t *testing.T) {
	name := testName(t)
	s, err := Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := must(NewValue[int64](s, "n", 0))(t)
	free := must(NewMutex(s, "free"))(t)
	other := startAgent(t, name)
	v.Mutex().Lock()
	queued := make(chan bool)
	go func() { v.Add(1); queued <- true }()
	eventually(t, "somebody waits", func() bool { return v.mu.cell.word.Load()&wordL != 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other.must("trylock", "false")
	other.must("lockFor 20", "gave up")
	for what, lock := range map[string]func(){
		"Lock": free.Lock, "TryLock": func() { free.TryLock() },
		"LockContext":             func() { _ = free.LockContext(t.Context()) },
		"TryLock of what is held": func() { v.mu.TryLock() },
	} {
		before := cellBytes(free)
		if got := fmt.Sprint(panicOf(lock)); !strings.Contains(got, ErrClosed.Error()) || !strings.Contains(got, `"free"`) && !strings.Contains(got, `"n"`) {
			t.Errorf("%s after Close: panic %q", what, got)
		}
		if cellBytes(free) != before {
			t.Errorf("%s after Close has written", what)
		}
	}
	v.Mutex().Unlock()
	<-queued
	other.must("lock", "locked")
	other.must("abandoned", "false")
	other.must("unlock", "unlocked")
	if v.Add(1) != 2 || panicOf(v.Mutex().Unlock) == nil {
		t.Error("the verbs do not go on after Close")
	}
}

// A function that does not return normally changes nothing, and releases.
func TestUpdateThatDoesNotFinish(t *testing.T) {
	_, v := locked(t)
	v.Store(7)
	panicOf(func() { v.Update(func(int64) int64 { panic("no") }) })
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
		t.Error("abandoned by who committed nothing")
	}
	v.Mutex().Unlock()
	if got := v.Load(); got != 7 {
		t.Errorf("the number is %d", got)
	}
}

// Another goroutine may unlock.
func TestUnlockByAnotherGoroutine(t *testing.T) {
	_, v := locked(t)
	for range 1000 {
		v.Mutex().Lock()
		done := make(chan struct{})
		go func() { v.Mutex().Unlock(); close(done) }()
		v.Add(1)
		<-done
	}
}

// All attachments of a process share one Mutex for one place, so a queue never
// splits in two.
func TestOneMutexForOnePlace(t *testing.T) {
	name, v := locked(t)
	if again := must(NewValue[int64](open(t, name, nil), "n", 0))(t); again.Mutex() != v.Mutex() {
		t.Error("two attachments have two locks for one place")
	}
	all := Synchronized(must(NewRawValue[int32](open(t, name, nil), "other", 0))(t), v.Mutex())
	if all.Mutex() != v.Mutex() {
		t.Error("Synchronized with another lock")
	}
	v.Mutex().Lock()
	if all.Mutex().TryLock() {
		t.Error("locked twice")
	}
	v.Mutex().Unlock()
}

// Ids are never used twice, not even at the end of the counter.
func TestIDsEnd(t *testing.T) {
	name := testName(t)
	first := open(t, name, nil)
	m := first.m.Load()
	m.nextID.store(maxID)
	must(NewValue[int64](first, "n", 0))(t) // takes the last one
	if m.id.Load() != maxID {
		t.Fatalf("id %d, want %d", m.id.Load(), maxID)
	}
	p := start(t, late, name)
	if got := p.line(); !strings.Contains(got, ErrFull.Error()) || !strings.Contains(got, "ids") {
		t.Errorf("after the last id: %s", got)
	}
	p.expect("7") // raw forms work
	if n, ok := m.nextID.load(); !ok || n != maxID+1 {
		t.Errorf("the counter is at %d, %v", n, ok)
	}
}

// late says why it gets no lock, and what a raw number is.
var late = helper("late", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	_, err = NewMutex(s, "late")
	fmt.Println(err)
	raw, err := NewRawValue[int64](s, "raw", 7)
	fmt.Println(raw.Get())
	return err
})

// An id that was somebody's in the table before is no reason to rob its owner,
// nor to think the dead alive.
func TestTableEntriesAreHints(t *testing.T) {
	name, v := locked(t)
	m, mu := v.mu.m, v.mu
	holder := startAgent(t, name)
	holder.must("lock", "locked")
	entry := &m.table[mu.cell.word.Load()&ownerMask%tableLen]
	dead := startAgent(t, name)
	dead.kill()
	for what, pid := range map[string]uint32{"nobody": 1<<31 - 1, "a dead one": uint32(dead.cmd.Process.Pid), "itself": uint32(m.table[m.id.Load()%tableLen].pid)} {
		entry.pid = pid
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		if mu.LockContext(ctx) == nil {
			t.Fatalf("robbed, since the table said %s", what)
		}
		cancel()
	}
	entry.pid = m.table[m.id.Load()%tableLen].pid // which lives
	locked := make(chan struct{})
	go func() { mu.Lock(); close(locked) }()
	sleeping(t, mu, true)
	holder.kill()
	within(t, "the lock of a dead holder whom the table takes for a living one", func() { <-locked })
	mu.Unlock()
}

// Whatever a broken peer writes into the cell, nothing faults and who has a
// context gets away.
func TestHostileCells(t *testing.T) {
	name, v := locked(t)
	mu := v.mu
	random := rand.New(rand.NewPCG(1, 2))
	for range rounds(400) {
		w := random.Uint32()
		switch random.IntN(4) {
		case 0:
			w &= wordL | wordW
		case 1:
			w = w&^uint32(ownerMask) | mu.id
		}
		mu.cell.word.Store(w)
		mu.cell.probed.Store([]int64{0, math.MaxInt64, math.MinInt64, monotonic() + 1e9, -1}[random.IntN(5)])
		mu.cell.starve.Store(random.Uint32())
		mu.cell.abandoned.Store(random.Uint32())
		mu.change.word.Store(random.Uint32())
		within(t, fmt.Sprintf("LockContext of the word %#x", w), func() {
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Millisecond)
			defer cancel()
			if mu.LockContext(ctx) == nil || mu.TryLock() {
				mu.Unlock()
			} else {
				panicOf(mu.Unlock)
			}
		})
	}
	// A peer that never rests.
	mu.cell.word.Store(0)
	p := start(t, flipper, name, strconv.FormatInt(mu.off, 10))
	p.expect("ready")
	for range rounds(100) {
		within(t, "LockContext", func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			defer cancel()
			if mu.LockContext(ctx) == nil {
				panicOf(mu.Unlock)
			}
			panicOf(func() { mu.TryLock(); mu.Abandoned() })
		})
		within(t, "Await", func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			defer cancel()
			_, _ = v.Await(ctx, func(int64) bool { return false })
		})
	}
}

// flipper writes everywhere in a lock's cell, all the time.
var flipper = helper("flipper", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	off, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	cell := at[lockCell](s.m.Load(), off)
	fmt.Println("ready")
	for {
		w := rand.Uint32()
		if w&3 == 0 {
			w &= wordL | wordW
		}
		cell.word.Store(w)
		cell.probed.Store(rand.Int64())
		cell.starve.Store(w)
		cell.change.word.Store(w)
	}
})

// Processes that contend get about as much each. What is asserted is that none
// starves, also on a busy machine; the shares are logged.
func TestProcessesShareTheLock(t *testing.T) {
	d := 500 * time.Millisecond
	if *stormLength > 10*time.Second {
		d = 2 * time.Second
	}
	for _, procs := range []int{2, 4, 8, 16} {
		name, v := locked(t)
		counts := must(NewRawArray[int64](open(t, name, nil), "counts", procs))(t)
		mu := v.Mutex()
		var all []*process
		for i := range procs {
			all = append(all, start(t, stormer, name, strconv.Itoa(i)))
		}
		// Who is inside the lock sees counts that stand still.
		look := func() []int64 {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(counts.Slice())
		}
		var before []int64
		eventually(t, "all processes take part", func() bool {
			before = look()
			return !slices.Contains(before, 0)
		})
		time.Sleep(d) // the measurement itself
		each, sum := look(), int64(0)
		for i := range each {
			each[i] -= before[i]
			sum += each[i]
		}
		least := float64(slices.Min(each)) * float64(procs) / float64(sum)
		t.Logf("%d processes: %v, the least has %.0f %% of the mean", procs, each, 100*least)
		if least < 0.05 && !raceEnabled {
			t.Errorf("one of %d processes has %.1f %% of the mean", procs, 100*least)
		}
		for _, p := range all {
			p.kill()
		}
	}
}
