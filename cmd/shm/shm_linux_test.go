package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"example.org/shm/cmd/shm/internal/bench"
)

// tool is the path of the command. The tests build it and run it as users do. They
// do not run the test binary again, since one of the ways that the tool measures is
// a data race, which a test with -race would report.
var tool string

func TestMain(m *testing.M) {
	if status, ran := runRole(); ran {
		os.Exit(status)
	}
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "shm-tool-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		tool = filepath.Join(dir, "shm")
		if out, err := exec.Command("go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the tool: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// markVariable is an environment variable of a run and of all processes that it
// starts. Each run has a value of its own.
const markVariable = "SHM_TOOL_TEST"

// run is one execution of the tool.
type run struct {
	*exec.Cmd
	t              *testing.T
	mark           string
	temp           string // directory of the run's temporary files
	before         []string
	stdout, stderr bytes.Buffer
}

func prepare(t *testing.T, args ...string) *run {
	t.Helper()
	r := &run{Cmd: exec.Command(tool, args...), t: t, temp: t.TempDir(), before: inSharedMemory(t)}
	r.mark = markVariable + "=" + r.temp
	r.Env = append(os.Environ(), r.mark, "TMPDIR="+r.temp)
	r.Stdout, r.Stderr = &r.stdout, &r.stderr
	return r
}

// status starts the tool unless it runs already, waits for its end, and returns its
// exit status.
func (r *run) status() int {
	r.t.Helper()
	if r.Process == nil {
		if err := r.Start(); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			r.t.Fatal(err)
		}
	}
	return r.ProcessState.ExitCode()
}

// processes returns the command lines of the processes that the run has started and
// that still live.
func (r *run) processes() (lines []string) {
	r.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, dir := range dirs {
		// If the process has ended meanwhile, the file does not exist.
		environ, _ := os.ReadFile(dir + "/environ")
		if !slices.Contains(strings.Split(string(environ), "\x00"), r.mark) {
			continue
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		lines = append(lines, strings.ReplaceAll(string(line), "\x00", " "))
	}
	return lines
}

// inSharedMemory returns the names of files in /dev/shm that CPython or the tool could
// have left there.
func inSharedMemory(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/dev/shm")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, "pym-") || strings.HasPrefix(n, "sem.") || strings.Contains(n, "bench") {
			names = append(names, n)
		}
	}
	return names
}

// leftNothing checks that no process, no temporary file and no shared memory of the
// run is left.
func (r *run) leftNothing() {
	r.t.Helper()
	if left := r.processes(); len(left) > 0 {
		r.t.Errorf("left processes: %q", left)
	}
	if left, err := os.ReadDir(r.temp); err != nil || len(left) > 0 {
		r.t.Errorf("left temporary files: %v %v", left, err)
	}
	// Other programs on the machine may make such files as well, and remove them.
	eventually(r.t, "shared memory as it was", func() bool {
		return !slices.ContainsFunc(inSharedMemory(r.t), func(n string) bool { return !slices.Contains(r.before, n) })
	})
}

// eventually waits until ok returns true. It is for changes that the system makes at
// a time of its own. It ends the test after a time-out that only a defect reaches.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// expected has the outcome of a kill for each way, by the way's name in JSON.
var expected = map[string]bench.Outcome{
	"pointer":          bench.ProcessGone,
	"rawvalue":         bench.WentOn,
	"atomic":           bench.WentOn,
	"value":            bench.Recovered,
	"syncmutex":        bench.ProcessGone,
	"flock":            bench.Recovered,
	"pipe":             bench.ServiceGone,
	"cpython_rawvalue": bench.WentOn,
	"cpython_value":    bench.Stuck,
}

