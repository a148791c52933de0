//go:build linux

package shm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// rounds is how many of so many are worth the time.
func rounds(n int) int {
	if raceEnabled || testing.Short() {
		return n / 4
	}
	return n
}

// A holder is killed, and another gets the lock, however it asks for it.
func TestKilledHolderIsFollowed(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	waiter := startAgent(t, name)
	ask := []struct {
		how    string
		before func()      // the holder is killed
		after  func() bool // whoever asked holds the lock; here or in waiter
		there  bool
	}{
		{"short sleep", func() { waiter.say("lock"); sleeping(t, mu, false) }, func() bool { return waiter.line() == "locked" }, true},
		{"watch", func() { waiter.say("lock"); sleeping(t, mu, true) }, func() bool { return waiter.line() == "locked" }, true},
		{"late", func() {}, func() bool { mu.Lock(); return true }, false},
		{"late with a context", func() {}, func() bool { return mu.LockContext(t.Context()) == nil }, false},
		{"TryLock", func() {}, mu.TryLock, false},
		{"TryLock before", func() { waiter.must("trylock", "false") }, func() bool { return waiter.tell("trylock") == "true" }, true},
	}
	want := int64(0)
	for round := range rounds(200) {
		holder := startAgent(t, name)
		holder.must(fmt.Sprint("addSlowly ", round%2), "inside")
		want += int64(round % 2)
		a := ask[round%len(ask)]
		a.before()
		holder.kill()
		within(t, a.how+": the lock of a dead holder", func() {
			for !a.after() {
				time.Sleep(time.Millisecond)
			}
		})
		abandoned := func() bool {
			if a.there {
				return waiter.tell("abandoned") == "true"
			}
			return mu.Abandoned()
		}
		unlock := func() {
			if a.there {
				waiter.must("unlock", "unlocked")
			} else {
				mu.Unlock()
			}
		}
		if round%3 == 0 {
			// Nobody asks: whoever comes next is told. The verbs are no holders who ask.
			unlock()
			v.Add(1)
			waiter.must("add 1", "added")
			v.Update(func(x int64) int64 { return x - 2 })
			mu.Lock()
			abandoned, unlock = mu.Abandoned, mu.Unlock
		}
		for range 2 {
			if !abandoned() {
				t.Fatalf("%s: the next holder was not told", a.how)
			}
		}
		unlock()
		mu.Lock()
		if mu.Abandoned() {
			t.Fatalf("%s: told again after somebody who was told has unlocked", a.how)
		}
		mu.Unlock()
		if got := v.Load(); got != want {
			t.Fatalf("round %d, %s: count %d, want %d", round, a.how, got, want)
		}
		if w := mu.cell.word.Load(); w != 0 {
			t.Fatalf("round %d, %s: word %#x at rest", round, a.how, w)
		}
	}
}

func TestAbandonedStaysIfWhoWasToldDies(t *testing.T) {
	name, v := locked(t)
	for range 3 {
		p := startAgent(t, name)
		p.must("lock", "locked")
		p.tell("abandoned")
		p.kill()
	}
	last := startAgent(t, name)
	last.must("lock", "locked")
	last.must("abandoned", "true")
	last.kill()
	v.Mutex().Lock()
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() {
		t.Fatal("the mark went with the one who was told")
	}
}

// Several wait in several processes when the holder dies, and each goes on.
func TestKilledHolderWithManyWaiters(t *testing.T) {
	for _, long := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", long), func(t *testing.T) {
			name, v := locked(t)
			holder := startAgent(t, name)
			holder.must("lock", "locked")
			var all []*process
			for range 6 {
				p := startAgent(t, name)
				p.say("crowd 20")
				all = append(all, p)
			}
			sleeping(t, v.Mutex(), long)
			holder.kill()
			within(t, "all are through", func() {
				for _, p := range all {
					p.expect("through")
				}
			})
			if got := v.Load(); got != 6*20 {
				t.Fatalf("%d additions counted %d", 6*20, got)
			}
		})
	}
}

