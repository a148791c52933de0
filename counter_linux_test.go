package shm_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/internal/shmtest"
)

// meter is values with a cell for each process.
type meter struct {
	Done shm.Counter[int64]    `shm:"done,unit=jobs"`
	Busy shm.Gauge[float64]    `shm:"busy"`
	Took shm.Histogram         `shm:"took,unit=s,bounds=0.1;0.5;1"`
	Idle shm.Counter[duration] `shm:"idle"`
}

type duration = time.Duration

// metered does what it is told with a meter: "count N", "set X", "observe X", "load".
var metered = shmtest.Helper("metered", func(args []string) error {
	s, err := shm.Open(args[0], nil)
	if err != nil {
		return err
	}
	var m meter
	if err := shm.Bind(s, &m); err != nil {
		return err
	}
	return shmtest.Replies(func(words []string) (string, error) {
		var n float64
		_, err := fmt.Sscan(words[1], &n)
		switch words[0] {
		case "count":
			for range int(n) {
				m.Done.Add(1)
			}
		case "set":
			m.Busy.Set(n)
		case "observe":
			m.Took.Observe(n)
		}
		return "done", err
	})
})

// What a dead process has counted stays, once, and goes over to the next process. Its
// gauge vanishes.
func TestCellsOfDeadProcesses(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	ro := open(t, name, nil)
	var m, seen meter
	if err := errors.Join(shm.Bind(s, &m), shm.Bind(ro, &seen)); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Busy.Min(); ok || m.Busy.Load() != 0 {
		t.Error("a gauge counts before the first Set")
	}
	m.Busy.Set(0.5)
	m.Done.Add(1)
	for i := range 5 {
		p := shmtest.Start(t, metered, name)
		p.Do("count 1000", "done")
		p.Do("set 2", "done")
		p.Do("observe 0.5", "done")
		if got := m.Busy.Load(); got != 2.5 {
			t.Errorf("the gauge is %v, want 2.5", got)
		}
		low, _ := seen.Busy.Min()
		high, ok := seen.Busy.Max()
		if low != 0.5 || high != 2 || !ok {
			t.Errorf("gauges from %v to %v", low, high)
		}
		pids := map[int]float64{}
		for process, x := range m.Busy.All() {
			pids[process.Pid] = x
		}
		if len(pids) != 2 || pids[os.Getpid()] != 0.5 || pids[p.Pid()] != 2 {
			t.Errorf("gauges by pids: %v, want 0.5 of %d and 2 of %d", pids, os.Getpid(), p.Pid())
		}
		p.Kill()
		shmtest.Eventually(t, "the gauge of the dead vanishes", func() bool { return m.Busy.Load() == 0.5 })
		want := int64(1000*(i+1) + 1)
		if got := m.Done.Load(); got != want || seen.Done.Load() != want {
			t.Errorf("after %d processes of 1000 the counter is %d", i+1, got)
		}
		if got := m.Took.Load(); got.Counts[1] != uint64(i+1) || got.Sum != 0.5*float64(i+1) {
			t.Errorf("after %d observations: %v", i+1, got)
		}
	}
	// The cells were inherited: this process has one, and all others had one in turn.
	e, _ := s.Lookup("done")
	high := make([]byte, 8)
	if _, err := s.File().ReadAt(high, e.Offset-128); err != nil || high[0]+high[7] > 2 {
		t.Errorf("%v: six processes, one after the other, have claimed %v cells", err, high)
	}
}

