package shmprom_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/shmprom"
	"example.org/shm/shmtest"
	dto "github.com/prometheus/client_model/go"
)

// The tests of this file are what users of the multiprocess mode of client_python report,
// each with real processes that are killed.

// served is what the processes of these tests share.
type served struct {
	Requests shm.Counter[int64] `shm:"requests"`
	Seconds  shm.Histogram      `shm:"seconds,bounds=1;2,unit=seconds"`
	Busy     shm.Gauge[int64]   `shm:"busy"`
	Done     shm.Atomic[int64]  `shm:"done"` // to tell the test
	Places   shm.Mutexes        `shm:"places,len=4"`
	Rows     shm.Table[row]     `shm:"rows,len=4"`
}

type row struct{ Jobs int64 }

func bind(s *shm.Segment) *served {
	b := &served{}
	if err := shm.Bind(s, b); err != nil {
		panic(err)
	}
	return b
}

// work is a worker that has answered 10 requests, does 5 at the moment, and never ends.
func work(s *shm.Segment) {
	b := bind(s)
	for range 10 {
		b.Requests.Add(1)
		b.Seconds.Observe(1.5)
	}
	b.Busy.Set(5)
	place, err := b.Places.LockAny(context.Background())
	if err != nil {
		panic(err)
	}
	b.Rows.Row(place).Store(row{int64(100 + place)})
	b.Done.Add(1)
	select {}
}

// started starts n workers, and waits until they are busy.
func started(t *testing.T, s *shm.Segment, b *served, n int) (all []*shmtest.Proc) {
	t.Helper()
	before := b.Done.Load()
	for range n {
		all = append(all, shmtest.Process(t, s, work))
	}
	for end := time.Now().Add(time.Minute); b.Done.Load() < before+int64(n); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the workers do not work")
		}
	}
	return all
}

// killed kills processes, and waits until the kernel has dropped their leases.
func killed(t *testing.T, s *shm.Segment, all []*shmtest.Proc, left int) {
	t.Helper()
	for _, p := range all {
		p.Kill()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		n := 0
		for p := range s.Processes() {
			if p.Alive() {
				n++
			}
		}
		if n == left {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes live, want %d", n, left)
		}
	}
}

// becomes scrapes until a series is want, and returns that scrape. A Gauge asks who lives
// every few milliseconds, so it may count a process for as long after its end.
func becomes(t *testing.T, c *shmprom.Collector, series string, want float64) []*dto.MetricFamily {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		families := gather(t, c)
		got := sample(t, families, series)
		if got == want {
			return families
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %v, want %v", series, got, want)
		}
	}
}

// Dead pid files: each process that ever was leaves files and series, until a scrape takes
// minutes. Here 60 processes come and are killed, and nothing is more than it was.
func TestNoFilesOfTheDead(t *testing.T) {
	s := open(t)
	b := bind(s)
	c := shmprom.New(s.Name(), nil)
	killed(t, s, started(t, s, b, 2), 1)
	series := len(strings.Split(openMetrics(t, false, gather(t, c)), "\n"))
	size := s.Size()
	const rounds, each = 10, 3
	for i := range rounds {
		killed(t, s, started(t, s, b, each), 1)
		families := gather(t, c)
		if got, want := sample(t, families, "requests_total"), float64(10*(2+each*(i+1))); got != want {
			t.Fatalf("%v requests, want %v", got, want)
		}
	}
	if now := len(strings.Split(openMetrics(t, false, gather(t, c)), "\n")); now != series {
		t.Errorf("%d lines of metrics, %d before the processes came", now, series)
	}
	files, err := os.ReadDir(filepath.Dir(s.Name()))
	if err != nil || len(files) != 1 || s.Size() != size {
		t.Errorf("files %v, %v; %d bytes, %d before", files, err, s.Size(), size)
	}
}

