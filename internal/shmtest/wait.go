package shmtest

import (
	"testing"
	"time"

	"example.org/shm/internal/race"
)

// Eventually returns once ok returns true. It is for what the system does in its
// own time. It ends the test after two minutes.
func Eventually(t TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(tooLong); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen within %v: %s", tooLong, what)
		}
	}
}

// Within calls f in a goroutine of its own and returns when f has returned. It
// ends the test after two minutes. Since f is not in the test's goroutine, f
// must not end the test.
func Within(t TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(tooLong):
		t.Fatalf("did not happen within %v: %s", tooLong, what)
	}
}

// Watchdog ends the test binary if the test hangs. The test calls doing before
// each step, with words for the panic; a step may take two minutes.
func Watchdog(t testing.TB) (doing func(step string)) {
	steps := make(chan string)
	go func() {
		last := t.Name()
		for {
			select {
			case last = <-steps:
			case <-t.Context().Done():
				return
			case <-time.After(tooLong):
				panic("endless: " + last)
			}
		}
	}()
	return func(step string) { steps <- step }
}

// Rounds returns n, or less if the tests are to be short or each round takes
// long.
func Rounds(n int) int {
	if race.Enabled || testing.Short() {
		return n / 4
	}
	return n
}
