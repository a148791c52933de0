package shmprom_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/shm"
	"example.org/shm/shmprom"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

var update = flag.Bool("update", false, "write testdata/*.txt")

// open makes a segment in a file of the test.
func open(t *testing.T) *shm.Segment {
	t.Helper()
	s, err := shm.Open(filepath.Join(t.TempDir(), "board"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// gather returns what a registry that has only these Collectors makes of them. It checks
// more than one that serves does.
func gather(t *testing.T, all ...prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(all...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// openMetrics returns the metrics as a scrape gets them, those of the values alone if
// values is true.
func openMetrics(t *testing.T, values bool, families []*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	for _, f := range families {
		if values && strings.HasPrefix(f.GetName(), "shm_segment_") {
			continue
		}
		if _, err := expfmt.MetricFamilyToOpenMetrics(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// sample returns the number of a series, by its name and its labels in order, such as
// requests_total{segment="a"}.
func sample(t *testing.T, families []*dto.MetricFamily, series string) float64 {
	t.Helper()
	x, ok := find(families, series)
	if !ok {
		t.Fatalf("there is no %s in\n%s", series, openMetrics(t, false, families))
	}
	return x
}

func find(families []*dto.MetricFamily, series string) (float64, bool) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var pairs []string
			for _, l := range m.GetLabel() {
				pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName()
			if len(pairs) > 0 {
				name += "{" + strings.Join(pairs, ",") + "}"
			}
			if name != series {
				continue
			}
			switch {
			case m.Counter != nil:
				return m.Counter.GetValue(), true
			case m.Gauge != nil:
				return m.Gauge.GetValue(), true
			case m.Untyped != nil:
				return m.Untyped.GetValue(), true
			case m.Histogram != nil:
				return float64(m.Histogram.GetSampleCount()), true
			}
		}
	}
	return 0, false
}

// limits is a struct of the tests.
type limits struct {
	MaxConns int32
	Debug    bool
	Name     [8]byte `shm:"name,char"`
	Inner    struct{ HTTPCode uint16 }
	Pair     [2]int16
}

// worker is a row of the tests.
type worker struct {
	ServedTotal uint64
	Queue       int32
	Name        [8]byte `shm:"name,char"`
}

// board is the values of the tests.
type board struct {
	Requests shm.Counter[uint64]      `shm:"requests,unit=requests,help=answered since the start"`
	Busy     shm.Counter[float64]     `shm:"busy,unit=s"`
	Waited   shm.Value[time.Duration] `shm:"waited"`
	Started  shm.RawValue[int64]      `shm:"started,hint=time"`
	Hits     shm.Atomic[uint64]       `shm:"hits_total"`
	Errors   shm.Atomic[uint32]       `shm:"errors,hint=counter"`
	Load     shm.Value[float64]       `shm:"load,help=of the last minute; \"1\" is a core"`
	Cache    shm.RawValue[int64]      `shm:"cacheSize,unit=MiB,hint=gauge"`
	Used     shm.Value[float32]       `shm:"used,unit=%,hint=gauge"`
	Queue    shm.Gauge[int64]         `shm:"queue"`
	Latency  shm.Histogram            `shm:"latency,bounds=1;10;100,unit=ms"`
	Config   shm.Struct[limits]       `shm:"config"`
	Samples  shm.Array[int32]         `shm:"samples,len=2"`
	Workers  shm.Table[worker]        `shm:"workers,len=3"`
	Places   shm.Mutexes              `shm:"places,len=3"`
	Version  shm.String               `shm:"version,len=16"`
	Lock     *shm.Mutex               `shm:"lock"`
	Odd      shm.RawStruct[complex64] `shm:"odd"`
	Events   shm.Ring[int64]          `shm:"events,len=4"`
}

// filled makes a board with a number of each kind.
func filled(t *testing.T) (*shm.Segment, *board) {
	t.Helper()
	s, b := open(t), &board{}
	if err := shm.Bind(s, b); err != nil {
		t.Fatal(err)
	}
	b.Requests.Add(41)
	b.Busy.Add(1.5)
	b.Waited.Store(1500 * time.Millisecond)
	b.Started.Set(1750000000e9)
	b.Hits.Store(3)
	b.Errors.Store(4)
	b.Load.Store(0.25)
	b.Cache.Set(2)
	b.Used.Store(50)
	b.Queue.Set(-7)
	for _, x := range []float64{0.5, 5, 7, 1000} {
		b.Latency.Observe(x)
	}
	b.Config.Store(limits{MaxConns: 8, Debug: true, Name: [8]byte{'a'}, Pair: [2]int16{1, -2}})
	b.Samples.Store(1, 9)
	for i := range b.Workers.Len() {
		b.Workers.Row(i).Store(worker{uint64(10 * (i + 1)), int32(i), [8]byte{'w', byte('a' + i)}})
	}
	if err := b.Version.Store("2.1"); err != nil {
		t.Fatal(err)
	}
	return s, b
}

// golden compares a text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it):\n%s\nwant\n%s", file, got, want)
	}
}

// TestKinds compares what becomes of each kind of value with testdata/kinds.txt.
func TestKinds(t *testing.T) {
	s, _ := filled(t)
	families := gather(t, shmprom.New(s.Name(), nil))
	golden(t, "kinds", openMetrics(t, true, families))
	for series, want := range map[string]float64{"up": 1, "values": 19, "processes": 1, "left_out": 2, "bytes": float64(s.Size())} {
		if got := sample(t, families, fmt.Sprintf("shm_segment_%s{segment=%q}", series, s.Name())); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

// TestRules compares what rules make of the values with testdata/rules.txt.
func TestRules(t *testing.T) {
	s, b := filled(t)
	b.Places.At(1).Lock()
	defer b.Places.At(1).Unlock()
	o := &shmprom.Options{
		Namespace: "app", Labels: prometheus.Labels{"zone": "eu"},
		Rule: func(s shmprom.Subject) shmprom.Rule {
			switch s.Entry.Name + "." + s.Field {
			case "requests.":
				return shmprom.Rule{Name: "answers", Unit: "answers", Labels: prometheus.Labels{"code": "ok"}}
			case "errors.":
				return shmprom.Rule{Name: "answers", Unit: "answers", Labels: prometheus.Labels{"code": "error"}, Help: "not used: the first one is"}
			case "hits_total.", "samples.":
				return shmprom.Rule{}
			case "load.":
				return shmprom.Rule{Type: shmprom.Gauge, Help: "Cores in use.", Unit: "cores"}
			case "queue.":
				return shmprom.Rule{Each: shmprom.Max}
			case "version.":
				return shmprom.Rule{Info: true}
			case "config.":
				return shmprom.Rule{FieldLabel: "setting", Type: shmprom.Gauge}
			case "config.Pair", "config.Debug":
				return shmprom.Rule{Skip: true}
			case "workers.":
				return shmprom.Rule{RowLabel: "worker", RowName: "name", Owners: "places"}
			case "workers.Queue":
				return shmprom.Rule{Type: shmprom.Gauge, Name: "worker_queue", Unit: "jobs"}
			case "workers.ServedTotal", "workers.name", "config.MaxConns", "config.Inner", "config.Inner.HTTPCode", "config.name":
				return shmprom.Rule{}
			}
			return shmprom.Rule{Skip: true}
		},
	}
	golden(t, "rules", openMetrics(t, true, gather(t, shmprom.Of(s, o))))
}

// TestMaxSeries counts what is shown of one value, and what is left out, also of values that
// consist of several levels.
func TestMaxSeries(t *testing.T) {
	s := open(t)
	rows, err := shm.NewTable[struct{ A, B [3]int32 }](s, "rows", 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shm.NewRawArray[int64](s, "numbers", 40); err != nil {
		t.Fatal(err)
	}
	if _, err := shm.NewRawValue(s, "one", int64(1)); err != nil {
		t.Fatal(err)
	}
	families := gather(t, shmprom.Of(s, &shmprom.Options{MaxSeries: 25}))
	shown := map[string]int{}
	for _, f := range families {
		name, _, _ := strings.Cut(f.GetName(), "_")
		shown[name] += len(f.GetMetric())
	}
	if shown["rows"] != 25 || shown["numbers"] != 25 || shown["one"] != 1 {
		t.Error(shown)
	}
	want := float64(rows.Len()*6 - 25 + 40 - 25)
	if left := sample(t, families, fmt.Sprintf("shm_segment_left_out{segment=%q}", s.Name())); left != want {
		t.Errorf("%v are left out, want %v", left, want)
	}
}

// TestOfUnnamed shows a segment without a name until it is closed.
func TestOfUnnamed(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shm.NewRawValue(s, "x", 2.5); err != nil {
		t.Fatal(err)
	}
	c := shmprom.Of(s, nil)
	families := gather(t, c)
	if sample(t, families, "x") != 2.5 || sample(t, families, `shm_segment_up{segment=""}`) != 1 {
		t.Error(openMetrics(t, false, families))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	families = gather(t, c)
	if _, there := find(families, "x"); there || sample(t, families, `shm_segment_up{segment=""}`) != 0 {
		t.Error(openMetrics(t, false, families))
	}
}

// TestModes checks the numbers that are made of several.
func TestModes(t *testing.T) {
	s, _ := filled(t)
	for mode, want := range map[shmprom.Mode][3]float64{shmprom.Sum: {9, 60, 3}, shmprom.Min: {0, 10, 0}, shmprom.Max: {9, 30, 2}} {
		o := &shmprom.Options{Rule: func(shmprom.Subject) shmprom.Rule { return shmprom.Rule{Each: mode} }}
		families := gather(t, shmprom.New(s.Name(), o))
		for i, series := range []string{"samples", "workers_served_total", "workers_queue"} {
			if got := sample(t, families, series); got != want[i] {
				t.Errorf("mode %v: %s is %v, want %v", mode, series, got, want[i])
			}
		}
		if got := sample(t, families, "queue"); got != -7 {
			t.Errorf("mode %v: the queue is %v", mode, got)
		}
	}
	o := &shmprom.Options{Rule: func(shmprom.Subject) shmprom.Rule { return shmprom.Rule{Each: shmprom.All} }}
	families := gather(t, shmprom.New(s.Name(), o))
	var id uint32
	for p := range s.Processes() {
		id = p.ID
	}
	if got := sample(t, families, fmt.Sprintf(`queue{id="%d",pid="%d",program=%q}`, id, os.Getpid(), filepath.Base(os.Args[0]))); got != -7 {
		t.Errorf("the queue of this process is %v", got)
	}
}

// TestConflicts makes values whose names would contradict each other as metrics. The
// registry refuses none, and each number is to be found.
func TestConflicts(t *testing.T) {
	s := open(t)
	names := []string{"a.b", "a_b", "a-b", "A_B", "latency_count", "latency", "n_total", "n", "n_created", "ünï", "é", "", "1", "_", "__name__", "x]{}\"=", strings.Repeat("x", 200)}
	want := map[float64]bool{}
	for i, name := range names {
		if name == "" {
			continue
		}
		x := float64(i + 1000)
		want[x] = true
		if name == "latency" {
			h, err := shm.NewHistogram(s, name, []float64{1})
			if err != nil {
				t.Fatal(err)
			}
			for range 1000 + i {
				h.Observe(0)
			}
			continue
		}
		if _, err := shm.NewRawValue(s, name, x); err != nil {
			t.Fatal(err)
		}
	}
	families := gather(t, shmprom.New(s.Name(), nil))
	text := openMetrics(t, true, families)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, x := range []float64{m.GetUntyped().GetValue(), m.GetCounter().GetValue(), float64(m.GetHistogram().GetSampleCount())} {
				delete(want, x)
			}
		}
	}
	if left := sample(t, families, fmt.Sprintf("shm_segment_left_out{segment=%q}", s.Name())); len(want) > 0 || left != 0 {
		t.Errorf("%v are missing, %v left out:\n%s", want, left, text)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
}

// TestLabelsOfAllSeries gives all series labels of which the values have some as well.
func TestLabelsOfAllSeries(t *testing.T) {
	s := open(t)
	a, err := shm.NewArray[int32](s, "a", 2)
	if err != nil {
		t.Fatal(err)
	}
	a.Store(1, 6)
	families := gather(t, shmprom.New(s.Name(), &shmprom.Options{Labels: prometheus.Labels{"segment": "x", "index": "y"}}))
	for series, want := range map[string]float64{
		`a{index="y",index_="1",segment="x"}`:                                            float64(a.Load(1)),
		fmt.Sprintf(`shm_segment_up{index="y",segment="x",segment_=%q}`, s.Name()):       1,
		fmt.Sprintf(`shm_segment_left_out{index="y",segment="x",segment_=%q}`, s.Name()): 0,
	} {
		if got := sample(t, families, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

// TestMany shows two segments with the same values, of which one is of another type, and
// one that cannot be read.
func TestMany(t *testing.T) {
	a, _ := filled(t)
	b := open(t)
	if _, err := shm.NewAtomic[int64](b, "queue", 5); err != nil {
		t.Fatal(err)
	}
	c, err := shm.NewCounter[uint64](b, "requests")
	if err != nil {
		t.Fatal(err)
	}
	c.Add(1)
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	list := func() ([]string, error) { return []string{a.Name(), b.Name(), junk, "/absent"}, nil }
	families := gather(t, shmprom.NewMany(list, nil))
	for series, want := range map[string]float64{
		fmt.Sprintf("requests_total{segment=%q}", b.Name()):      1,
		fmt.Sprintf("queue{segment=%q}", a.Name()):               -7,
		fmt.Sprintf("shm_segment_up{segment=%q}", a.Name()):      1,
		fmt.Sprintf("shm_segment_up{segment=%q}", junk):          0,
		fmt.Sprintf("shm_segment_up{segment=%q}", "/absent"):     0,
		fmt.Sprintf("requests_requests_total{segment=%q}", "no"): math.NaN(),
	} {
		if got, ok := find(families, series); ok == math.IsNaN(want) || ok && got != want {
			t.Errorf("%s is %v, %v; want %v", series, got, ok, want)
		}
	}
	if got := sample(t, families, fmt.Sprintf("queue_unknown{segment=%q}", b.Name())); got != 5 {
		t.Errorf("the other queue is %v", got)
	}
	failing := prometheus.NewRegistry()
	failing.MustRegister(shmprom.NewMany(func() ([]string, error) { return nil, os.ErrPermission }, nil))
	if _, err := failing.Gather(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("an error of list: %v", err)
	}
}

// TestDisturbsNobody checks that a scrape changes no byte, takes no lease, waits for no
// lock, and keeps no memory.
func TestDisturbsNobody(t *testing.T) {
	s, b := filled(t)
	before, err := os.ReadFile(s.Name())
	if err != nil {
		t.Fatal(err)
	}
	c := shmprom.New(s.Name(), nil)
	first := openMetrics(t, false, gather(t, c))
	if after, err := os.ReadFile(s.Name()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a scrape changed the segment: %v", err)
	}
	b.Config.Mutex().Lock()
	if got := sample(t, gather(t, c), fmt.Sprintf(`shm_segment_locks{segment=%q,state="living"}`, s.Name())); got != 1 {
		t.Errorf("%v locks are held", got)
	}
	b.Config.Mutex().Unlock()
	if again := openMetrics(t, false, gather(t, c)); again != first {
		t.Errorf("a second scrape differs:\n%s\n%s", first, again)
	}
	other := open(t)
	if _, err := shm.NewRawValue(other, "n", 1.0); err != nil { // takes no lease
		t.Fatal(err)
	}
	gather(t, shmprom.New(other.Name(), nil))
	if leased, err := other.Leased(); leased || err != nil {
		t.Errorf("after a scrape somebody has a lease: %v, %v", leased, err)
	}
	for end := time.Now().Add(time.Minute); ; {
		runtime.GC()
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`r--s .*` + regexp.QuoteMeta(s.Name())).Match(maps) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after a scrape a mapping is left:\n%s", maps)
		}
	}
}

// TestDamaged checks that what precedes damage is shown, and that up says so.
func TestDamaged(t *testing.T) {
	s, _ := filled(t)
	var third shm.Entry
	n := 0
	for e := range s.Entries() {
		if n++; n == 3 {
			third = e
		}
	}
	f, err := os.OpenFile(s.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The record of a value is in front of its data.
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, 64), third.Offset-128); err != nil {
		t.Fatal(err)
	}
	families := gather(t, shmprom.New(s.Name(), nil))
	if got := sample(t, families, fmt.Sprintf("shm_segment_up{segment=%q}", s.Name())); got != 0 {
		t.Errorf("up is %v", got)
	}
	if got := sample(t, families, "requests_total"); got != 41 {
		t.Errorf("what precedes the damage is %v", got)
	}
}
