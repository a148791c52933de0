//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		xs   []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3, 3, 3}},
		{[]float64{2, 1}, spread{1, 1.1, 1.5, 1.9, 2}},
		{[]float64{11, 1, 10, 2, 9, 3, 8, 4, 7, 5, 6}, spread{1, 2, 6, 10, 11}},
	} {
		got := spreadOf(tt.xs)
		for i, pair := range [][2]float64{{got.Min, tt.want.Min}, {got.P10, tt.want.P10}, {got.Median, tt.want.Median}, {got.P90, tt.want.P90}, {got.Max, tt.want.Max}} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("%v: number %d of %+v, want %+v", tt.xs, i, got, tt.want)
			}
		}
	}
}

// A drift that is larger than the difference, and interruptions, do not hide it.
func TestPairsCancelDrift(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var ours, rival []float64
	for i := range 1001 {
		speed := 1 + float64(i)/1001 // the machine gets twice as slow
		noise := func() float64 {
			if random.IntN(10) == 0 {
				return 5 // interrupted
			}
			return 0.95 + random.Float64()/10
		}
		ours = append(ours, 1.1*speed*noise())
		rival = append(rival, 1.0*speed*noise())
	}
	if got := spreadOf(ratiosOf(ours, rival)).Median; got < 1.08 || got > 1.12 {
		t.Errorf("median %v, want 1.1", got)
	}
}

// fakeClock is a clock that only work moves.
type fakeClock struct{ now time.Duration }

func (c *fakeClock) read() time.Duration { return c.now }

// loop is a loop that takes some time for an iteration.
func (c *fakeClock) loop(each time.Duration) loop {
	return func(n int) { c.now += time.Duration(n) * each }
}

func testRunner(c *fakeClock) *runner {
	turn := false
	return &runner{pairs: 11, batch: time.Millisecond, clock: c.read, first: func() bool { turn = !turn; return turn }}
}

func TestRunner(t *testing.T) {
	for _, tt := range []struct {
		ours, rival time.Duration
		want        float64
	}{
		{10, 10, 1}, {30, 10, 3}, {1, 4, 0.25}, {3 * time.Millisecond, 2 * time.Millisecond, 1.5},
	} {
		t.Run(fmt.Sprint(tt.ours, tt.rival), func(t *testing.T) {
			c := &fakeClock{}
			got, err := testRunner(c).run(&comparison{name: "x", rival: "y", target: 1, loops: func(*bed) (ours, rival loop) {
				return c.loop(tt.ours), c.loop(tt.rival)
			}})
			if err != nil {
				t.Fatal(err)
			}
			if got.Ratio.Median != tt.want || got.Ratio.Min != tt.want || got.Ratio.Max != tt.want || got.Pairs != 11 || got.Ours != "x" || got.Unit != "ns" {
				t.Errorf("got %+v, want ratio %v", got, tt.want)
			}
			if got.met() != (tt.want <= 1) {
				t.Errorf("met is %v at %v of 1", got.met(), tt.want)
			}
		})
	}
}

