package crash_test

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// A holder is killed. Another process, or this one, then gets the lock, however it
// asks for it.
func TestKilledHolderIsFollowed(t *testing.T) {
	t.Parallel()
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, agent.ValueName)
	waiter := agent.Start(t, s.Name())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ask := []struct {
		how     string
		before  func()      // runs before the holder is killed
		after   func() bool // asks for the lock, and reports whether it is held now, by waiter or by this process
		waiters bool        // it is held by waiter
	}{
		{"short sleep", func() { waiter.Say("lock"); agent.Sleeping(t, cell, false) }, func() bool { return waiter.Line() == "locked" }, true},
		{"watch", func() { waiter.Say("lock"); agent.Sleeping(t, cell, true) }, func() bool { return waiter.Line() == "locked" }, true},
		{"late", func() {}, func() bool { shmtest.Within(t, "the lock", mu.Lock); return true }, false},
		{"late with a context", func() {}, func() bool { return mu.LockContext(ctx) == nil }, false},
		{"TryLock", func() {}, mu.TryLock, false},
		{"TryLock before", func() { waiter.Do("trylock", "false") }, func() bool { return waiter.Ask("trylock") == "true" }, true},
	}
	want := int64(0)
	for round := range shmtest.Rounds(200) {
		holder := agent.Start(t, s.Name())
		holder.Do(fmt.Sprint("addSlowly ", round%2), "inside")
		want += int64(round % 2)
		a := ask[round%len(ask)]
		a.before()
		holder.Kill()
		shmtest.Eventually(t, a.how+": the lock of a dead holder", a.after)
		abandoned := func() bool {
			if a.waiters {
				return waiter.Ask("abandoned") == "true"
			}
			return mu.Abandoned()
		}
		unlock := func() {
			if a.waiters {
				waiter.Do("unlock", "unlocked")
			} else {
				mu.Unlock()
			}
		}
		if round%3 == 0 {
			// This holder does not ask, so the next one is told. The verbs that hold the
			// lock in between do not count.
			unlock()
			v.Add(1)
			waiter.Do("add 1", "added")
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
			t.Fatalf("%s: told again after a holder that was told has unlocked", a.how)
		}
		mu.Unlock()
		if got := v.Load(); got != want {
			t.Fatalf("round %d, %s: count %d, want %d", round, a.how, got, want)
		}
		if w := cell.Word.Load(); w != 0 {
			t.Fatalf("round %d, %s: nobody uses the lock, and its word is %#x", round, a.how, w)
		}
	}
}

func TestAbandonedStaysIfWhoWasToldDies(t *testing.T) {
	s, v := agent.Locked(t)
	for range 3 {
		p := agent.Start(t, s.Name())
		p.Do("lock", "locked")
		p.Ask("abandoned")
		p.Kill()
	}
	last := agent.Start(t, s.Name())
	last.Do("lock", "locked")
	last.Do("abandoned", "true")
	last.Kill()
	v.Mutex().Lock()
	defer v.Mutex().Unlock()
	if !v.Mutex().Abandoned() {
		t.Fatal("the mark went with the holder that was told")
	}
}

// Several goroutines of several processes wait when the holder dies. All of them
// get the lock.
func TestKilledHolderWithManyWaiters(t *testing.T) {
	for _, long := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", long), func(t *testing.T) {
			s, v := agent.Locked(t)
			holder := agent.Start(t, s.Name())
			holder.Do("lock", "locked")
			var all []*shmtest.Process
			for range 6 {
				p := agent.Start(t, s.Name())
				p.Say("crowd 20")
				all = append(all, p)
			}
			agent.Sleeping(t, agent.Cell(t, s, agent.ValueName), long)
			holder.Kill()
			for _, p := range all {
				p.Expect("through")
			}
			if got := v.Load(); got != 6*20 {
				t.Fatalf("%d additions counted %d", 6*20, got)
			}
		})
	}
}

// A holder keeps the lock while it lives, however long that is.
func TestLivingHolderIsNotRobbed(t *testing.T) {
	t.Parallel() // it sleeps most of the time
	// The timers of a wait have fired by then: the longest is a second.
	const long = 3 * time.Second
	type rivalry struct {
		how    string
		mu     *shm.Mutex       // of this process
		waits  *shmtest.Process // for as long as it takes
		tries  *shmtest.Process // again and again
		holder *shmtest.Process
		after  func(r *rivalry)
	}
	child := 0 // of a holder
	var all []*rivalry
	for _, r := range []*rivalry{
		{how: "stopped"},
		{how: "stopped after it opened and closed the file elsewhere", after: func(r *rivalry) { r.holder.Do("touch", "touched") }},
		{how: "stopped after a child inherited its files", after: func(r *rivalry) {
			child = shmtest.Must(strconv.Atoi(r.holder.Ask("spawn")))(t)
			t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
		}},
	} {
		s, v := agent.Locked(t)
		r.mu, r.holder = v.Mutex(), agent.Start(t, s.Name())
		r.holder.Do("lock", "locked")
		if r.after != nil {
			r.after(r)
		}
		r.holder.Stop()
		r.waits, r.tries = agent.Start(t, s.Name()), agent.Start(t, s.Name())
		all = append(all, r)
	}
	{
		s, v := agent.Locked(t)
		other := shmtest.Opened(shm.Open(s.Name(), agent.Modest))(t)
		second := shmtest.Must(shm.NewValue[int64](other, agent.ValueName, 0))(t)
		v.Mutex().Lock()
		all = append(all, &rivalry{how: "another attachment of the same process", mu: second.Mutex(), waits: agent.Start(t, s.Name()), tries: agent.Start(t, s.Name())})
		defer second.Mutex().Unlock()
	}
	for _, r := range all {
		r.waits.Say("lock")
	}
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		for _, question := range [][2]string{{"trylock", "false"}, {"lockFor 20", "gave up"}} {
			for _, r := range all {
				r.tries.Say(question[0])
			}
			for _, r := range all {
				if got := r.tries.Line(); got != question[1] {
					t.Fatalf("a living holder was robbed (%s): %s: %s", r.how, question[0], got)
				}
				if r.mu.TryLock() {
					t.Fatalf("a living holder was robbed (%s)", r.how)
				}
			}
		}
	}
	// A child lives on, and does not keep the lease of its parent.
	parent := all[2]
	parent.waits.Kill()
	parent.holder.Kill()
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatal(err)
	}
	shmtest.Within(t, "the lock of a dead holder whose child lives", parent.mu.Lock)
	parent.mu.Unlock()
}