func TestBenchMeasuresEverything(t *testing.T) {
	t.Parallel()
	light, dark := filepath.Join(t.TempDir(), "light.svg"), filepath.Join(t.TempDir(), "dark.svg")
	r := prepare(t, "bench", "-time", "10ms", "-procs", "3", "-json", "-svg", light, "-svg-dark", dark)
	if status := r.status(); status != 0 || r.stderr.Len() > 0 {
		t.Fatalf("exit status %d, standard error %q", status, &r.stderr)
	}
	var report bench.Report
	d := json.NewDecoder(&r.stdout)
	d.DisallowUnknownFields()
	if err := d.Decode(&report); err != nil {
		t.Fatal(err)
	}
	if m := report.Machine; m.Go == "" || m.Cores < 1 || m.Kernel == "" {
		t.Errorf("the machine is %+v", m)
	}
	if report.Advice == "" {
		t.Error("no advice")
	}
	seen := map[string]bool{}
	for _, m := range report.Missing {
		seen[m.Way] = true
		if !strings.HasPrefix(m.Way, "cpython") || m.Reason == "" {
			t.Errorf("%s is missing: %q", m.Way, m.Reason)
		}
	}
	for _, w := range report.Ways {
		seen[w.Way] = true
		checkWay(t, w)
	}
	for way := range expected {
		if !seen[way] {
			t.Errorf("no %s", way)
		}
	}
	checkChart(t, light, "#FFFFFF", report)
	checkChart(t, dark, "#0D1117", report)
	r.leftNothing()
}

// checkWay checks what must be true of a result on any machine.
func checkWay(t *testing.T, w bench.Result) {
	t.Helper()
	if w.Alone.NSPerOp <= 0 || w.Alone.Ops <= 0 {
		t.Errorf("%s alone: %+v", w.Way, w.Alone)
	}
	if len(w.Contended) != 2 || w.Contended[0].Procs != 2 || w.Contended[1].Procs != 3 {
		t.Errorf("%s contended: %+v", w.Way, w.Contended)
	}
	for _, c := range w.Contended {
		sum := int64(0)
		for _, n := range c.Counts {
			sum += n
		}
		if len(c.Counts) != c.Procs || sum != c.Ops || c.MOps <= 0 {
			t.Errorf("%s contended: %+v", w.Way, c)
		}
	}
	if unlocked := expected[w.Way] == bench.WentOn && w.Way != "atomic" || w.Way == "pointer"; !unlocked && w.Lost != 0 {
		t.Errorf("%s lost %d", w.Way, w.Lost)
	}
	if got, want := w.Kill.Outcome, expected[w.Way]; got != want {
		t.Errorf("%s after a kill: %s, want %s", w.Way, got, want)
	}
}

// checkChart checks that a chart is well-formed XML, has the background of its page,
// and names all that was measured.
func checkChart(t *testing.T, svg, background string, report bench.Report) {
	t.Helper()
	drawing, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	if _, first, _ := bytes.Cut(drawing, []byte("fill:")); !bytes.HasPrefix(first, []byte(background)) {
		t.Errorf("%s does not begin with a background of %s", svg, background)
	}
	var words []string
	for d := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := token.(xml.CharData); ok {
			words = append(words, string(c))
		}
	}
	all := strings.Join(words, "\n")
	wanted := []string{"nanoseconds an increment", "million increments a second", "2 processes", "3 processes"}
	for _, w := range report.Ways {
		wanted = append(wanted, w.Label)
	}
	for _, want := range wanted {
		if !strings.Contains(all, want) {
			t.Errorf("the chart does not say %q", want)
		}
	}
}

func TestBenchTableWithoutPython(t *testing.T) {
	t.Parallel()
	r := prepare(t, "bench", "-time", "2ms", "-procs", "2")
	r.Env = append(r.Env, "PATH=")
	if status := r.status(); status != 0 || r.stderr.Len() > 0 {
		t.Fatalf("exit status %d, standard error %q", status, &r.stderr)
	}
	text := r.stdout.String()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(line) - 1; n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{
		"Go pointer", "RawValue", "Atomic", "\nValue ", "sync.Mutex", "flock(2)", "pipe",
		"CPython RawValue is missing: python3 is not on PATH",
		"CPython Value is missing: python3 is not on PATH",
		"Choose Value",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	r.leftNothing()
}

func TestInterruptedBenchLeavesNothing(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		when   string // the signal is sent when a process has this in its command line
		signal syscall.Signal
		status int
		skip   bool
	}{
		{"SIGINT while workers count", []string{"-time", "1m"}, tool, syscall.SIGINT, 130, false},
		{"SIGTERM while workers count", []string{"-time", "1m"}, tool, syscall.SIGTERM, 130, false},
		{"SIGKILL while workers count", []string{"-time", "1m"}, tool, syscall.SIGKILL, -1, false},
		{"SIGINT while CPython is stuck", []string{"-time", "1ms"}, "value kill", syscall.SIGINT, 130, !hasPython()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.skip {
				t.Skip("no python3")
			}
			svg := filepath.Join(t.TempDir(), "chart.svg")
			r := prepare(t, append([]string{"bench", "-svg", svg}, test.args...)...)
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a worker", func() bool {
				return slices.ContainsFunc(r.processes(), func(line string) bool {
					return strings.Contains(line, test.when) && !strings.Contains(line, svg)
				})
			})
			if err := r.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			if status := r.status(); status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			if r.stdout.Len()+r.stderr.Len() > 0 {
				t.Errorf("printed %q and %q", &r.stdout, &r.stderr)
			}
			if test.signal == syscall.SIGKILL {
				// The system ends the children, at a time of its own.
				eventually(t, "the end of all workers", func() bool { return len(r.processes()) == 0 })
			} else if _, err := os.Stat(svg); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left the chart's file: %v", err)
			}
			r.leftNothing()
		})
	}
}