func checkCounter[T shm.CounterNumber](t *testing.T, one, sum T) {
	t.Helper()
	name := shmtest.Name(t)
	s := open(t, name, nil)
	c, g := shmtest.Must(shm.NewCounter[T](s, "c"))(t), shmtest.Must(shm.NewGauge[T](s, "g"))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	readC, readG := shmtest.Must(shm.NewCounter[T](ro, "c"))(t), shmtest.Must(shm.NewGauge[T](ro, "g"))(t)
	if c.Load() != 0 || readG.Load() != 0 {
		t.Errorf("%T: not 0 at first", one)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			again := shmtest.Must(shm.NewCounter[T](s, "c"))(t)
			for range 250 {
				again.Add(one)
				g.Add(one)
			}
		})
	}
	wg.Wait()
	c.Add(sum)
	g.Add(sum)
	want := 1000*one + sum
	if c.Load() != want || readC.Load() != want || g.Load() != want || readG.Load() != want {
		t.Errorf("%T: %v, %v, %v and %v, want %v", one, c.Load(), readC.Load(), g.Load(), readG.Load(), want)
	}
	for _, name := range []string{"c", "g"} {
		e, _ := ro.Lookup(name)
		if got := e.Any(); !reflect.DeepEqual(got, reflect.ValueOf(want).Convert(reflect.TypeOf(got)).Interface()) || e.Text() != fmt.Sprint(got) {
			t.Errorf("%T: Any is %v, Text %s, want %v", one, got, e.Text(), want)
		}
		e, _ = s.Lookup(name)
		if err := e.Parse("1"); err == nil || !strings.Contains(err.Error(), "cannot be set from a text") {
			t.Errorf("%T: Parse: %v", one, err)
		}
	}
	for what, f := range map[string]func(){"Counter.Add": func() { readC.Add(one) }, "Gauge.Add": func() { readG.Add(one) }, "Gauge.Set": func() { readG.Set(one) }} {
		if err, _ := shmtest.Panic(f).(error); !errors.Is(err, shm.ErrReadOnly) {
			t.Errorf("%T: %s in a read-only attachment: %v", one, what, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.Add(one)
	g.Set(one)
	if readC.Load() != want+one || readG.Load() != one {
		t.Errorf("%T: after Close %v and %v", one, readC.Load(), readG.Load())
	}
}

func TestCounterAndGauge(t *testing.T) {
	checkCounter[int64](t, 3, -5)
	checkCounter[uint64](t, 3, math.MaxUint64)
	checkCounter(t, 0.25, -7.5)
	checkCounter(t, time.Second, -time.Hour)
}

// A counter works where its first Add comes after Close.
func TestCounterAfterClose(t *testing.T) {
	name := shmtest.Name(t)
	s, other := open(t, name, nil), shmtest.Opened(shm.Anonymous(nil))(t)
	c := shmtest.Must(shm.NewCounter[uint64](s, "c"))(t)
	h := shmtest.Must(shm.NewHistogram(other, "h", []float64{1}))(t)
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	c.Add(7)
	h.Observe(7)
	if got := shmtest.Must(shm.NewCounter[uint64](open(t, name, nil), "c"))(t).Load(); got != 7 {
		t.Errorf("the counter is %d", got)
	}
	if got := h.Load().Counts; got[1] != 1 {
		t.Errorf("the histogram is %v", got)
	}
}

func TestHistogram(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	for n := 1; n < 40; n++ {
		bounds := make([]float64, n)
		for i := range bounds {
			bounds[i] = float64(i * i)
		}
		h := shmtest.Must(shm.NewHistogram(s, fmt.Sprint(n), bounds))(t)
		want := shm.HistogramData{Bounds: bounds, Counts: make([]uint64, n+1)}
		for _, b := range append(bounds, -1, 1e9) {
			for _, x := range []float64{b, b + 0.5, math.Nextafter(b, math.Inf(1)), math.Nextafter(b, math.Inf(-1))} {
				h.Observe(x)
				want.Counts[sort.SearchFloat64s(bounds, x)]++
				want.Sum += x
			}
		}
		if got := shmtest.Must(shm.NewHistogram(s, fmt.Sprint(n), nil))(t).Load(); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d bounds: have %v, want %v", n, got, want)
		}
	}
	h := shmtest.Must(shm.NewHistogram(s, "h", []float64{1, 2.5}))(t)
	h.Observe(1)
	h.Observe(math.Inf(-1))
	e, _ := s.Lookup("h")
	if got := e.Text(); got != "{bounds: [1, 2.5], counts: [2, 0, 0], sum: -Inf}" {
		t.Errorf("the text is %s", got)
	}
	if err := e.Parse("{sum: 1}"); err == nil {
		t.Error("Parse sets a histogram")
	}
	h.Observe(math.Inf(1))
	h.Observe(math.NaN())
	if d := h.Load(); d.Counts[2] != 2 || !math.IsNaN(d.Sum) {
		t.Errorf("with infinities and NaN: %v", d)
	}
}

// What is not as asked for is refused, in words of Go.
func TestCellsRefused(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	shmtest.Must(shm.NewAtomic(s, "atomic", int64(0)))(t)
	shmtest.Must(shm.NewCounter[int64](s, "counter"))(t)
	shmtest.Must(shm.NewHistogram(s, "histogram", []float64{1, 2}))(t)
	ro := open(t, name, &shm.Options{ReadOnly: true})
	many := make([]float64, 1025)
	for i := range many {
		many[i] = float64(i)
	}
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"name":      {shmtest.Error(shm.NewCounter[int64](s, "atomic")), "is an Atomic[int64] made by"},
		"wanted":    {shmtest.Error(shm.NewAtomic(s, "counter", int64(0))), "is a Counter[int64] made by"},
		"gauge":     {shmtest.Error(shm.NewGauge[int64](s, "counter")), "wanted a Gauge[int64]"},
		"type":      {shmtest.Error(shm.NewCounter[float64](s, "counter")), "wanted a Counter[float64]"},
		"fewer":     {shmtest.Error(shm.NewHistogram(s, "histogram", []float64{1})), "is a Histogram of 2 bounds made by"},
		"other":     {shmtest.Error(shm.NewHistogram(s, "histogram", []float64{1, 3})), "bound 1 is 2, wanted 3"},
		"none":      {shmtest.Error(shm.NewHistogram(s, "new", []float64{})), "no bounds"},
		"missing":   {shmtest.Error(shm.NewHistogram(s, "new", nil)), "no bounds were given"},
		"NaN":       {shmtest.Error(shm.NewHistogram(s, "new", []float64{1, math.NaN()})), "bound 1 is NaN"},
		"infinite":  {shmtest.Error(shm.NewHistogram(s, "new", []float64{math.Inf(-1), 1})), "bound 0 is -Inf"},
		"unsorted":  {shmtest.Error(shm.NewHistogram(s, "new", []float64{2, 1})), "bounds ascend"},
		"twice":     {shmtest.Error(shm.NewHistogram(s, "new", []float64{1, 1})), "bounds ascend"},
		"too many":  {shmtest.Error(shm.NewHistogram(s, "new", many)), "at most 1024"},
		"read-only": {shmtest.Error(shm.NewCounter[int64](ro, "new")), "read-only"},
		"bind": {shm.Bind(s, &struct {
			H shm.Histogram `shm:"h,bounds=1;x"`
		}{}), "numbers with semicolons"},
		"bind order": {shm.Bind(s, &struct {
			H shm.Histogram `shm:"h,bounds=2;1"`
		}{}), "bounds ascend"},
		"bind bounds": {shm.Bind(s, &struct {
			C shm.Counter[int64] `shm:"h,bounds=1"`
		}{}), "which has no bounds"},
		"bind length": {shm.Bind(s, &struct {
			H shm.Histogram `shm:"h,len=1"`
		}{}), "which has no length"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, c.err, c.want)
		}
	}
	if _, made := s.Lookup("new"); made {
		t.Error("an error has made a value")
	}
	if h := shmtest.Must(shm.NewHistogram(ro, "histogram", nil))(t); !errors.Is(shmtest.Panic(func() { h.Observe(1) }).(error), shm.ErrReadOnly) {
		t.Error("Observe in a read-only attachment")
	}
}

