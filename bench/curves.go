package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/c"
)

// curve is a figure of this library as something grows.
type curve struct {
	Key    string  `json:"key"`
	Title  string  `json:"title"`
	Grows  string  `json:"grows"` // what grows
	Series []serie `json:"series"`
	steps  []int
	bytes  bool // what grows is bytes

	// measure returns a figure for each series.
	measure func(k *course, n int) ([]float64, error)
}

// serie is one line of a curve.
type serie struct {
	Name   string  `json:"name"`
	Unit   unit    `json:"unit"`
	Points []point `json:"points"`
}

type point struct {
	N int     `json:"n"`
	Y float64 `json:"y"`
}

// unit is how a figure is written.
type unit string

const (
	nanoseconds unit = "ns"
	perSecond   unit = "1/s"
	share       unit = "of the mean"
	cpu         unit = "ms of CPU a second"
)

func (u unit) write(y float64) string {
	switch u {
	case nanoseconds:
		return duration(y)
	case perSecond:
		return significant(y/1e6) + " M/s"
	case share:
		return fmt.Sprintf("%.2f", y)
	}
	return significant(y) + " ms/s"
}

// course is a run of the curves.
type course struct {
	ctx  context.Context
	dir  string
	span time.Duration // of a measurement that lasts
	own  string        // this program
}

func curves() []*curve {
	return []*curve{
		{
			Key: "processes", Title: "Processes that add to one Value", Grows: "processes",
			Series: []serie{{Name: "additions a second, all together", Unit: perSecond}, {Name: "least share", Unit: share}},
			steps:  []int{1, 2, 4, 8, 16, 32, 64}, measure: (*course).processes,
		}, {
			Key: "awaiting", Title: "Goroutines that await one value, until they run after a change", Grows: "goroutines",
			Series: []serie{{Name: "the first runs", Unit: nanoseconds}, {Name: "all have run", Unit: nanoseconds}},
			steps:  []int{1, 10, 100, 1000, 5000, 10_000, 20_000}, measure: (*course).awaiting,
		}, {
			Key: "idle", Title: "Goroutines that await a value each, while nothing changes", Grows: "goroutines",
			Series: []serie{{Name: "CPU", Unit: cpu}},
			steps:  []int{1, 10, 100, 1000, 2000, 5000, 10_000, 20_000}, measure: (*course).idle,
		}, {
			Key: "values", Title: "Values in a segment, seen by a process that attaches", Grows: "values",
			Series: []serie{{Name: "Open", Unit: nanoseconds}, {Name: "the first value found", Unit: nanoseconds}, {Name: "100 others, each", Unit: nanoseconds}, {Name: "the same again, each", Unit: nanoseconds}},
			steps:  []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}, measure: (*course).values,
		}, {
			Key: "structs", Title: "Struct of this size", Grows: "bytes", bytes: true,
			Series: []serie{{Name: "LoadTo", Unit: nanoseconds}, {Name: "StoreFrom", Unit: nanoseconds}, {Name: "a plain copy", Unit: nanoseconds}},
			steps:  []int{8, 64, 512, 4 << 10, 32 << 10, 256 << 10, 1 << 20}, measure: (*course).structs,
		}, {
			Key: "attached", Title: "Processes that have the segment attached", Grows: "other processes",
			Series: []serie{{Name: "Alive, which asks whether one lives", Unit: nanoseconds}, {Name: "Processes, which lists them", Unit: nanoseconds}},
			steps:  []int{1, 10, 100, 500, 1000, 5000}, measure: (*course).attached,
		},
	}
}

// each measures all steps of a curve up to a limit.
func (k *course) each(cu *curve, most int) error {
	for _, n := range cu.steps {
		if n > most {
			break
		}
		fmt.Fprintf(os.Stderr, "\r%-60s", fmt.Sprintf("%s: %d", cu.Title, n))
		ys, err := cu.measure(k, n)
		if err != nil {
			return fmt.Errorf("%s, %d %s: %w", cu.Title, n, cu.Grows, err)
		}
		for i, y := range ys {
			cu.Series[i].Points = append(cu.Series[i].Points, point{n, y})
		}
	}
	return nil
}

// fresh returns an empty directory below the one of the run.
func (k *course) fresh() (string, error) { return os.MkdirTemp(k.dir, "") }

// start starts a worker of this program.
func (k *course) start(name, dir string) (*worker, error) {
	return startWorker(exec.CommandContext(k.ctx, k.own, "worker", name, dir))
}

// quiet ends a worker that does nothing any more.
func quiet(w *worker) {
	_ = w.in.Close()
	w.kill()
}

