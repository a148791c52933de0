package systest_test

import (
	"math"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// A sleeper is woken by another process, and by a change that came while it went to sleep.
func TestSleeping(t *testing.T) {
	s := file(t)
	p := s.start(t)
	for i, verb := range []string{"sleep", "await"} {
		w := s.word(i)
		for round := range 50 {
			w.Store(0)
			p.Say(verb + " " + strconv.Itoa(i))
			if round%2 == 0 { // so that it sleeps
				time.Sleep(time.Duration(round) * 100 * time.Microsecond)
			}
			start := sys.Monotonic()
			w.Store(1)
			if verb == "sleep" {
				sys.FutexWake(w, 1, sys.AnyBit)
			} else {
				sys.FutexWakeChanged(w, 0)
			}
			p.Expect("awake")
			if d := time.Duration(sys.Monotonic() - start); d > 30*time.Second {
				t.Errorf("it slept for %v after the wake-up", d)
			}
		}
	}
	if sys.CanWaitAny() {
		for round := range 20 {
			s.word(3).Store(0)
			s.word(4).Store(0)
			p.Say("any 3 4")
			s.word(3 + round%2).Store(1)
			sys.FutexWakeChanged(s.word(3+round%2), 0)
			p.Expect("awake")
		}
	}
}

// A wake-up of one ends one sleep, and FutexWake says 0 if nobody sleeps.
func TestWakeOne(t *testing.T) {
	s := file(t)
	w := s.word(0)
	if n := sys.FutexWake(w, 1, sys.AnyBit); n != 0 {
		t.Logf("nobody sleeps, and FutexWake says %d: this system does not know", n)
	}
	p, q := s.start(t), s.start(t)
	p.Say("nap 0")
	q.Say("nap 0")
	woken := 0
	awake := make(chan struct{}, 2)
	for _, x := range []*shmtest.Process{p, q} {
		go func() {
			if line, ok := x.Next(); ok && line == "awake" {
				awake <- struct{}{}
			}
		}()
	}
	shmtest.Eventually(t, "both are woken", func() bool {
		sys.FutexWake(w, 1, sys.AnyBit)
		select {
		case <-awake:
			woken++
		case <-time.After(time.Millisecond):
		}
		return woken == 2
	})
}

// A sleeper that was killed takes no wake-up with it for good.
func TestKilledSleeper(t *testing.T) {
	s := file(t)
	w := s.word(0)
	p, q := s.start(t), s.start(t)
	p.Say("nap 0")
	q.Say("sleep 0")
	p.Kill()
	w.Store(1)
	sys.FutexWake(w, 1, sys.AnyBit) // it may be the dead one's
	sys.FutexWake(w, 1, sys.AnyBit)
	q.Expect("awake")
}

// A wake-up by bits reaches sleepers of this process, of both kinds, and on words that
// are not shared.
func TestBits(t *testing.T) {
	var private atomic.Uint32
	s := file(t)
	for _, w := range []*atomic.Uint32{&private, s.word(0)} {
		for _, sleep := range []func(*atomic.Uint32, uint32, uint32, time.Duration){sys.FutexWait, sys.FutexWaitChange} {
			done := make(chan struct{})
			go func() {
				sleep(w, 0, 1<<7, forEver)
				close(done)
			}()
			shmtest.Eventually(t, "it is woken", func() bool {
				sys.FutexWake(w, math.MaxInt32, 1<<7|1<<9)
				select {
				case <-done:
					return true
				case <-time.After(time.Millisecond):
					return false
				}
			})
		}
		sys.FutexWait(w, 5, sys.AnyBit, forEver) // another value is there
		start := sys.Monotonic()
		for sys.Monotonic()-start < int64(5*time.Millisecond) {
			sys.FutexWait(w, 0, sys.AnyBit, 5*time.Millisecond)
		}
	}
}

// All processes have one clock.
func TestClock(t *testing.T) {
	s := file(t)
	p := s.start(t)
	for range 20 {
		before := sys.Monotonic()
		there, err := strconv.ParseInt(p.Ask("clock"), 10, 64)
		// The clocks of two processes are calibrated apart.
		if after := sys.Monotonic(); err != nil || there < before-int64(time.Millisecond) || there > after+int64(time.Millisecond) {
			t.Fatalf("%d is not between %d and %d, %v", there, before, after, err)
		}
	}
	if id := sys.BootID(); id != sys.BootID() {
		t.Errorf("the boot is %q, and another later", id)
	}
}

// A death is told of, if the system can.
func TestDeath(t *testing.T) {
	s := file(t)
	p := s.start(t)
	d := sys.WatchPid(p.Pid(), sys.PidNamespace())
	if d == nil {
		t.Skip("this system does not tell of deaths")
	}
	if d.Wait(time.Millisecond) {
		t.Error("it is told that a living process has exited")
	}
	told := make(chan bool)
	go func() { told <- d.Exited() }()
	p.Kill()
	if !<-told {
		t.Error("the watch ended without the death")
	}
	d.Close()
}

// BenchmarkHandOver hands a word to another process and back: two hand-overs a round.
func BenchmarkHandOver(b *testing.B) {
	path := sys.Path(shmtest.Name(b))
	s := shmtest.Must(create(path, 0o600))(b)
	p := shmtest.Start(b, agent, path)
	p.Expect("ready")
	p.Say("serve 0")
	w := s.word(0)
	b.ResetTimer()
	for range b.N {
		v := w.Load()
		w.Store(v + 1)
		sys.FutexWakeChanged(w, v)
		for w.Load() == v+1 {
			sys.FutexWaitChange(w, v+1, 1, time.Second)
		}
	}
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "handovers/s")
}