func hasPython() bool {
	_, err := exec.LookPath("python3")
	return err == nil
}

func TestBadUsage(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"nope", `"nope"`},
		{"-o nope", "table, json, jsonl, text"},
		{"ls", "SEG"},
		{"ls x [", `"["`},
		{"get x", "NAME"},
		{"set x", "NAME"},
		{"set -if 1 x a=1 b=2", "-if"},
		{"set -timeout -1s x a=1", "-timeout"},
		{"add x n", "DELTA"},
		{"wait x", "NAME"},
		{"wait x n 1+", "1+"},
		{"locks a b", `"b"`},
		{"locks -follow -o json", "jsonl"},
		{"ps a b", `"b"`},
		{"check", "SEG"},
		{"watch", "SEG"},
		{"watch -o json x", "jsonl"},
		{"watch -i 0 x", "-i"},
		{"record", "SEG"},
		{"replay -speed -1", "-speed"},
		{"replay -o table", "jsonl"},
		{"gen perl x", "perl"},
		{"doctor x", `"x"`},
		{"man x", `"x"`},
		{"diff a", "SEG"},
		{"dump", "SEG"},
		{"-o text get x y", "after the command"},
		{"-o=table dump x", "after the command"},
		{"dump -o text x", "-o"},
		{"record -o text x", "-o"},
		{"gen -o text go x", "-o"},
		{"bench -o text", "-o"},
		{"load", "SEG"},
		{"rm", "-unused"},
		{"rm -unused x", "-unused"},
		{"-nope", "-nope"},
		{"bench -nope", "-nope"},
		{"bench extra", `"extra"`},
		{"bench -procs", "-procs"},
		{"bench -procs x", "-procs"},
		{"bench -procs 1", "between 2 and 256"},
		{"bench -procs 257", "between 2 and 256"},
		{"bench -time x", "-time"},
		{"bench -time 0", "-time"},
		{"bench -time -1s", "-time"},
		{"bench -svg=", "-svg"},
		{"bench -svg-dark=", "-svg-dark"},
		{"bench -json=x", "-json"},
	} {
		r := prepare(t, strings.Fields(test.args)...)
		status := r.status()
		message := r.stderr.String()
		if status != 2 || r.stdout.Len() > 0 || strings.Count(message, "\n") != 1 || !strings.Contains(message, test.says) {
			t.Errorf("shm %s: exit status %d, %q, %q", test.args, status, &r.stdout, message)
		}
	}
}

func TestErrorsComeBeforeMeasuring(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing", "chart.svg")
	r := prepare(t, "bench", "-time", "1h", "-svg", missing)
	if status := r.status(); status != 1 || !strings.Contains(r.stderr.String(), missing) {
		t.Errorf("exit status %d, %q", status, &r.stderr)
	}
}

func TestHelp(t *testing.T) {
	for args, says := range map[string][]string{
		"-h":        {"bench"},
		"bench -h":  {"-procs", "-time", "-json", "-svg", "-svg-dark"},
		"bench --h": {"-procs"},
	} {
		r := prepare(t, strings.Fields(args)...)
		if status := r.status(); status != 0 || r.stderr.Len() > 0 {
			t.Errorf("shm %s: exit status %d, %q", args, status, &r.stderr)
		}
		for _, want := range says {
			if !strings.Contains(r.stdout.String(), want) {
				t.Errorf("shm %s does not say %q", args, want)
			}
		}
	}
}
