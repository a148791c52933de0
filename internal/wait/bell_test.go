//go:build linux

package wait

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/shm/internal/format"
	"example.org/shm/internal/mem/memtest"
	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// ring wakes one listener, and reports whether there was one.
func ring(bell *format.ChangeWord) bool { return sys.FutexWake(&bell.Word, 1, sys.AnyBit) == 1 }

// mustListen skips the test where nobody can listen.
func mustListen(t *testing.T) {
	t.Helper()
	if !sys.CanAsk() || !sys.CanWaitAny() {
		t.Skip("readers cannot ask, or the system has no futex_waitv, so nobody listens")
	}
}

// quiet returns once no goroutine of the listener runs.
func quiet(t *testing.T) {
	t.Helper()
	shmtest.Eventually(t, "nobody listens any more", func() bool {
		bells.mu.Lock()
		defer bells.mu.Unlock()
		return !bells.running && len(bells.answerers) == 0
	})
}

// Each bell is heard, until its listener stops; the goroutine ends with the last one.
func TestListen(t *testing.T) {
	mustListen(t)
	var stops []func()
	for i := range 5 {
		bell, heard := new(format.ChangeWord), make(chan bool, 1)
		stops = append(stops, Listen(bell, func() {
			select {
			case heard <- true:
			default:
			}
		}))
		shmtest.Eventually(t, fmt.Sprint("a thread sleeps on bell ", i), func() bool { return ring(bell) })
		shmtest.Within(t, "it is heard", func() { <-heard })
	}
	for _, stop := range stops {
		stop()
	}
	quiet(t)
	stops[0]() // once more
	bell := new(format.ChangeWord)
	Listen(bell, func() {})() // stopped before anybody listens
	quiet(t)
	if ring(bell) {
		t.Error("somebody listens")
	}
}

// Whoever rings without end does not keep a processor busy.
func TestListenerIsPaced(t *testing.T) {
	mustListen(t)
	bell := new(format.ChangeWord)
	var answers atomic.Int64
	stop := Listen(bell, func() { answers.Add(1) })
	shmtest.Eventually(t, "a thread sleeps on the bell", func() bool { return ring(bell) })
	start, before := time.Now(), answers.Load()
	for time.Since(start) < 200*time.Millisecond {
		ring(bell)
	}
	took, n := time.Since(start), answers.Load()-before
	if most := answersAtOnce + int64(took/answerEvery) + 2; n > most || n == 0 {
		t.Errorf("%d answers in %v, want at most %d", n, took, most)
	}
	stop()
	quiet(t)
}

// A bell that a faulty process has changed, and one that was cut off, hurt nobody.
func TestListenToADamagedBell(t *testing.T) {
	mustListen(t)
	s := memtest.New(t)
	changed, heard := new(format.ChangeWord), make(chan bool, 1)
	changed.Word.Store(7)
	stop := Listen(changed, func() {
		select {
		case heard <- true:
		default:
		}
	})
	stopCutOff := Listen(&s.Header.Bell, func() {})
	shmtest.Eventually(t, "a thread sleeps on both", func() bool { return ring(changed) && ring(&s.Header.Bell) })
	if err := s.File.Truncate(0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		shmtest.Eventually(t, "the other one is heard still", func() bool { ring(changed); return len(heard) == 1 })
		<-heard
	}
	stop()
	stopCutOff()
	quiet(t)
}

// Nothing that is made in a bubble outlives it.
func TestListenInABubble(t *testing.T) {
	mustListen(t)
	bell := new(format.ChangeWord)
	synctest.Test(t, func(t *testing.T) {
		Listen(bell, func() { t.Error("it is heard") })
		time.Sleep(time.Minute)
	})
	quiet(t)
	if ring(bell) {
		t.Error("somebody listens")
	}
}
