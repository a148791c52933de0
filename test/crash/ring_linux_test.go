package crash_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// ringEvent is a value whose parts check each other. Who appends N + 1 has appended N.
type ringEvent struct{ Who, N, Who2, N2 int64 }

// ringStormer appends values without a pause, until it is killed. It goes on after the
// number that its predecessor of the same name appended last, which it keeps beside.
var ringStormer = shmtest.Helper("ringStormer", func(args []string) error {
	t := shmtest.InHelper
	s := shmtest.Must(shm.Open(args[0], agent.Modest))(t)
	v := shmtest.Must(shm.NewRing[ringEvent](s, "ring", 0))(t)
	counts := shmtest.Must(shm.NewRawArray[int64](s, "counts", 0))(t)
	i := shmtest.Must(strconv.Atoi(args[1]))(t)
	for {
		n := counts.Get(i) + 1
		v.Append(ringEvent{int64(i), n, int64(i), n})
		counts.Set(i, n)
	}
})

// Processes append and are killed all the time. A reader gets whole values in order, and
// each one, or learns how many it missed. One that died may have appended a value and not
// counted it: then its successor appends the number again.
func TestRingStorm(t *testing.T) {
	t.Parallel()
	const processes = 3
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	v := shmtest.Must(shm.NewRing[ringEvent](s, "ring", 100))(t)
	shmtest.Must(shm.NewRawArray[int64](s, "counts", processes))(t)
	r := v.Reader()
	var all [processes]*shmtest.Process
	for i := range all {
		all[i] = shmtest.Start(t, ringStormer, s.Name(), strconv.Itoa(i))
	}
	kills, got := 0, uint64(0)
	var newest [processes]int64
	read := func(length time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), length) // the lock's holder may be stopped
		defer cancel()
		for {
			e, seq, err := r.Next(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				return
			}
			got++
			switch {
			case err != nil:
				t.Fatal(err)
			case e.Who != e.Who2 || e.N != e.N2 || e.Who < 0 || e.Who >= processes:
				t.Fatalf("value %d is %+v", seq, e)
			case seq != got+r.Missed():
				t.Fatalf("value %d, after %d read and %d missed", seq, got, r.Missed())
			case e.N < newest[e.Who]:
				t.Fatalf("value %d is %+v, after %d", seq, e, newest[e.Who])
			}
			newest[e.Who] = e.N
		}
	}
	for end := time.Now().Add(*shmtest.StormLength); time.Now().Before(end); {
		read(rand.N(10 * time.Millisecond))
		i := rand.IntN(processes)
		if rand.IntN(8) == 0 {
			all[i].Signal(syscall.SIGSTOP)
			read(rand.N(10 * time.Millisecond))
			all[i].Signal(syscall.SIGCONT)
		}
		all[i].Kill()
		kills++
		all[i] = shmtest.Start(t, ringStormer, s.Name(), strconv.Itoa(i))
	}
	for _, p := range all {
		p.Kill()
		kills++
	}
	shmtest.Within(t, "an append at the end", func() { v.Append(ringEvent{}) })
	t.Logf("%d kills, %d values read, %d missed", kills, got, r.Missed())
}
