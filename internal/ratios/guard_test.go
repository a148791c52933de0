//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/shm/internal/race"
)

// fakeGuard measures with a clock that only work moves.
func fakeGuard(c *fakeClock) *guard {
	return &guard{runner: *testRunner(c), beds: 1, tolerance: 0.15, repeats: 3}
}

// recordIn writes a file of recorded ratios.
func recordIn(t *testing.T, ratios map[string]float64) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "guard.json")
	b, err := json.Marshal(recorded{Machine: thisMachine(), Ratios: ratios})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// paths is comparisons with a rival that takes 100 ns, and the times of ours in each
// measurement; the last time stays.
func paths(c *fakeClock, ours map[string][]time.Duration) (all []comparison) {
	for name, times := range ours {
		all = append(all, comparison{name: name, rival: "r", loops: func(*bed) (_, rival loop) {
			each := times[0]
			if len(times) > 1 {
				times = times[1:]
			}
			return c.loop(each), c.loop(100)
		}})
	}
	return all
}

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ours     []time.Duration
		recorded float64
		wrong    string // in the error
		out      string
	}{
		{"equal", []time.Duration{100}, 1, "", "1.000, recorded 1.000\n"},
		{"a little worse", []time.Duration{114}, 1, "", "1.140, recorded 1.000\n"},
		{"worse", []time.Duration{116}, 1, "x takes 1.160 of the time of its rival (r) at best, in 4 measurements", "WORSE: [1.160 1.160 1.160 1.160]"},
		{"worse three times", []time.Duration{200, 190, 180, 110}, 1, "", "1.100, recorded 1.000, after [2.000 1.900 1.800]\n"},
		{"worse four times", []time.Duration{200, 190, 180, 170, 100}, 1, "at best, in 4 measurements", "WORSE"},
		{"better", []time.Duration{80}, 1, "", "better; record it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &fakeClock{}
			var out strings.Builder
			err := fakeGuard(c).check(recordIn(t, map[string]float64{"x": tt.recorded}), paths(c, map[string][]time.Duration{"x": tt.ours}), &out)
			if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("got %v, want %q", err, tt.wrong)
			}
			if !strings.Contains(out.String(), tt.out) {
				t.Errorf("printed %q, want %q", out.String(), tt.out)
			}
		})
	}
}

// A file that lacks a comparison, or has one that is gone, and no file at all, are errors
// that say what to do.
func TestGuardWantsACompleteRecord(t *testing.T) {
	c := &fakeClock{}
	x := paths(c, map[string][]time.Duration{"x": {100}})
	for name, path := range map[string]string{
		"lacking": recordIn(t, nil),
		"gone":    recordIn(t, map[string]float64{"x": 1, "y": 1}),
		"no file": filepath.Join(t.TempDir(), "guard.json"),
	} {
		if err := fakeGuard(c).check(path, x, new(strings.Builder)); err == nil || !strings.Contains(err.Error(), recordCommand) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is recorded is checked without an error, and then an operation that became slower is
// found.
func TestGuardRecords(t *testing.T) {
	c := &fakeClock{}
	path := filepath.Join(t.TempDir(), "guard.json")
	if err := fakeGuard(c).record(path, paths(c, map[string][]time.Duration{"x": {130}, "y": {50}}), new(strings.Builder)); err != nil {
		t.Fatal(err)
	}
	if err := fakeGuard(c).check(path, paths(c, map[string][]time.Duration{"x": {130}, "y": {50}}), new(strings.Builder)); err != nil {
		t.Error(err)
	}
	err := fakeGuard(c).check(path, paths(c, map[string][]time.Duration{"x": {130}, "y": {60}}), new(strings.Builder))
	if err == nil || !strings.HasPrefix(err.Error(), "y takes 0.600") {
		t.Errorf("a slower y: %v", err)
	}
}

// A real fast path with one more atomic addition in each operation is found, by the guard
// that make guard runs.
func TestGuardFindsASlowedOperation(t *testing.T) {
	if testing.Short() || race.Enabled {
		t.Skip("it measures time")
	}
	g := newGuard()
	g.repeats, g.pause = 2, 0
	all := comparisons()
	c := all[slices.IndexFunc(all, func(c comparison) bool { return c.name == "Value.Add" })]
	was, err := g.ratio(&c)
	if err != nil {
		t.Fatal(err)
	}
	slowed := c
	slowed.loops = func(b *bed) (ours, rival loop) {
		fastOurs, rival := c.loops(b)
		p := new(padded)
		return func(n int) {
			fastOurs(n)
			for range n {
				p.n.Add(1)
			}
		}, rival
	}
	err = g.check(recordIn(t, map[string]float64{"Value.Add": was}), []comparison{slowed}, new(strings.Builder))
	if err == nil || !strings.Contains(err.Error(), "in 3 measurements") {
		t.Errorf("recorded %.3f, and the slowed operation gives %v", was, err)
	}
}

// The committed file has each fast path.
func TestGuardedPaths(t *testing.T) {
	b, err := os.ReadFile("guard.json")
	if err != nil {
		t.Fatal(err)
	}
	var rec recorded
	if err := json.Unmarshal(b, &rec); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range fastPaths(comparisons()) {
		names = append(names, c.name)
		if rec.Ratios[c.name] <= 0 {
			t.Errorf("%s is not recorded: %s", c.name, recordCommand)
		}
	}
	for _, want := range []string{"RawValue.Get", "RawValue.Set", "Value.Add", "Value.Update", "Mutex.Lock and Unlock", "Atomic.Add", "Counter.Add",
		"Struct.Load, 64 B, unguarded", "Struct.LoadTo, 64 B", "Struct.Store, 64 B", "Array.Load", "Array.Store"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not guarded", want)
		}
	}
}