// Gauges of dead workers stay until somebody calls mark_process_dead. Here they vanish with
// the lease, in each mode, and so do the rows of dead owners.
func TestGaugesOfTheDeadVanish(t *testing.T) {
	s := open(t)
	b := bind(s)
	rules := func(mode shmprom.Mode) *shmprom.Options {
		return &shmprom.Options{Rule: func(s shmprom.Subject) shmprom.Rule {
			switch s.Entry.Name {
			case "busy":
				return shmprom.Rule{Each: mode}
			case "rows":
				return shmprom.Rule{Owners: "places"}
			}
			return shmprom.Rule{}
		}}
	}
	workers := started(t, s, b, 3)
	look := func(sum float64, living int, rows ...int) {
		t.Helper()
		families := becomes(t, shmprom.New(s.Name(), rules(shmprom.Sum)), "busy", sum)
		for i := range 4 {
			x, shown := find(families, fmt.Sprintf(`rows_jobs{row="%d"}`, i))
			if want := slices.Contains(rows, i); shown != want || shown && x != float64(100+i) {
				t.Errorf("row %d: %v, %v", i, x, shown)
			}
		}
		for _, mode := range []shmprom.Mode{shmprom.Min, shmprom.Max} {
			if x, ok := find(gather(t, shmprom.New(s.Name(), rules(mode))), "busy"); ok != (living > 0) || ok && x != 5 {
				t.Errorf("mode %d: %v, %v", mode, x, ok)
			}
		}
		text := openMetrics(t, true, gather(t, shmprom.New(s.Name(), rules(shmprom.All))))
		if got := strings.Count(text, "\nbusy{id="); got != living {
			t.Errorf("%d series of %d living processes:\n%s", got, living, text)
		}
	}
	look(15, 3, 0, 1, 2)
	killed(t, s, workers[1:2], 3)
	look(10, 2, slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return !b.owned(i) })...)
	killed(t, s, []*shmtest.Proc{workers[0], workers[2]}, 1)
	look(0, 0)
	if got := sample(t, gather(t, shmprom.New(s.Name(), nil)), fmt.Sprintf(`shm_segment_locks{segment=%q,state="dead"}`, s.Name())); got != 3 {
		t.Errorf("%v locks of the dead, want 3", got)
	}
}

// owned reports whether a living process has a place.
func (b *served) owned(i int) bool {
	p, ok := b.Places.Owner(i)
	return ok && p.Alive()
}

// Rates of 14,000 % after a restart: numbers fall when the files of a pid are removed, and
// come again as one jump. Here no counter ever falls, or grows by more than was counted.
func TestNoJumpAfterARestart(t *testing.T) {
	s := open(t)
	b := bind(s)
	c := shmprom.New(s.Name(), nil)
	last, most := 0.0, 0.0
	look := func() {
		t.Helper()
		families := gather(t, c)
		requests, seconds := sample(t, families, "requests_total"), sample(t, families, "seconds")
		if requests < last || requests > most || seconds > most {
			t.Errorf("%v requests after %v, %v observations; at most %v were made", requests, last, seconds, most)
		}
		last = requests
	}
	for range 4 {
		most += 20
		workers := started(t, s, b, 2)
		look()
		workers[0].Kill()
		look()
		workers[1].Stop() // a stopped process is not waited for
		look()
		killed(t, s, workers, 1)
		look()
	}
	if last != most {
		t.Errorf("%v requests, want %v", last, most)
	}
}

// Wiping the directory: it has to be emptied before each start, and whoever does so while
// processes live loses their numbers. Here nothing needs to be removed; a segment that was
// removed under a Collector is absent, and a new one counts from zero, as a counter may.
func TestRemovedAndMadeAnew(t *testing.T) {
	name := filepath.Join(t.TempDir(), "board")
	c := shmprom.New(name, nil)
	up := fmt.Sprintf("shm_segment_up{segment=%q}", name)
	if got := sample(t, gather(t, c), up); got != 0 {
		t.Errorf("before the segment exists up is %v", got)
	}
	for range 2 {
		s, err := shm.Open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := bind(s)
		workers := started(t, s, b, 1)
		families := gather(t, c)
		if got := sample(t, families, "requests_total"); got != 10 || sample(t, families, up) != 1 {
			t.Errorf("%v requests, want 10", got)
		}
		if err := shm.Remove(name); err != nil {
			t.Fatal(err)
		}
		families = gather(t, c)
		if _, there := find(families, "requests_total"); there || sample(t, families, up) != 0 {
			t.Error("a segment that was removed is shown")
		}
		killed(t, s, workers, 1)
		_ = s.Close()
	}
}

// A worker that is killed while it holds a lock, or is stopped, stops no scrape.
func TestScrapesWaitForNobody(t *testing.T) {
	s := open(t)
	b := bind(s)
	p := started(t, s, b, 1)[0]
	p.Stop()
	families := gather(t, shmprom.New(s.Name(), nil))
	if got := sample(t, families, "busy"); got != 5 {
		t.Errorf("the gauge of a stopped process is %v, want 5: it lives", got)
	}
	if got := sample(t, families, fmt.Sprintf(`shm_segment_locks{segment=%q,state="living"}`, s.Name())); got != 1 {
		t.Errorf("%v locks are held", got)
	}
	killed(t, s, []*shmtest.Proc{p}, 1)
	becomes(t, shmprom.New(s.Name(), nil), "busy", 0)
}
