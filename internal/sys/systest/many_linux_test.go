package systest_test

import (
	"testing"
	"time"

	"example.org/shm/internal/shmtest"
	"example.org/shm/internal/sys"
)

// Many who sleep cost next to nothing.
func TestManySleepers(t *testing.T) {
	const processes = 60
	if testing.Short() {
		t.Skip("it starts 60 processes")
	}
	s := file(t)
	var all []*shmtest.Process
	for range processes {
		p := s.start(t)
		p.Say("await 0")
		all = append(all, p)
	}
	time.Sleep(time.Second)
	before, span := shmtest.CPU(t, all...), 5*time.Second
	time.Sleep(span)
	used := shmtest.CPU(t, all...) - before
	t.Logf("%d sleeping processes use %.1f %% of a processor", processes, 100*used.Seconds()/span.Seconds())
	if used > span/10 {
		t.Errorf("%d sleeping processes use %v in %v", processes, used, span)
	}
	start := sys.Monotonic()
	s.word(0).Store(1)
	sys.FutexWakeChanged(s.word(0), 0)
	for _, p := range all {
		p.Expect("awake")
	}
	t.Logf("all are awake after %v", time.Duration(sys.Monotonic()-start))
}