// The waiter that an unlock wakes dies before it can lock: another gets it.
func TestKilledWaiter(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	for round := range rounds(40) {
		mu.Lock()
		doomed, other := startAgent(t, name), startAgent(t, name)
		doomed.say("lock")
		sleeping(t, mu, round%2 == 0)
		other.say("lock")
		if round%4 < 2 {
			time.Sleep(10 * time.Millisecond) // so that other, too, is asleep more often than not
		}
		mu.Unlock()
		doomed.kill()
		within(t, "the other waiter's lock", func() { other.expect("locked") })
		other.must("unlock", "unlocked")
		other.kill()
	}
}

// A reservation whose waiter has died is no lock: TryLock, too, gets by.
func TestReservationOfADeadWaiter(t *testing.T) {
	_, v := locked(t)
	mu := v.Mutex()
	for _, get := range []func() bool{mu.TryLock, func() bool { mu.Lock(); return true }} {
		mu.cell.word.Store(wordW)
		eventually(t, "the lock", get)
		if mu.Abandoned() {
			t.Error("abandoned by somebody who never had it")
		}
		mu.Unlock()
		if w := mu.cell.word.Load(); w != 0 {
			t.Errorf("word %#x at rest", w)
		}
	}
}

// Who gave up leaves nothing behind: the lock is free at once, for TryLock too.
func TestWaiterThatGaveUpKeepsNoReservation(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	p := startAgent(t, name)
	for range rounds(40) {
		mu.Lock()
		p.must("lockFor 15", "gave up")
		mu.Unlock()
		p.must("trylock", "true")
		p.must("unlock", "unlocked")
		p.must("lock", "locked")
		p.must("unlock", "unlocked")
	}
}