// Bounds that another program has damaged are a format error, not a wrong count.
func TestDamagedBounds(t *testing.T) {
	name := shmtest.Name(t)
	s := open(t, name, nil)
	h := shmtest.Must(shm.NewHistogram(s, "h", []float64{1, 2}))(t)
	e, _ := s.Lookup("h")
	for _, damage := range [][]byte{{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, {0, 0, 0, 0, 0, 0, 0x10, 0x40}} { // NaN, 4
		if _, err := s.File().WriteAt(damage, e.Offset-128); err != nil {
			t.Fatal(err)
		}
		if _, err := shm.NewHistogram(s, "h", nil); !errors.Is(err, shm.ErrFormat) {
			t.Errorf("the bounds %x: %v", damage, err)
		}
		if err, _ := e.Any().(error); !errors.Is(err, shm.ErrFormat) {
			t.Errorf("the bounds %x: %v", damage, e.Any())
		}
		h.Observe(1.5) // with its own copy
	}
	if got := h.Load().Counts; !reflect.DeepEqual(got, []uint64{0, 2, 0}) {
		t.Errorf("counts %v", got)
	}
}

// What the directory says of values with cells, also of those that Bind makes.
func TestCellEntries(t *testing.T) {
	s := open(t, shmtest.Name(t), nil)
	var m meter
	if err := shm.Bind(s, &m); err != nil {
		t.Fatal(err)
	}
	for e := range s.Entries() {
		want := map[string]string{"done": "Counter[int64] counter", "busy": "Gauge[float64] gauge", "took": "Histogram ", "idle": "Counter[int64] duration"}[e.Name]
		if got := e.Type() + " " + e.Hint; got != want {
			t.Errorf("%s is a %s, want %s", e.Name, got, want)
		}
	}
}
