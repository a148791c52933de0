package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"example.org/shm"
)

// rounds makes TestDisturbance and TestManyValues measure.
var rounds = flag.Int("rounds", 0, "how many rounds TestDisturbance and TestManyValues measure")

func measures(t *testing.T) {
	t.Helper()
	if *rounds == 0 {
		t.Skip("it measures: give -rounds, on an otherwise idle machine")
	}
}

// median returns the middle one.
func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// TestDisturbance measures a writer at full speed, in turn without and with a watch of the
// value that it writes, 10 times a second.
func TestDisturbance(t *testing.T) {
	measures(t)
	seg := fixture(t)
	sprint := func() (speed [2]float64) { // a second, and a second of a processor
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), roleVariable+"=sprint "+seg)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(out), &speed[0], &speed[1]); err != nil {
			t.Fatal(err)
		}
		return speed
	}
	watched := func() [2]float64 {
		r := prepare(t, "watch", "-i", "100ms", "-o", "text", seg, "requests")
		out := &screen{}
		r.Stdout = out
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = r.Process.Signal(syscall.SIGINT)
			_ = r.status()
		}()
		eventually(t, "the first look", func() bool { return out.has("requests") })
		return sprint()
	}
	var alone, with, ratios [2][]float64
	for i := range *rounds {
		var a, b [2]float64
		if i%2 == 0 {
			a = sprint()
			b = watched()
		} else {
			b = watched()
			a = sprint()
		}
		for k := range 2 {
			alone[k], with[k], ratios[k] = append(alone[k], a[k]), append(with[k], b[k]), append(ratios[k], b[k]/a[k])
		}
	}
	for k, what := range []string{"second", "second of a processor"} {
		t.Logf("additions a %s, medians of %d rounds: %.4g alone, %.4g with a watch at 10 Hz; the median of the ratios is %.3f", what, *rounds, median(alone[k]), median(with[k]), median(ratios[k]))
	}
}

// TestManyValues measures ls and watch of 100,000 values.
func TestManyValues(t *testing.T) {
	measures(t)
	const values, looks, every = 100_000, 40, 500 * time.Millisecond
	seg := filepath.Join(t.TempDir(), "many")
	s, err := shm.Open(seg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range values { // of ten, one has a lock and one is a struct
		name := fmt.Sprintf("group%d.value%d", i/100, i)
		switch i % 10 {
		case 0:
			_, err = shm.NewValue(s, name, float64(i))
		case 1:
			_, err = shm.NewStruct(s, name, settings{Limit: int32(i)})
		default:
			_, err = shm.NewAtomic(s, name, int64(i))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cost := func(args ...string) float64 {
		r := prepare(t, args...)
		r.Stdout = nil
		if status := r.status(); status != 0 {
			t.Fatalf("%d: %s", status, &r.stderr)
		}
		return (r.ProcessState.UserTime() + r.ProcessState.SystemTime()).Seconds()
	}
	var ls, asJSON, watch []float64
	for range *rounds {
		ls = append(ls, cost("ls", seg))
		asJSON = append(asJSON, cost("ls", "-o", "json", seg))
		first := cost("watch", "-o", "text", "-n", "1", seg)
		all := cost("watch", "-o", "text", "-i", every.String(), "-n", strconv.Itoa(looks+1), seg)
		watch = append(watch, (all-first)/(looks*every.Seconds()))
	}
	t.Logf("%d values, medians of %d rounds: ls takes %.2f s of a processor, ls -o json %.2f s, and watch at 2 Hz %.1f %% of one", values, *rounds, median(ls), median(asJSON), 100*median(watch))
}
