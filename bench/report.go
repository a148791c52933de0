package main

import (
	"context"
	"embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

//go:embed rivals
var sources embed.FS

// sourcesIn writes the sources of the rivals to a directory, so that the program works
// wherever it was built.
func sourcesIn(dir string) (string, error) {
	err := os.CopyFS(dir, sources)
	return filepath.Join(dir, "rivals"), err
}

// league is a run, and its JSON.
type league struct {
	Command string   `json:"command"`
	Taken   string   `json:"taken"`
	Machine string   `json:"machine"`
	Load    string   `json:"load_average_before"`
	Rounds  int      `json:"rounds"`
	Rivals  []*entry `json:"rivals"`
	Missing []string `json:"missing,omitempty"` // what was left out, and why
	Failed  []string `json:"failed,omitempty"`  // what failed while it was measured

	teams []*team
}

// entry is a rival's results.
type entry struct {
	Name    string            `json:"name"`
	Note    string            `json:"note"`
	Columns map[string]*stats `json:"nanoseconds"`

	Kill   string `json:"kill_with_lock_held"`
	KillNS stats  `json:"kill_ns,omitzero"`
	kills  []float64

	Mismatch string `json:"another_type"`

	Increments int64 `json:"increments"` // made in the whole run
	Counter    int64 `json:"counter"`    // what the counter has at the end: as many, if none was lost
	Reads      int64 `json:"reads"`
	Torn       int64 `json:"torn_reads"` // reads of a record that is half one write and half another
}

// stats is what was measured of one column, one number a round.
type stats struct {
	Median    float64   `json:"median"`
	Min       float64   `json:"min"`
	Ratio     float64   `json:"ratio,omitempty"`           // the median of the time over shm's in the same round
	RatioMins float64   `json:"ratio_of_minima,omitempty"` // the minimum over shm's minimum
	Rounds    []float64 `json:"rounds,omitempty"`          // 0 is not measured
}

func (l *league) close() {
	for _, t := range l.teams {
		t.close()
	}
}

// start starts the rivals, and leaves out what this machine does not have.
func (l *league) start(ctx context.Context, all []*rival, base string, p pace) {
	for _, r := range all {
		t, err := newTeam(ctx, r, base, p)
		if err != nil {
			l.Missing = append(l.Missing, fmt.Sprintf("%s: %v", r.name, err))
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", r.name, err)
			continue
		}
		l.teams = append(l.teams, t)
		e := &entry{Name: r.name, Note: r.note, Columns: map[string]*stats{}}
		for _, c := range columns {
			e.Columns[c.key] = new(stats)
		}
		l.Rivals = append(l.Rivals, e)
	}
}

// measure measures each column of all rivals in turn, in each round.
func (l *league) measure(ctx context.Context) error {
	for round := range l.Rounds {
		for _, c := range columns {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-40s", round+1, l.Rounds, c.title)
			err := l.each(ctx, func(t *team, e *entry) error {
				ns, err := c.measure(t, e)
				if err != nil {
					return fmt.Errorf("%s: %w", c.title, err)
				}
				s := e.Columns[c.key]
				s.Rounds = append(s.Rounds, ns)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	for _, last := range []struct {
		title string
		do    func(t *team, e *entry) error
	}{
		{"comparing the counters", (*team).sum},
		{"another type", (*team).confused},
		{"kill -9", (*team).killed},
	} {
		fmt.Fprintf(os.Stderr, "\r%-60s", last.title)
		if err := l.each(ctx, last.do); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "\r%60s\r", "")
	for _, e := range l.Rivals {
		for key, s := range e.Columns {
			s.fill(l.Rivals[0].Columns[key].Rounds)
		}
	}
	return nil
}

// each calls f for all rivals in turn. A rival that fails takes no further part.
func (l *league) each(ctx context.Context, f func(t *team, e *entry) error) error {
	var teams []*team
	var rivals []*entry
	for i, t := range l.teams {
		e := l.Rivals[i]
		err := f(t, e)
		if ctx.Err() != nil {
			l.teams = append(teams, l.teams[i:]...) // all are to be closed
			return ctx.Err()
		}
		if err != nil {
			if i == 0 {
				return fmt.Errorf("%s: %w", e.Name, err)
			}
			l.Failed = append(l.Failed, e.Name+": "+t.clean(err.Error()))
			fmt.Fprintf(os.Stderr, "\n%s fails, and is left out: %v\n", e.Name, err)
			t.close()
			continue
		}
		teams, rivals = append(teams, t), append(rivals, e)
	}
	l.teams, l.Rivals = teams, rivals
	return nil
}

// wrong lists what rivals did wrong: lost increments, torn reads.
func (l *league) wrong() (all []string) {
	for _, e := range l.Rivals {
		if e.Counter != e.Increments {
			all = append(all, fmt.Sprintf("%s: %d increments, and the counter has %d", e.Name, e.Increments, e.Counter))
		}
		if e.Torn > 0 {
			all = append(all, fmt.Sprintf("%s: %d of %d reads were torn", e.Name, e.Torn, e.Reads))
		}
	}
	return all
}

// fill computes the statistics; ours is what shm has of the same rounds.
func (s *stats) fill(ours []float64) {
	var own, ratios, first []float64
	for i, x := range s.Rounds {
		if x > 0 {
			own = append(own, x)
			if ours[i] > 0 {
				ratios, first = append(ratios, x/ours[i]), append(first, ours[i])
			}
		}
	}
	if len(own) == 0 {
		s.Rounds = nil
		return
	}
	s.Median, s.Min = median(own), least(own)
	if len(ratios) > 0 {
		s.Ratio, s.RatioMins = median(ratios), s.Min/least(first)
	}
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

func least(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	return slices.Min(all)
}

// machine describes this machine in a line.
func machine() string {
	kernel := contents("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d processors, %.0f GiB of memory, Linux %s, %s %s/%s",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory(), kernel, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// memory returns the GiB of memory of this machine.
func memory() float64 {
	var kib float64
	_, _ = fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib)
	return math.Round(kib / (1 << 20))
}

// load returns the load average of the last minute.
func load() string {
	first, _, _ := strings.Cut(contents("/proc/loadavg"), " ")
	return first
}

func contents(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// field returns what a file of /proc says behind a name.
func field(path, name string) string {
	for line := range strings.Lines(contents(path)) {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func today() string { return time.Now().Format(time.DateOnly) }