// processes returns the rate of n processes together, and the least share of the mean.
func (k *course) processes(n int) ([]float64, error) {
	dir, err := k.fresh()
	if err != nil {
		return nil, err
	}
	s, err := shm.Open(segmentIn(dir), nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var v contested
	if err := shm.Bind(s, &v); err != nil {
		return nil, err
	}
	var all []*worker
	defer func() {
		for _, w := range all {
			quiet(w)
		}
	}()
	for range n {
		w, err := k.start("contender", dir)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
		if err := w.say("go"); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	v.Run.Store(1)
	time.Sleep(2 * k.span)
	v.Run.Store(2)
	took := time.Since(begin)
	var counts []int64
	total := int64(0)
	for _, w := range all {
		got, err := w.numbers()
		if err != nil {
			return nil, err
		}
		counts = append(counts, got[0])
		total += got[0]
	}
	if sum := v.Count.Load(); sum != total {
		return nil, fmt.Errorf("%d additions counted %d", total, sum)
	}
	return []float64{float64(total) / took.Seconds(), float64(slices.Min(counts)) * float64(n) / float64(total)}, nil
}

// awaiting returns the time from a change in this process until the first and the last of n
// goroutines of another process run that await it: the medians of some changes.
func (k *course) awaiting(n int) ([]float64, error) {
	dir, err := k.fresh()
	if err != nil {
		return nil, err
	}
	s, err := shm.Open(segmentIn(dir), nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	v, err := shm.NewValue(s, "v0", int64(0))
	if err != nil {
		return nil, err
	}
	w, err := k.start("crowd", dir)
	if err != nil {
		return nil, err
	}
	defer quiet(w)
	var first, last []float64
	for range 7 {
		if err := w.say(fmt.Sprint("one ", n)); err != nil {
			return nil, err
		}
		if line, err := w.hear(time.Minute); err != nil || line != "waiting" {
			return nil, fmt.Errorf("it says %q: %w", line, err)
		}
		at := now()
		v.Add(1)
		woke, err := w.numbers()
		if err != nil {
			return nil, err
		}
		first, last = append(first, float64(woke[0]-at)), append(last, float64(woke[1]-at))
	}
	return []float64{median(first), median(last)}, nil
}

// idle returns the CPU time a second of a process with n goroutines that await a value each.
func (k *course) idle(n int) ([]float64, error) {
	dir, err := k.fresh()
	if err != nil {
		return nil, err
	}
	w, err := k.start("crowd", dir)
	if err != nil {
		return nil, err
	}
	defer quiet(w)
	if err := w.say(fmt.Sprint("each ", n)); err != nil {
		return nil, err
	}
	if line, err := w.hear(time.Minute); err != nil || line != "waiting" {
		return nil, fmt.Errorf("it says %q: %w", line, err)
	}
	time.Sleep(k.span) // the first looks come soon after each other
	before, err := w.ask("cpu")
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * k.span)
	after, err := w.ask("cpu")
	if err != nil {
		return nil, err
	}
	return []float64{float64(after[0]-before[0]) / float64(after[1]-before[1]) * 1000}, nil
}

// values returns what a process needs to open a segment of n values, to find one of them,
// to find more, and to find the same again: the medians of some processes.
func (k *course) values(n int) ([]float64, error) {
	dir, err := k.fresh()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := shm.Open(segmentIn(dir), nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for i := range n {
		if _, err := shm.NewRawValue(s, fmt.Sprint("v", i), int64(0)); err != nil {
			return nil, err
		}
	}
	var figures [4][]float64
	for range 7 {
		w, err := k.start("finder", dir)
		if err != nil {
			return nil, err
		}
		got, err := w.ask(fmt.Sprint(n))
		quiet(w)
		if err != nil {
			return nil, err
		}
		for i := range figures {
			figures[i] = append(figures[i], float64(got[i]))
		}
	}
	return []float64{median(figures[0]), median(figures[1]), median(figures[2]), median(figures[3])}, nil
}

// structs returns the times of a Struct of n bytes, and of a plain copy: medians of short
// batches in turn.
func (k *course) structs(n int) ([]float64, error) {
	switch n {
	case 8:
		return sized[[1]int64](k)
	case 64:
		return sized[[8]int64](k)
	case 512:
		return sized[[64]int64](k)
	case 4 << 10:
		return sized[[512]int64](k)
	case 32 << 10:
		return sized[[4 << 10]int64](k)
	case 256 << 10:
		return sized[[32 << 10]int64](k)
	case 1 << 20:
		return sized[[128 << 10]int64](k)
	}
	return nil, fmt.Errorf("no struct has %d bytes", n)
}

func sized[A any](k *course) ([]float64, error) {
	type T struct{ A A }
	s, err := shm.Anonymous(nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	v, err := shm.NewStruct(s, "v", T{})
	if err != nil {
		return nil, err
	}
	from, to := new(T), new(T)
	all := []func(){func() { v.LoadTo(to) }, func() { v.StoreFrom(from) }, func() { *to = *from }}
	var took [3][]float64
	often := 1
	for begin := now(); now()-begin < 20_000 && often < 1<<20; often *= 2 { // a batch takes about 20 µs
		begin = now()
		for range often {
			all[0]()
		}
	}
	for end := time.Now().Add(k.span); time.Now().Before(end) || len(took[0]) == 0; {
		for i, f := range all {
			begin := now()
			for range often {
				f()
			}
			took[i] = append(took[i], float64(now()-begin)/float64(often))
		}
	}
	return []float64{median(took[0]), median(took[1]), median(took[2])}, nil
}

// attached returns what it costs to ask whether a process lives, and to list them, while n
// other processes have the segment attached. They are forked by a program in C.
func (k *course) attached(n int) ([]float64, error) {
	dir, err := k.fresh()
	if err != nil {
		return nil, err
	}
	s, err := shm.Open(segmentIn(dir), nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	v, err := shm.NewValue(s, "count", int64(0))
	if err != nil {
		return nil, err
	}
	program, err := k.crowd()
	if err != nil {
		return nil, err
	}
	w, err := startWorker(exec.CommandContext(k.ctx, program, segmentIn(dir), fmt.Sprint(n)))
	if err != nil {
		return nil, err
	}
	defer quiet(w)
	if got, err := w.numbers(); err != nil || got[0] != int64(n) || v.Load() != int64(n) {
		return nil, fmt.Errorf("%d of %d processes attached: %s: %w", v.Load(), n, w.last, err)
	}
	var list, alive []float64
	var other shm.Process
	for end := time.Now().Add(k.span); time.Now().Before(end) || len(list) < 5; {
		begin := now()
		found := 0
		for p := range s.Processes() {
			found++
			if p.Pid != os.Getpid() {
				other = p
			}
		}
		list = append(list, float64(now()-begin))
		if found < n {
			return nil, fmt.Errorf("%d of %d processes are listed", found, n)
		}
	}
	for end := time.Now().Add(k.span); time.Now().Before(end) || len(alive) < 5; {
		begin := now()
		if !other.Alive() {
			return nil, errors.New("a process that lives counts as dead")
		}
		alive = append(alive, float64(now()-begin))
	}
	return []float64{median(alive), median(list)}, nil
}

// crowd compiles the program that forks processes, once.
func (k *course) crowd() (program string, err error) {
	program = filepath.Join(k.dir, "crowd")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	sources, err := sourcesIn(k.dir)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(k.dir, "shm.h"), []byte(c.Header), 0o600); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(k.ctx, "cc", "-O1", "-pthread", "-o", program, filepath.Join(sources, "crowd.c")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("not built: %w: %s", err, out)
	}
	return program, nil
}

// runCurves is the command curves.
func runCurves(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("league curves", flag.ContinueOnError)
	span := flags.Duration("span", time.Second, "what the measurement of one point takes")
	most := flags.Int("most", 1<<20, "leave out points above `N`")
	only := flags.String("only", "", "comma-separated `KEYS`: processes, awaiting, idle, values, structs, attached")
	write := flags.String("write", "", "write SCALING.md's generated parts, scaling.json and pictures/scaling-*.svg in `DIR`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *span <= 0 || *most < 1 || flags.NArg() > 0 {
		return fmt.Errorf("-span and -most are above zero, and there are no arguments: %q", flags.Args())
	}
	if *write != "" && *only != "" {
		return errors.New("-write needs all curves: leave out -only")
	}
	own, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(memoryDir(), "curves-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	k := &course{ctx: ctx, dir: dir, span: *span, own: own}
	sc := scaling{Command: strings.Join(append([]string{"go run . curves"}, args...), " "), Taken: today(), Machine: machine(), Load: load()}
	for _, cu := range curves() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), cu.Key) {
			continue
		}
		if err := k.each(cu, *most); err != nil {
			return err
		}
		sc.Curves = append(sc.Curves, cu)
		fmt.Fprintf(os.Stderr, "\r%60s\r", "")
		fmt.Printf("%s\n%s\n\n", cu.Title, terminal(cu.table()))
	}
	if *only != "" && len(sc.Curves) == 0 {
		return fmt.Errorf("no curve is called %q", *only)
	}
	if *write == "" {
		return nil
	}
	return sc.write(*write)
}

// scaling is the JSON of the curves.
type scaling struct {
	Command string   `json:"command"`
	Taken   string   `json:"taken"`
	Machine string   `json:"machine"`
	Load    string   `json:"load_average_before"`
	Curves  []*curve `json:"curves"`
}

// write writes the page, the JSON and the charts into a directory of documents.
func (sc *scaling) write(docs string) error {
	b, err := json.MarshalIndent(sc, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "scaling.json"), append(b, '\n'), 0o666); err != nil {
		return err
	}
	blocks := map[string]string{"run": fmt.Sprintf("`%s`, %s: %s. Load average before the run %s.", sc.Command, sc.Taken, sc.Machine, sc.Load)}
	for _, cu := range sc.Curves {
		blocks[cu.Key] = cu.table().RenderMarkdown()
		for _, th := range themes {
			if err := cu.chart(&th, filepath.Join(docs, "pictures", "scaling-"+cu.Key+"-"+th.name+".svg")); err != nil {
				return err
			}
		}
	}
	return rewrite(filepath.Join(docs, "SCALING.md"), blocks)
}