// Nobody is robbed while it lives, however long that lasts.
func TestLivingHolderIsNotRobbed(t *testing.T) {
	const long = 5 * time.Second
	try := func(t *testing.T, name string) {
		t.Helper()
		s := open(t, name, nil)
		mu := must(NewValue[int64](s, "n", 0))(t).Mutex()
		waiting := startAgent(t, name)
		waiting.say("lock") // for as long as it takes
		second := startAgent(t, name)
		for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
			if second.tell("trylock") != "false" || second.tell("lockFor 20") != "gave up" {
				t.Fatal("a living holder was robbed")
			}
			if mu.TryLock() {
				t.Fatal("a living holder was robbed")
			}
		}
		waiting.kill()
	}
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		name, _ := locked(t)
		holder := startAgent(t, name)
		holder.must("lock", "locked")
		holder.stop()
		try(t, name)
	})
	t.Run("same process, another attachment", func(t *testing.T) {
		t.Parallel()
		name, v := locked(t)
		second := must(NewValue[int64](open(t, name, nil), "n", 0))(t)
		v.Mutex().Lock()
		if second.Mutex().TryLock() {
			t.Fatal("locked twice")
		}
		try(t, name)
		second.Mutex().Unlock()
	})
	t.Run("file opened and closed elsewhere", func(t *testing.T) {
		t.Parallel()
		name, _ := locked(t)
		holder := startAgent(t, name)
		holder.must("lock", "locked")
		holder.must("touch", "touched")
		holder.stop()
		try(t, name)
	})
	t.Run("a child inherits its files", func(t *testing.T) {
		t.Parallel()
		name, v := locked(t)
		holder := startAgent(t, name)
		holder.must("lock", "locked")
		pid, err := strconv.Atoi(holder.tell("spawn"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		holder.stop()
		try(t, name)
		// The child lives on, and keeps nobody's lease.
		holder.kill()
		if err := syscall.Kill(pid, 0); err != nil {
			t.Fatal(err)
		}
		within(t, "the lock of a dead holder whose child lives", v.Mutex().Lock)
		v.Mutex().Unlock()
	})
}

// Stopped waiters are woken in vain, and others go on meanwhile.
func TestStoppedWaiters(t *testing.T) {
	name, v := locked(t)
	mu := v.Mutex()
	var all []*process
	for range 6 {
		all = append(all, startAgent(t, name))
	}
	for range rounds(8) {
		mu.Lock()
		for _, p := range all {
			p.say("crowd 5")
		}
		sleeping(t, mu, true)
		for _, p := range all[:3] {
			p.stop()
		}
		mu.Unlock()
		within(t, "those who run get on", func() {
			for _, p := range all[3:] {
				p.expect("through")
			}
		})
		for _, p := range all[:3] {
			p.signal(syscall.SIGCONT)
		}
		within(t, "those who were stopped get on", func() {
			for _, p := range all[:3] {
				p.expect("through")
			}
		})
	}
}

// Processes add under the lock and are killed all the time: each may have had
// one addition in flight that nobody counts, and none gets stuck.
func TestStorm(t *testing.T) {
	const procs = 4
	name, v := locked(t)
	counts := must(NewRawArray[int64](open(t, name, nil), "counts", procs))(t)
	var all [procs]*process
	for i := range all {
		all[i] = start(t, stormer, name, strconv.Itoa(i))
	}
	kills := [procs]int{}
	total := 0
	for end := time.Now().Add(*stormLength); time.Now().Before(end); {
		time.Sleep(time.Duration(rand.IntN(int(10 * time.Millisecond))))
		i := rand.IntN(procs)
		p := all[i]
		if rand.IntN(8) == 0 {
			p.signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(rand.IntN(int(10 * time.Millisecond))))
			p.signal(syscall.SIGCONT)
		}
		p.kill()
		kills[i]++
		total++
		within(t, "somebody adds", func() {
			before := v.Load()
			v.Add(0)
			for live := (i + 1) % procs; v.Load() == before && all[live] != nil; runtime.Gosched() {
			}
		})
		all[i] = start(t, stormer, name, strconv.Itoa(i))
	}
	for _, p := range all {
		p.kill()
	}
	within(t, "the lock at the end", v.Mutex().Lock)
	defer v.Mutex().Unlock()
	counted := int64(0)
	for _, n := range counts.All() {
		counted += n
	}
	// A process counts an addition for itself after it made it, both under the lock.
	if got := v.Raw().Get(); got < counted || got > counted+int64(total)+procs {
		t.Fatalf("%d additions were counted, the number is %d, after %d kills", counted, got, total+procs)
	}
	t.Logf("%d kills, %d additions, %d in flight", total+procs, counted, v.Raw().Get()-counted)
}

var stormer = helper("stormer", func(args []string) error {
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	counts, err := NewRawArray[int64](s, "counts", 0)
	if err != nil {
		return err
	}
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	add := func() {
		v.Mutex().Lock()
		v.Raw().Set(v.Raw().Get() + 1)
		counts.Set(i, counts.Get(i)+1)
		v.Mutex().Unlock()
	}
	go func() {
		for {
			add()
		}
	}()
	for {
		add()
		if v.Mutex().TryLock() {
			v.Mutex().Unlock()
		}
	}
})

// Waiters get signals all the time, and wait on.
func TestSignalsDuringWaits(t *testing.T) {
	name, v := locked(t)
	v.Mutex().Lock()
	p := start(t, deaf, name)
	p.expect("ready")
	sleeping(t, v.Mutex(), false)
	for range rounds(2000) {
		p.signal(syscall.SIGUSR1) // fails if the waiter has ended
	}
	v.Mutex().Unlock()
	within(t, "the waiter's lock", func() { p.expect("locked") })
}

var deaf = helper("deaf", func(args []string) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
	s, err := Open(args[0], nil)
	if err != nil {
		return err
	}
	v, err := NewValue[int64](s, "n", 0)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	v.Mutex().Lock()
	fmt.Println("locked")
	return nil
})