// Each batch takes about the time that was asked for, and what comes between two
// batches is not measured.
func TestBatches(t *testing.T) {
	c := &fakeClock{}
	r := testRunner(c)
	var took []time.Duration
	_, err := r.run(&comparison{loops: func(b *bed) (ours, rival loop) {
		b.between = func() { c.now += time.Hour }
		watch := func(n int) {
			began := c.now
			c.loop(70)(n)
			took = append(took, c.now-began)
		}
		return watch, watch
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range took[len(took)-2*r.pairs:] {
		if d < r.batch*9/10 || d > r.batch*11/10 {
			t.Fatalf("a batch took %v, want %v", d, r.batch)
		}
	}
}

func TestAllocationsAreCounted(t *testing.T) {
	c := &fakeClock{}
	got, err := testRunner(c).run(&comparison{loops: func(b *bed) (ours, rival loop) {
		return func(n int) {
			c.loop(1000)(n)
			for range n {
				sinkText = strings.Clone(sixteen)
			}
		}, c.loop(1000)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if *got.Allocs != [2]float64{1, 0} {
		t.Errorf("%v objects, want 1 and 0", *got.Allocs)
	}
}

// More is better, where a comparison says so.
func TestTargets(t *testing.T) {
	for _, tt := range []struct {
		r    result
		want string
		met  bool
	}{
		{result{Ratio: spread{Median: 2}}, "", true},
		{result{Ratio: spread{Median: 2}, Target: 2}, "≤ 2.00", true},
		{result{Ratio: spread{Median: 2.1}, Target: 2}, "≤ 2.00", false},
		{result{Ratio: spread{Median: 2.1}, Target: 2, More: true}, "≥ 2.00", true},
		{result{Ratio: spread{Median: 1.9}, Target: 2, More: true}, "≥ 2.00", false},
	} {
		if got, met := tt.r.wanted(), tt.r.met(); got != tt.want || met != tt.met {
			t.Errorf("%+v: %q, %v", tt.r, got, met)
		}
	}
}

func TestErrorsEndAComparison(t *testing.T) {
	broken := errors.New("broken")
	c := &fakeClock{}
	for name, cmp := range map[string]comparison{
		"preparation": {name: "x", loops: func(*bed) (ours, rival loop) { check(broken); return nil, nil }},
		"loop":        {name: "x", loops: func(*bed) (ours, rival loop) { return func(int) { check(broken) }, c.loop(1) }},
		"side":        {name: "x", sides: func(*bed) (ours, rival side) { f := func() (float64, error) { return 0, broken }; return f, f }},
		"round":       {name: "x", both: func(*bed) round { return func() (float64, float64, error) { return 0, 0, broken } }},
	} {
		if _, err := testRunner(c).run(&cmp); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each comparison has a name of its own, a rival, and one way to be measured; each
// that takes no processes is measured once, so that none of them fails.
func TestComparisons(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range comparisons() {
		ways := 0
		for _, is := range []bool{c.loops != nil, c.sides != nil, c.both != nil} {
			if is {
				ways++
			}
		}
		if c.name == "" || c.rival == "" || ways != 1 || seen[c.name] {
			t.Errorf("%q against %q, %d ways", c.name, c.rival, ways)
		}
		seen[c.name] = true
		if c.long {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := newRunner(1, time.Nanosecond)
			if c.pairs != 0 {
				c.pairs = 1
			}
			got, err := r.run(&c)
			if err != nil {
				t.Fatal(err)
			}
			if got.Pairs != 1 {
				t.Errorf("%d pairs", got.Pairs)
			}
		})
	}
}

func TestBlocks(t *testing.T) {
	page := "prose\n<!-- a -->\nold\n<!-- /a -->\nmore\n<!-- b -->\nold\n<!-- /b -->\n"
	got, err := replaceBlocks(page, map[string]string{"a": "new\n"})
	if want := "prose\n<!-- a -->\n\nnew\n\n<!-- /a -->\nmore\n<!-- b -->\nold\n<!-- /b -->\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if again, err := replaceBlocks(got, map[string]string{"a": "new"}); err != nil || again != got {
		t.Errorf("a second time: %q, %v", again, err)
	}
	if _, err := replaceBlocks(page, map[string]string{"c": "new"}); err == nil {
		t.Error("no error for a block that is not there")
	}
}

func TestReportBlocks(t *testing.T) {
	r := report{
		Machine: machine{CPU: "a CPU", Cores: 2, Kernel: "Linux 6", Go: "go1", Date: "2026-01-01"},
		Command: "ratios",
		Results: []result{
			{Name: "Value.Add", Ours: "Value.Add", Rival: "*p++", Unit: "ns", Ratio: spread{Median: 1.2}, Target: 1.1, Note: "Why."},
			{Name: "x", Ours: "x", Rival: "y", Unit: "ns", Long: true},
		},
		Logs: []logged{{"TestStorm", []string{"one", "two"}}},
	}
	got := r.blocks()
	for block, wants := range map[string][]string{
		"ratios": {"`ratios`, 2026-01-01: a CPU, 2 cores, Linux 6, go1.", "| `Value.Add` | \\*p++ | ns |", "| ≤ 1.10 | **no** |", "\n\n- `Value.Add`: 1.20, wanted ≤ 1.10. Why."},
		"long":   {"| x | y | ns |"},
		"logs":   {"| `TestStorm` | one; two |"},
	} {
		for _, want := range wants {
			if !strings.Contains(got[block], want) {
				t.Errorf("block %s does not have %q:\n%s", block, want, got[block])
			}
		}
	}
	if _, has := got["table"]; has {
		t.Error("a block of a table that was not made")
	}
}

func TestParseLogs(t *testing.T) {
	got, err := parseLogs([]byte(`{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Test":"TestA","Output":"    a_test.go:12: 3 of 4 killed\n"}
{"Action":"output","Test":"TestB","Output":"    b_test.go:1: one\n"}
{"Action":"output","Test":"TestA","Output":"    a_test.go:13: none lost\n"}
{"Action":"output","Output":"ok\n"}
`))
	if err != nil || len(got) != 2 || got[0].Test != "TestA" || !slices.Equal(got[0].Lines, []string{"3 of 4 killed", "none lost"}) || got[1].Test != "TestB" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A peer that serves answers each request with one line.
func TestServe(t *testing.T) {
	c := &fakeClock{}
	closed := 0
	all := []comparison{{name: "x", loops: func(b *bed) (ours, rival loop) {
		b.onClose(func() { closed++ })
		return c.loop(7), nil
	}}}
	var out strings.Builder
	if err := serve(testRunner(c), all, strings.NewReader("x\t0\nx\t100\ny\t1\nx\t2\n"), &out); err != nil {
		t.Fatal(err)
	}
	if want := "0 0\n700 0\nmissing no such loop\n14 0\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if closed != 2 {
		t.Errorf("%d of 2 beds were closed", closed)
	}
}
