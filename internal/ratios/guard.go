//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"
)

// A guard compares the ratios of the fast paths with recorded ones, and fails when one is
// worse. A single measurement of a busy machine may be wrong, so a ratio that looks worse is
// measured again, several times: only one that is worse each time fails.
type guard struct {
	runner
	beds      int           // of one measurement: where memory lies makes a difference
	tolerance float64       // how much worse a ratio may be: 0.15 is 15 %
	repeats   int           // of a ratio that looks worse
	pause     time.Duration // before a repeat, so that what disturbs the machine may end
}

// newGuard has batches so short that few of them are interrupted, and so many pairs that
// the median of what is left hardly moves.
func newGuard() *guard {
	return &guard{
		runner:    *newRunner(401, 20*time.Microsecond),
		beds:      5,
		tolerance: 0.15,
		repeats:   8,
		pause:     time.Second,
	}
}

// fast is the names of the fast paths: what a program does millions of times a second, in
// one process and without allocating.
var fast = regexp.MustCompile(`^(RawValue|Atomic|Value|RawArray|Array|Mutex|Counter|Gauge|Histogram|Struct)\.`)

// unsteady is the names of what no guard can hold: goroutines of several processors, whose
// ratio depends on how they meet, and large copies by value, whose ratio depends on where the
// compiler puts the copy.
var unsteady = regexp.MustCompile(`goroutines$|^Struct\.(Load|Store), 1 KiB`)

// fastPaths returns the comparisons that are guarded.
func fastPaths(all []comparison) []comparison {
	return slices.DeleteFunc(slices.Clone(all), func(c comparison) bool {
		return c.loops == nil || c.long || !fast.MatchString(c.name) ||
			unsteady.MatchString(c.name)
	})
}

// recorded is the file of a guard.
type recorded struct {
	Machine machine            `json:"machine"`
	Command string             `json:"command"`
	Ratios  map[string]float64 `json:"ratios"` // of our time to the rival's, by name of the comparison
}

const recordCommand = "go run ./internal/ratios -record internal/ratios/guard.json"

// ratio measures the ratio of one comparison: the median of some beds' medians of pairs.
func (g *guard) ratio(c *comparison) (float64, error) {
	var all []float64
	for range g.beds {
		res, err := g.run(c)
		if err != nil {
			return 0, err
		}
		all = append(all, res.Ratio.Median)
	}
	return spreadOf(all).Median, nil
}

// record writes the medians of some measurements of each comparison.
func (g *guard) record(path string, all []comparison, out io.Writer) error {
	rec := recorded{Machine: thisMachine(), Command: recordCommand, Ratios: map[string]float64{}}
	for _, c := range all {
		var ratios []float64
		for range g.repeats {
			x, err := g.ratio(&c)
			if err != nil {
				return err
			}
			ratios = append(ratios, x)
		}
		s := spreadOf(ratios)
		rec.Ratios[c.name] = float64(int(s.Median*1000+0.5)) / 1000
		fmt.Fprintf(out, "%-45s %.3f (%.3f–%.3f)\n", c.name, s.Median, s.Min, s.Max)
	}
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o666)
}

// check compares each comparison with what was recorded.
func (g *guard) check(path string, all []comparison, out io.Writer) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: record the ratios with %s", err, recordCommand)
	}
	var rec recorded
	if err := json.Unmarshal(b, &rec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if here := thisMachine(); here.CPU != rec.Machine.CPU || here.Go != rec.Machine.Go {
		fmt.Fprintf(out, "recorded on %s with %s, and this is %s with %s: ratios may differ\n", rec.Machine.CPU, rec.Machine.Go, here.CPU, here.Go)
	}
	var failed error
	known := map[string]bool{}
	for _, c := range all {
		known[c.name] = true
		was, ok := rec.Ratios[c.name]
		if !ok {
			failed = errors.Join(failed, fmt.Errorf("%s is not in %s: record it with %s", c.name, path, recordCommand))
			continue
		}
		if err := g.one(&c, was, out); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	for name := range rec.Ratios {
		if !known[name] {
			failed = errors.Join(failed, fmt.Errorf("%s in %s is no comparison: record the others with %s", name, path, recordCommand))
		}
	}
	return failed
}

// one compares one ratio, and repeats it as long as it looks worse.
func (g *guard) one(c *comparison, was float64, out io.Writer) error {
	limit := was * (1 + g.tolerance)
	var seen []float64
	for range 1 + g.repeats {
		if len(seen) > 0 {
			time.Sleep(g.pause)
		}
		x, err := g.ratio(c)
		if err != nil {
			return err
		}
		seen = append(seen, x)
		if x <= limit {
			note := ""
			if len(seen) > 1 {
				note = fmt.Sprintf(", after %.3f", seen[:len(seen)-1])
			} else if x < was*(1-g.tolerance) {
				note = ": better; record it, so that it stays so"
			}
			fmt.Fprintf(out, "%-45s %.3f, recorded %.3f%s\n", c.name, x, was, note)
			return nil
		}
	}
	fmt.Fprintf(out, "%-45s WORSE: %.3f, recorded %.3f\n", c.name, seen, was)
	return fmt.Errorf("%s takes %.3f of the time of its rival (%s) at best, in %d measurements; recorded is %.3f and the limit %.3f: make it faster, or record the new ratio with %s",
		c.name, slices.Min(seen), c.rival, len(seen), was, limit, recordCommand)
}
