package crash_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// placed is what the workers of TestPlacesStorm share.
type placed struct {
	Places shm.Mutexes             `shm:"places,len=4"`
	Inside shm.AtomicArray[uint32] `shm:"inside,len=4"` // which worker has the place, from 1; 0: none
	Taken  shm.AtomicArray[uint64] `shm:"taken,len=6"`  // how often each worker has had one
	Wrong  shm.Atomic[uint32]      `shm:"wrong"`        // how often a place was taken that another had left without a trace, or still had
	Left   shm.Atomic[uint32]      `shm:"left"`         // how often a dead worker had left one
}

// Workers take any place and are killed all the time. A place has at most one of them,
// and whoever takes the place of a dead one is told. None waits for ever.
func TestPlacesStorm(t *testing.T) {
	t.Parallel()
	const workers = 6
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	var p placed
	if err := shm.Bind(s, &p); err != nil {
		t.Fatal(err)
	}
	var all [workers]*shmtest.Process
	start := func(i int) { all[i] = shmtest.Start(t, placeWorker, s.Name(), strconv.Itoa(i)) }
	for i := range all {
		start(i)
	}
	taken := func() (n uint64) {
		for i := range workers {
			n += p.Taken.At(i).Load()
		}
		return n
	}
	kills, pause := 0, 10*time.Millisecond
	for end := time.Now().Add(*shmtest.StormLength); time.Now().Before(end) && p.Wrong.Load() == 0; kills++ {
		if kills%20 == 19 && taken() == 0 { // on a busy machine a worker needs longer to start than it lives
			pause *= 2
		}
		time.Sleep(rand.N(pause))
		i := rand.IntN(workers)
		if rand.IntN(8) == 0 {
			all[i].Signal(syscall.SIGSTOP)
			time.Sleep(rand.N(10 * time.Millisecond))
			all[i].Signal(syscall.SIGCONT)
		}
		all[i].Kill()
		shmtest.Within(t, "this process gets a place", func() {
			if err := p.take(t.Context(), workers+1, func() {}); err != nil {
				t.Error(err)
			}
		})
		start(i)
	}
	for _, w := range all {
		w.Kill()
	}
	if n := p.Wrong.Load(); n != 0 {
		t.Errorf("%d times a place had two workers, or the death of one was not told", n)
	}
	for i := range p.Places.Len() {
		if got, err := p.Places.LockAny(t.Context()); got != i || err != nil {
			t.Errorf("at the end place %d is not free: %d, %v", i, got, err)
		}
	}
	if taken() == 0 {
		t.Error("no worker had a place")
	}
	t.Logf("%d kills, %d places taken, %d left by the dead", kills, taken(), p.Left.Load())
}

// take takes a place as worker me, works, and releases it.
func (p *placed) take(ctx context.Context, me uint32, work func()) error {
	i, err := p.Places.LockAny(ctx)
	if err != nil {
		return err
	}
	mu, inside := p.Places.At(i), p.Inside.At(i)
	abandoned := mu.Abandoned()
	if !inside.CompareAndSwap(0, me) {
		if !abandoned {
			p.Wrong.Add(1)
		}
		p.Left.Add(1)
		inside.Store(me)
	}
	work()
	if inside.Load() != me {
		p.Wrong.Add(1)
	}
	inside.Store(0)
	mu.Unlock()
	return nil
}

// placeWorker takes places, in two goroutines, until it is killed. Its arguments are the
// segment and its number.
var placeWorker = shmtest.Helper("placeWorker", func(args []string) error {
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	var p placed
	if err := shm.Bind(s, &p); err != nil {
		return err
	}
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	work := func() error {
		for {
			err := p.take(context.Background(), uint32(i+1), func() {
				p.Taken.At(i).Add(1)
				time.Sleep(rand.N(100 * time.Microsecond))
			})
			if err != nil {
				return err
			}
		}
	}
	go func() { _ = work() }()
	return work()
})
