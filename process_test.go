//go:build linux

package shm_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
	"example.org/shm/test/agent"
)

// worker takes places, and whatever else it is told. Its argument is the segment.
var worker = shmtest.Helper("worker", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	places, err := shm.NewMutexes(s, "places", 0)
	if err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		switch words[0] {
		case "any":
			i, err := places.LockAny(context.Background())
			return fmt.Sprint(i), err
		case "lock":
			i, err := strconv.Atoi(words[1])
			places.At(i).Lock()
			return "locked", err
		case "unlock":
			i, err := strconv.Atoi(words[1])
			places.At(i).Unlock()
			return "unlocked", err
		case "leave":
			err := s.Close()
			places = shm.Mutexes{}
			for range 5 {
				runtime.GC()
				time.Sleep(time.Millisecond)
			}
			return "left", err
		}
		return "", fs.ErrInvalid
	})
})

// places opens a segment with n places.
func places(t testing.TB, n int) (*shm.Segment, shm.Mutexes) {
	t.Helper()
	s := open(t, shmtest.Name(t), nil)
	return s, shmtest.Must(shm.NewMutexes(s, "places", n))(t)
}

// ids returns the ids of the processes that a segment has.
func ids(s *shm.Segment) (all []uint32) {
	for p := range s.Processes() {
		all = append(all, p.ID)
	}
	return all
}

// The living are found, in the order in which they came, and the dead as long as they
// hold a lock.
func TestProcesses(t *testing.T) {
	s, ms := places(t, 3)
	readOnly := open(t, s.Name(), &shm.Options{ReadOnly: true})
	first := shmtest.Start(t, worker, s.Name())
	first.Do("lock 1", "locked") // It has its id.
	second := shmtest.Start(t, worker, s.Name())
	second.Do("lock 2", "locked")
	all := slices.Collect(s.Processes())
	if len(all) != 3 {
		t.Fatalf("%d processes", len(all))
	}
	for i, pid := range []int{os.Getpid(), first.Pid(), second.Pid()} {
		p := all[i]
		if p.Pid != pid || p.Program != sys.Program() || p.Namespace != sys.PidNamespace() || !p.Alive() || p.ID != uint32(i+1) {
			t.Errorf("process %d is %+v, want pid %d", i, p, pid)
		}
	}
	if owner, held := ms.Owner(2); !held || owner != all[2] {
		t.Errorf("place 2 belongs to %+v", owner)
	}
	if owner, held := ms.Owner(0); held || owner != (shm.Process{}) || owner.Alive() {
		t.Errorf("place 0, which is free, belongs to %+v", owner)
	}
	if got := ids(readOnly); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Errorf("in a read-only attachment: %v", got)
	}
	first.Kill()
	for _, in := range []*shm.Segment{s, readOnly} {
		if got := ids(in); !slices.Equal(got, []uint32{1, 3, 2}) {
			t.Errorf("after a death: %v", got)
		}
	}
	if owner, held := ms.Owner(1); !held || owner.Alive() || owner.ID != 2 || owner.Pid != first.Pid() {
		t.Errorf("the dead owner is %+v, alive: %v", owner, owner.Alive())
	}
	if mu := ms.At(1); !mu.TryLock() || !mu.Abandoned() {
		t.Error("a lock that the dead left behind cannot be taken")
	} else {
		mu.Unlock()
	}
	if got := ids(s); !slices.Equal(got, []uint32{1, 3}) {
		t.Errorf("when the dead holds nothing any more: %v", got)
	}
	for range s.Processes() {
		break
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ids(s); got != nil {
		t.Errorf("after Close: %v", got)
	}
	if !all[2].Alive() || all[1].Alive() {
		t.Error("after Close the living are dead, or the dead alive")
	}
}

// The table has room for 512 processes. Those that it has forgotten are found all the
// same, by their leases.
func TestProcessesThatTheTableHasForgotten(t *testing.T) {
	s, _ := places(t, 1)
	w := shmtest.Start(t, worker, s.Name())
	w.Do("lock 0", "locked")
	h := agent.Header(t, s)
	h.Table[2].ID.Store(2 + format.TableLen)
	all := slices.Collect(s.Processes())
	if len(all) != 2 || all[1].ID != 2 || all[1].Pid != 0 || all[1].Program != "" || !all[1].Alive() {
		t.Errorf("%+v", all)
	}
}

