package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The test binary is also the workers of the rivals in Go.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "worker" {
		if err := work(os.Args[2], os.Args[3]); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var short = pace{slice: 2 * time.Millisecond, wakeUps: 1, kills: 1, patience: 1500 * time.Millisecond}

// play measures one short round of some rivals.
func play(t *testing.T, all []*rival) *league {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	l := &league{Command: "go test", Taken: today(), Machine: machine(), Rounds: 1}
	t.Cleanup(func() { l.close(); cancel() })
	l.start(ctx, all, memoryDir(), short)
	if err := l.measure(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

// A short league of all rivals: each does what it is asked for, counts right, and tears no
// record; and each column has what the rival can do.
func TestLeague(t *testing.T) {
	l := play(t, rivals)
	for _, m := range l.Missing {
		t.Log("left out:", m)
	}
	if bad := append(l.wrong(), l.Failed...); len(bad) > 0 {
		t.Error(strings.Join(bad, "\n"))
	}
	for _, e := range l.Rivals {
		for _, c := range columns {
			if got := e.Columns[c.key].Median > 0; got != can(e.Name, c.key) {
				t.Errorf("%s, %s: measured is %v", e.Name, c.title, got)
			}
		}
		stuck := slices.Contains([]string{"pthread", "Boost.Interprocess", "multiprocessing"}, e.Name)
		if got := strings.HasPrefix(e.Kill, "stuck"); got != stuck {
			t.Errorf("%s, killed with the lock held: %s", e.Name, e.Kill)
		}
		if single := strings.Contains(e.Name, "one process"); (e.Mismatch == "") != single {
			t.Errorf("%s, another type: %q", e.Name, e.Mismatch)
		}
	}
	if ours := l.Rivals[0]; ours.Kill != "goes on" || !strings.HasPrefix(ours.Mismatch, "refused: ") || ours.Increments == 0 || ours.Reads == 0 {
		t.Errorf("shm: %+v", ours)
	}
	var out bytes.Buffer
	l.print(&out)
	t.Log("\n" + out.String())

	// What it writes.
	dir := t.TempDir()
	page, err := os.ReadFile("../docs/LEAGUE.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "LEAGUE.md"), page, 0o666), os.Mkdir(filepath.Join(dir, "pictures"), 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := l.write(dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"LEAGUE.md":                          "| shm |",
		"league.json":                        `"kill_with_lock_held": "goes on"`,
		"pictures/league-light.svg":          "<svg",
		"pictures/league-dark.svg":           "<svg",
		"pictures/league-processes-dark.svg": "<svg",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s does not have %q: %v", file, want, err)
		}
	}
}

// can says which columns a rival has.
func can(rival, column string) bool {
	without := map[string]string{
		"sync.Mutex in one process": "two read publish attach wake",
		"iceoryx":                   "alone two attach",
		"LMDB":                      "wake",
		"SQLite":                    "wake",
		"bbolt":                     "wake",
		"gofrs/flock":               "wake",
		"multiprocessing":           "attach",
		"memcached":                 "wake",
		"net/rpc":                   "wake",
		"expvar":                    "alone two wake",
	}
	return !slices.Contains(strings.Fields(without[rival]), column)
}

// A rival that loses an increment and tears records is told, one that fails is left out,
// and so is one that the machine does not have.
func TestFaultsAreTold(t *testing.T) {
	l := play(t, []*rival{
		rivals[0],
		{name: "broken", prepare: inProcess("broken", nil)},
		{name: "failing", prepare: inProcess("failing", nil)},
		{name: "unknown", prepare: inProcess("no such rival", nil)},
		{name: "missing", prepare: func(context.Context, string) (*ready, error) { return nil, errors.New("not installed") }},
	})
	wrong := strings.Join(l.wrong(), "\n")
	for _, want := range []string{"broken: ", " increments, and the counter has 1", " reads were torn"} {
		if !strings.Contains(wrong, want) {
			t.Errorf("%q does not have %q", wrong, want)
		}
	}
	if len(l.Rivals) != 2 || len(l.teams) != 2 {
		t.Errorf("%d rivals and %d teams are left, want 2", len(l.Rivals), len(l.teams))
	}
	for i, want := range []string{"failing: locked increment, alone: out of order", "unknown: locked increment, alone: it does not start: a worker has ended: no rival in Go"} {
		if len(l.Failed) != 2 || !strings.HasPrefix(l.Failed[i], want) {
			t.Errorf("failed: %q, want %q", l.Failed, want)
		}
	}
	if !slices.Equal(l.Missing, []string{"missing: not installed"}) {
		t.Errorf("missing: %q", l.Missing)
	}
	if l.Rivals[1].Kill != "fails: error: broken now" {
		t.Errorf("killed with the lock held: %s", l.Rivals[1].Kill)
	}
}

func init() {
	inGo["broken"] = func(dir string) (verbs, error) {
		count := uint64(0)
		return verbs{
			add: func() error {
				if _, err := os.Stat(filepath.Join(dir, "locked")); err == nil {
					return errors.New("broken now")
				}
				count = 1
				return nil
			},
			total: func() (uint64, error) { return count, nil },
			write: func(*Record) error { return nil },
			read:  func(r *Record) error { r[0]++; return nil },
			lock:  func() error { return os.WriteFile(filepath.Join(dir, "locked"), nil, 0o600) },
		}, nil
	}
	inGo["failing"] = func(string) (verbs, error) {
		return verbs{add: func() error { return errors.New("out of order") }}, nil
	}
}

func TestStats(t *testing.T) {
	s := stats{Rounds: []float64{30, 0, 10, 20}}
	s.fill([]float64{10, 10, 20, 0})
	if s.Median != 20 || s.Min != 10 || s.Ratio != (3+0.5)/2 || s.RatioMins != 1 {
		t.Errorf("got %+v", s)
	}
	none := stats{Rounds: []float64{0, 0}}
	none.fill([]float64{1, 1})
	if none.Median != 0 || none.Ratio != 0 || none.Rounds != nil {
		t.Errorf("of nothing: %+v", none)
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		duration(12.44): "12.4 ns", duration(1234): "1.23 µs", duration(5.5e6): "5.50 ms", duration(0): "–",
		times(0.123): "0.12", times(9.996): "10.00", times(98765): "98,765", times(0): "–",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A page without a block that was measured is an error, and is left as it was.
func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	const page = "prose\n<!-- a -->\nold\n<!-- /a -->\nmore\n"
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if err := rewrite(path, map[string]string{"a": "new", "b": "new"}); err == nil || read() != page {
		t.Errorf("%v, and the page is %q", err, read())
	}
	want := "prose\n<!-- a -->\n\nnew\n\n<!-- /a -->\nmore\n"
	for range 2 {
		if err := rewrite(path, map[string]string{"a": "new\n"}); err != nil || read() != want {
			t.Errorf("%v, and the page is %q", err, read())
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-slice", "1us"}, {"-kills", "0"}, {"more"}, {"-only", "LMDB", "-write", "."}, {"-only", "nobody"}} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
