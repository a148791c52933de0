package interop_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// sharedRow is a row, and a value of a ring. Twice is 2 * N.
type sharedRow struct {
	N     int64 `shm:"n"`
	Twice int64 `shm:"twice"`
}

// sharers is how many processes the storm of cells has.
const sharers = 6

// share counts, observes, appends and changes rows until it is killed. What is done it
// notes in its own number afterwards.
var share = shmtest.Helper("share", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	counter, err := shm.NewCounter[int64](s, "counter")
	if err != nil {
		return err
	}
	floats, err := shm.NewCounter[float64](s, "floats")
	if err != nil {
		return err
	}
	histogram, err := shm.NewHistogram(s, "histogram", []float64{1, 2, 3})
	if err != nil {
		return err
	}
	gauge, err := shm.NewGauge[int64](s, "gauge")
	if err != nil {
		return err
	}
	ring, err := shm.NewRing[sharedRow](s, "ring", 16)
	if err != nil {
		return err
	}
	table, err := shm.NewTable[sharedRow](s, "table", 4)
	if err != nil {
		return err
	}
	acks, err := shm.NewRawArray[int64](s, "acks", sharers)
	if err != nil {
		return err
	}
	who, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	reader, last := ring.Reader(), uint64(0)
	gauge.Set(1)
	for k := int64(0); ; k++ {
		counter.Add(1)
		floats.Add(0.5)
		histogram.Observe(float64(k % 5))
		ring.Append(sharedRow{k, 2 * k})
		table.Row(int(k % 4)).Update(func(x *sharedRow) {
			if x.Twice != 2*x.N {
				err = fmt.Errorf("a torn row: %v", *x)
			}
			x.N++
			x.Twice += 2
		})
		acks.Set(who, acks.Get(who)+1)
		x, seq, readErr := reader.Next(context.Background()) // its own value is there
		if readErr != nil || err != nil {
			return fmt.Errorf("%w, %w", readErr, err)
		}
		if x.Twice != 2*x.N || seq <= last {
			return fmt.Errorf("value %d of the ring after %d: %v", seq, last, x)
		}
		last = seq
		if k == 0 {
			fmt.Println("ready")
		}
	}
})

// Processes in all languages count, append and change rows, and are killed all the time.
// Each may have done once what it could not note any more. Nothing else is missing or too
// much, and nothing is torn.
func TestStormOfSharers(t *testing.T) {
	known := languages(t)
	name := shmtest.Name(t)
	s := shmtest.Opened(shm.Open(name, nil))(t)
	acks := shmtest.Must(shm.NewRawArray[int64](s, "acks", sharers))(t)
	table := shmtest.Must(shm.NewTable[sharedRow](s, "table", 4))(t)
	ring := shmtest.Must(shm.NewRing[sharedRow](s, "ring", 16))(t)
	counter := shmtest.Must(shm.NewCounter[int64](s, "counter"))(t)
	floats := shmtest.Must(shm.NewCounter[float64](s, "floats"))(t)
	histogram := shmtest.Must(shm.NewHistogram(s, "histogram", []float64{1, 2, 3}))(t)
	gauge := shmtest.Must(shm.NewGauge[int64](s, "gauge"))(t)
	victims, begin := startVictims(t, known, share, name, sharers)
	kills := make([]int64, len(known))
	for end := time.Now().Add(*shmtest.StormLength / 2); time.Now().Before(end); {
		time.Sleep(time.Duration(rand.IntN(int(8 * time.Millisecond))))
		i := rand.IntN(len(victims))
		if !victims[i].ready.Load() && rand.IntN(20) != 0 {
			continue
		}
		victims[i].Kill()
		kills[i%len(known)]++
		begin(i)
	}
	for i := range victims {
		victims[i].Kill()
		kills[i%len(known)]++
	}
	var done, killed int64
	for i, n := range acks.All() {
		t.Logf("in %s: %d rounds", known[i%len(known)].name, n)
		done += n
	}
	for _, n := range kills {
		killed += n
	}
	rows := int64(0)
	for i, x := range table.All() {
		if x.Twice != 2*x.N {
			t.Errorf("row %d is torn: %v", i, x)
		}
		rows += x.N
	}
	_, appended, _ := ring.Last()
	between := func(what string, n, least, more int64) {
		t.Helper()
		if n < least || n > least+more {
			t.Errorf("%s: %d; want %d and up to %d more", what, n, least, more)
		}
	}
	between("changes of rows", rows, done, killed)
	between("values of the ring", int64(appended), done, killed)
	counted := counter.Load()
	between("the counter", counted, done, killed)
	between("halves", int64(2*floats.Load()), done, killed)
	observed := int64(0)
	for _, n := range histogram.Load().Counts {
		observed += int64(n)
	}
	between("observations", observed, done, killed)
	shmtest.Eventually(t, "the gauges of the dead vanish", func() bool { return gauge.Load() == 0 })
	t.Logf("killed: %v; %d rounds; in flight: %d rows, %d values, %d counted, %d observed", kills, done, rows-done,
		int64(appended)-done, counted-done, observed-done)
}
