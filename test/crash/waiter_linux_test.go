package crash_test

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/format"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// The waiter that an unlock wakes dies before it can lock. Another waiter gets the
// lock.
func TestKilledWaiter(t *testing.T) {
	t.Parallel()
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, agent.ValueName)
	for round := range shmtest.Rounds(40) {
		mu.Lock()
		doomed, other := agent.Start(t, s.Name()), agent.Start(t, s.Name())
		doomed.Say("lock")
		agent.Sleeping(t, cell, round%2 == 0)
		other.Say("lock")
		if round%4 < 2 {
			time.Sleep(10 * time.Millisecond) // so that the other one is asleep too, more often than not
		}
		mu.Unlock()
		doomed.Kill()
		other.Expect("locked")
		other.Do("unlock", "unlocked")
		other.Kill()
	}
}

// A reservation whose waiter has died does not keep anybody out, TryLock included.
func TestReservationOfADeadWaiter(t *testing.T) {
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, agent.ValueName)
	for _, get := range []func() bool{mu.TryLock, func() bool { mu.Lock(); return true }} {
		cell.Word.Store(format.KernelWaiters)
		shmtest.Within(t, "the lock", func() {
			for !get() {
				time.Sleep(time.Millisecond)
			}
		})
		if mu.Abandoned() {
			t.Error("abandoned by a process that never had it")
		}
		mu.Unlock()
		if w := cell.Word.Load(); w != 0 {
			t.Errorf("nobody uses the lock, and its word is %#x", w)
		}
	}
}

// A waiter that gave up leaves nothing behind: the lock is free at once, for
// TryLock too.
func TestWaiterThatGaveUpKeepsNoReservation(t *testing.T) {
	t.Parallel()
	s, v := agent.Locked(t)
	mu := v.Mutex()
	p := agent.Start(t, s.Name())
	for range shmtest.Rounds(40) {
		mu.Lock()
		p.Do("lockFor 15", "gave up")
		mu.Unlock()
		p.Do("trylock", "true")
		p.Do("unlock", "unlocked")
		p.Do("lock", "locked")
		p.Do("unlock", "unlocked")
	}
}

// Some of the waiters that an unlock wakes are stopped. The others go on meanwhile.
func TestStoppedWaiters(t *testing.T) {
	t.Parallel()
	s, v := agent.Locked(t)
	mu, cell := v.Mutex(), agent.Cell(t, s, agent.ValueName)
	var all []*shmtest.Process
	for range 6 {
		all = append(all, agent.Start(t, s.Name()))
	}
	for range shmtest.Rounds(8) {
		mu.Lock()
		for _, p := range all {
			p.Say("crowd 5")
		}
		agent.Sleeping(t, cell, true)
		for _, p := range all[:3] {
			p.Stop()
		}
		mu.Unlock()
		for _, p := range all[3:] {
			p.Expect("through")
		}
		for _, p := range all[:3] {
			p.Signal(syscall.SIGCONT)
		}
		for _, p := range all[:3] {
			p.Expect("through")
		}
	}
}

// A waiter gets many signals, and goes on waiting.
func TestSignalsDuringWaits(t *testing.T) {
	s, v := agent.Locked(t)
	v.Mutex().Lock()
	p := shmtest.Start(t, signalled, s.Name())
	p.Expect("ready")
	agent.Sleeping(t, agent.Cell(t, s, agent.ValueName), false)
	for range shmtest.Rounds(2000) {
		p.Signal(syscall.SIGUSR1) // it fails if the waiter has ended
	}
	v.Mutex().Unlock()
	p.Expect("locked")
}

// signalled takes the lock of a segment, and ignores a signal meanwhile.
var signalled = shmtest.Helper("signalled", func(args []string) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	v, err := shm.NewValue[int64](s, agent.ValueName, 0)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	v.Mutex().Lock()
	fmt.Println("locked")
	return nil
})
