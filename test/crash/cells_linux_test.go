package crash_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
	"example.org/shm/test/agent"
)

// tally is what the processes of a storm count in. Sum has the same additions as Count.
type tally struct {
	Count  shm.Counter[int64]   `shm:"count"`
	Sum    shm.Counter[float64] `shm:"sum"`
	Took   shm.Histogram        `shm:"took,bounds=1;2;3"`
	Alive  shm.Gauge[int64]     `shm:"alive"`
	Ledger shm.RawArray[int64]  `shm:"ledger,len=4096"`
}

// teller adds until it is killed, in two goroutines. Its arguments are the segment and its
// first place in the ledger, of two.
var teller = shmtest.Helper("teller", func(args []string) error {
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	place, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var c tally
	if err := shm.Bind(s, &c); err != nil {
		return err
	}
	add := func(place int) {
		for n := c.Ledger.Get(place); ; n++ {
			c.Count.Add(1)
			c.Sum.Add(0.5)
			c.Took.Observe(float64(n % 4))
			c.Alive.Set(n)
			c.Ledger.Set(place, n+1) // after the additions have returned
		}
	}
	go add(place)
	fmt.Println("adds")
	add(place + 1)
	return nil
})

// Processes count in cells, and are killed all the time, a few at once, so that cells of
// the dead are inherited by several who compete for them. What was counted is what each
// process has noted for itself, and at most one addition of each goroutine that was killed.
func TestCellsStorm(t *testing.T) {
	t.Parallel()
	const processes = 3
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	var c tally
	if err := shm.Bind(s, &c); err != nil {
		t.Fatal(err)
	}
	stop, watched := make(chan struct{}), make(chan error, 1)
	go func() { watched <- watch(c.Count, stop) }()
	kills := 0
	for end := time.Now().Add(*shmtest.StormLength); time.Now().Before(end); {
		var all [processes]*shmtest.Process
		for i := range all {
			all[i] = shmtest.Start(t, teller, s.Name(), strconv.Itoa(2*((kills+i)%(c.Ledger.Len()/2))))
		}
		for _, p := range all {
			p.Expect("adds")
		}
		time.Sleep(rand.N(10 * time.Millisecond))
		for _, p := range all {
			p.Kill()
			kills++
		}
	}
	close(stop)
	if err := <-watched; err != nil {
		t.Error(err)
	}
	noted := int64(0)
	for _, n := range c.Ledger.All() {
		noted += n
	}
	most := noted + 2*int64(kills)
	count, sum, took := c.Count.Load(), c.Sum.Load(), c.Took.Load()
	if count < noted || count > most {
		t.Errorf("%d additions were noted, %d counted, after %d kills", noted, count, kills)
	}
	if n := int64(2 * sum); n < noted || n > most || float64(n) != 2*sum {
		t.Errorf("%d additions of 0.5 were noted, the sum is %v, after %d kills", noted, sum, kills)
	}
	var observed uint64
	for _, n := range took.Counts {
		observed += n
	}
	if n := int64(observed); n < noted || n > most {
		t.Errorf("%d observations were noted, %d counted, after %d kills", noted, n, kills)
	}
	shmtest.Eventually(t, "the gauges of the dead vanish", func() bool { _, living := c.Alive.Min(); return !living })
	header, _ := agent.Cells(t, s, "count")
	if high := header.High.Load(); high > 2*processes {
		t.Errorf("%d processes at a time have claimed %d cells: they are not inherited", processes, high)
	}
	t.Logf("%d kills, %d additions, %d in flight", kills, noted, count-noted)
}

// watch returns an error if a counter goes back.
func watch(c shm.Counter[int64], stop <-chan struct{}) error {
	for last := int64(0); ; {
		select {
		case <-stop:
			return nil
		default:
		}
		n := c.Load()
		if n < last {
			return fmt.Errorf("the counter was %d, and then %d", last, n)
		}
		last = n
		time.Sleep(100 * time.Microsecond)
	}
}

// counting keeps a counter and a gauge in a file, and a cell of each.
var counting = shmtest.Helper("counting", func(args []string) error {
	s, err := shm.Open(args[0], agent.Modest)
	if err != nil {
		return err
	}
	var c tally
	if err := shm.Bind(s, &c); err != nil {
		return err
	}
	c.Count.Add(7)
	c.Alive.Set(7)
	fmt.Println("counted")
	return shmtest.Replies(func([]string) (string, error) { return "counted", nil })
})

// After a reboot the counts are there, no id in a cell is given out again, and an id that
// was never given out is no owner.
func TestCellsOfAnEarlierBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	p := shmtest.Start(t, counting, path)
	p.Expect("counted")
	p.Kill()
	region := agent.MapFile(t, path)
	h := agent.HeaderOf(region)
	s := shmtest.Opened(shm.Open(path, &shm.Options{ReadOnly: true}))(t)
	_, gauge := agent.Cells(t, s, "alive")
	header, count := agent.Cells(t, s, "count")
	owner := gauge(1).Owner.Load()
	h.NextID.Store(owner) // the counter's page is older than the cells
	header.High.Store(2)
	count(2).Owner.Store(1 << 29)
	agent.Away(h)

	var c tally
	again := shmtest.Opened(shm.Open(path, agent.Modest))(t)
	if err := shm.Bind(again, &c); err != nil {
		t.Fatal(err)
	}
	if n := c.Count.Load(); n != 7 {
		t.Errorf("the counter is %d", n)
	}
	if next, _ := h.NextID.Load(); next <= owner+1 {
		t.Errorf("the next id is %d, with the owner %d in a cell: it was given out again", next, owner)
	}
	if id := count(2).Owner.Load(); id != 0 {
		t.Errorf("an id that was never given out is an owner still: %d", id)
	}
	shmtest.Eventually(t, "the gauge of the earlier boot vanishes", func() bool { return c.Alive.Load() == 0 })
	c.Count.Add(1)
	c.Alive.Set(1)
	if c.Count.Load() != 8 || c.Alive.Load() != 1 || header.High.Load() != 2 {
		t.Errorf("the counter is %d, the gauge %d, %d cells were claimed", c.Count.Load(), c.Alive.Load(), header.High.Load())
	}
}

// A process that has no lease, because it has only looked so far, sees the gauges of the
// dead vanish too.
func TestGaugeSeenWithoutLease(t *testing.T) {
	s := shmtest.Opened(shm.Open(shmtest.Name(t), agent.Modest))(t)
	p := shmtest.Start(t, counting, s.Name())
	p.Expect("counted")
	e, _ := s.Lookup("alive")
	if n := e.Any(); n != int64(7) {
		t.Fatalf("the gauge is %v", n)
	}
	p.Kill()
	shmtest.Eventually(t, "the gauge of a dead process vanishes", func() bool { return e.Any() == int64(0) })
}