// AwaitExit returns soon after a death. It says nothing of a process that lives.
func TestAwaitExit(t *testing.T) {
	s, ms := places(t, 1)
	readOnly := open(t, s.Name(), &shm.Options{ReadOnly: true})
	for what, in := range map[string]*shm.Segment{"for writing": s, "read-only": readOnly} {
		w := shmtest.Start(t, worker, s.Name())
		w.Do("any", "0")
		p, _ := ms.Owner(0)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := in.AwaitExit(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: of a process that lives: %v", what, err)
		}
		cancel()
		w.Signal(os.Kill)
		shmtest.Within(t, "AwaitExit "+what, func() {
			if err := in.AwaitExit(t.Context(), shm.Process{ID: p.ID}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
		if p.Alive() {
			t.Errorf("%s: after AwaitExit the process lives", what)
		}
		if err := in.AwaitExit(t.Context(), p); err != nil {
			t.Errorf("%s: of a dead process: %v", what, err)
		}
	}
}

// A pid that belongs to another process does not deceive AwaitExit, nor a pid that is
// none. A table that names the wrong process only makes it slower.
func TestAwaitExitOfAWrongPid(t *testing.T) {
	for what, c := range map[string]struct {
		pid       uint32
		namespace uint64
	}{
		"another process":   {uint32(os.Getpid()), sys.PidNamespace()},
		"no process":        {1 << 30, sys.PidNamespace()},
		"another namespace": {1, 1},
	} {
		s, ms := places(t, 1)
		w := shmtest.Start(t, worker, s.Name())
		w.Do("any", "0")
		p, _ := ms.Owner(0)
		e := &agent.Header(t, s).Table[p.ID]
		e.Pid, e.Namespace = c.pid, c.namespace
		done := make(chan error, 1)
		go func() { done <- s.AwaitExit(t.Context(), p) }()
		select {
		case err := <-done:
			t.Errorf("%s: AwaitExit of a process that lives returned %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
		w.Kill()
		shmtest.Within(t, "AwaitExit: "+what, func() {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
}

// A process that leaves the segment and lives on is gone too.
func TestAwaitExitOfOneThatLeaves(t *testing.T) {
	s, ms := places(t, 1)
	w := shmtest.Start(t, worker, s.Name())
	w.Do("any", "0")
	p, _ := ms.Owner(0)
	w.Do("unlock 0", "unlocked")
	done := make(chan error, 1)
	go func() { done <- s.AwaitExit(t.Context(), p) }()
	w.Do("leave", "left")
	shmtest.Within(t, "AwaitExit", func() {
		if err := <-done; err != nil || p.Alive() {
			t.Errorf("%v, alive: %v", err, p.Alive())
		}
	})
	w.Do("leave", "left")
}

func TestAwaitExitRefuses(t *testing.T) {
	s, ms := places(t, 1)
	other, others := places(t, 1)
	ms.At(0).Lock()
	others.At(0).Lock()
	self, _ := ms.Owner(0)
	stranger, _ := others.Owner(0)
	for what, p := range map[string]shm.Process{"the zero Process": {}, "an id that nobody can have": {ID: format.MaxID + 1}, "another segment's": stranger} {
		if err := s.AwaitExit(t.Context(), p); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.AwaitExit(t.Context(), shm.Process{ID: 77}); err != nil {
		t.Errorf("an id that nobody has had yet: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.AwaitExit(context.Background(), self) }()
	time.Sleep(time.Millisecond) // it may sleep by now; if not, the error is the same
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	shmtest.Within(t, "AwaitExit", func() {
		if err := <-done; !errors.Is(err, shm.ErrClosed) {
			t.Errorf("Close meanwhile: %v", err)
		}
	})
	if err := s.AwaitExit(t.Context(), self); !errors.Is(err, shm.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := open(t, s.Name(), &shm.Options{Foreign: true})
	if err := foreign.AwaitExit(t.Context(), self); !errors.Is(err, shm.ErrForeign) {
		t.Errorf("in a foreign segment: %v", err)
	}
	if got := ids(foreign); got != nil {
		t.Errorf("a foreign segment has %v", got)
	}
}

// In a bubble of testing/synctest AwaitExit and LockAny wait too.
func TestAwaitExitInABubble(t *testing.T) {
	s, ms := places(t, 1)
	w := shmtest.Start(t, worker, s.Name())
	w.Do("any", "0")
	p, _ := ms.Owner(0)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.AwaitExit(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("of a process that lives: %v", err)
		}
		if i, err := ms.LockAny(ctx); err == nil {
			t.Errorf("a lock of a process that lives: %d", i)
		}
		w.Signal(os.Kill)
		if err := s.AwaitExit(t.Context(), p); err != nil {
			t.Error(err)
		}
		if i, err := ms.LockAny(t.Context()); i != 0 || err != nil {
			t.Errorf("lock %d, %v", i, err)
		}
		go func() {
			time.Sleep(time.Second)
			ms.At(0).Unlock()
		}()
		if i, err := ms.LockAny(t.Context()); i != 0 || err != nil {
			t.Errorf("lock %d, %v", i, err)
		}
	})
}

// Whoever waits learns of each of many deaths. The times are logged: they depend on what
// else the machine does.
func TestAwaitExitOften(t *testing.T) {
	s, ms := places(t, 1)
	var took []time.Duration
	for range shmtest.Rounds(200) {
		w := shmtest.Start(t, worker, s.Name())
		w.Do("any", "0")
		p, _ := ms.Owner(0)
		done := make(chan error, 1)
		go func() { done <- s.AwaitExit(t.Context(), p) }()
		time.Sleep(time.Millisecond)
		start := time.Now()
		w.Signal(os.Kill)
		shmtest.Within(t, "AwaitExit", func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		took = append(took, time.Since(start))
		w.Kill()
	}
	slices.Sort(took)
	t.Logf("%d deaths: median %v, p99 %v, most %v", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}
