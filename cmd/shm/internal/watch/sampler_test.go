//go:build linux

package watch

import (
	"math"
	"slices"
	"testing"
	"time"

	"example.org/shm"
)

// TestSampler looks at values as they change.
func TestSampler(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct {
		N    shm.Value[int64]   `shm:"n"`
		X    shm.Value[float64] `shm:"x"`
		Pair shm.Struct[struct{ A, B int32 }]
		Size shm.RawValue[int64] `shm:"size,unit=bytes"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.X.Store(math.NaN())
	b.Size.Set(1 << 40)
	sampler := NewSampler(s, "", func(string) bool { return true })
	now := time.Unix(1000, 0)
	look := func() (fresh []string) {
		t.Helper()
		all, err := sampler.Look(now)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all {
			if v.Fresh {
				fresh = append(fresh, v.Entry.Name)
			}
		}
		now = now.Add(2 * time.Second)
		return fresh
	}
	if got := look(); !slices.Equal(got, []string{"n", "x", "Pair", "size"}) {
		t.Errorf("at first %q", got)
	}
	if got := look(); got != nil {
		t.Errorf("without a change %q", got)
	}
	b.N.Store(10)
	b.Pair.Store(struct{ A, B int32 }{1, 2})
	b.Size.Set(1<<40 + 1) // the same text
	if got := look(); !slices.Equal(got, []string{"n", "Pair", "size"}) {
		t.Errorf("after changes %q", got)
	}
	n := sampler.byName["n"]
	if n.Rate != 5 || n.Min != 0 || n.Max != 10 || n.Text != "10" || n.Sparkline(2, false) != "▁█" || n.Sparkline(2, true) != "_#" || n.Changed != now.Add(-2*time.Second) {
		t.Errorf("n is %+v with sparkline %q", n, n.Sparkline(2, false))
	}
	for range 2 {
		if got := look(); got != nil {
			t.Errorf("after the changes %q", got)
		}
	}
	if n.Rate != 0 || n.Max != 10 || n.Sparkline(5, false) != "▁▁███" {
		t.Errorf("after two looks without a change n is %+v with sparkline %q", n, n.Sparkline(5, false))
	}
	if x := sampler.byName["x"]; x.Zero() || !x.Changed.IsZero() || !sampler.byName["size"].Number {
		t.Errorf("x is %+v", x)
	}
	// One row of a table, a ring whose newest value stays, and a lock that is taken.
	table, err := shm.NewTable[struct{ A int64 }](s, "rows", 300)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := shm.NewRing[int64](s, "ring", 4)
	if err != nil {
		t.Fatal(err)
	}
	mu, err := shm.NewMutex(s, "mu")
	if err != nil {
		t.Fatal(err)
	}
	sampler.took, sampler.listed = 0, time.Time{}
	if got := look(); !slices.Equal(got, []string{"rows", "ring", "mu"}) {
		t.Errorf("made later: %q", got)
	}
	for _, row := range []int{299, 0} {
		table.Row(row).Update(func(r *struct{ A int64 }) { r.A++ })
		ring.Append(7)
		mu.Lock()
		if got := look(); !slices.Equal(got, []string{"rows", "ring", "mu"}) || !sampler.byName["mu"].Held {
			t.Errorf("after a change of row %d: %q", row, got)
		}
		mu.Unlock()
		if got := look(); !slices.Equal(got, []string{"mu"}) {
			t.Errorf("after the unlock: %q", got)
		}
	}
	// A value that was made later is found when the list is read anew.
	if _, err := shm.NewAtomic(s, "late", int64(0)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(relist)
	sampler.took = 0
	if got := look(); !slices.Equal(got, []string{"late"}) {
		t.Errorf("a late value: %q", got)
	}
	if late := sampler.byName["late"]; !late.Zero() {
		t.Error("a zero is not zero")
	}
}

// TestSamplerOfRareNumbers looks at numbers that float64 rounds, and at those that are no
// numbers.
func TestSamplerOfRareNumbers(t *testing.T) {
	s, err := shm.Anonymous(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b struct {
		Big  shm.Value[int64]   `shm:"big"`
		BigU shm.Value[uint64]  `shm:"bigu"`
		X    shm.Value[float64] `shm:"x,unit=bytes"`
	}
	if err := shm.Bind(s, &b); err != nil {
		t.Fatal(err)
	}
	b.Big.Store(1 << 60)
	b.BigU.Store(math.MaxUint64 - 8)
	b.X.Store(math.NaN())
	sampler, now := NewSampler(s, "", func(string) bool { return true }), time.Unix(1000, 0)
	look := func() {
		t.Helper()
		if _, err := sampler.Look(now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	look()
	b.Big.Store(1<<60 + 5)
	b.BigU.Store(math.MaxUint64 - 6)
	b.X.Store(2)
	look()
	if big, u := sampler.byName["big"], sampler.byName["bigu"]; big.Rate != 5 || u.Rate != 2 {
		t.Errorf("the rates of large numbers are %v and %v", big.Rate, u.Rate)
	}
	x := sampler.byName["x"]
	for i, c := range []struct {
		to, low, high, rate float64
		spark               string
	}{
		{2, 2, 2, 0, " ▁"}, {6, 2, 6, 4, " ▁█"}, {math.NaN(), 2, 6, 0, " ▁█ "}, {math.Inf(1), 2, math.Inf(1), 0, " ▁█ █"}, {4, 2, math.Inf(1), 0, " ▁█ █▄"},
	} {
		if b.X.Store(c.to); i > 0 {
			look()
		}
		if x.Min != c.low || x.Max != c.high || x.Rate != c.rate || x.Sparkline(10, false) != c.spark {
			t.Errorf("%v: minimum %v, maximum %v, rate %v, %q; want %+v", c.to, x.Min, x.Max, x.Rate, x.Sparkline(10, false), c)
		}
	}
	if got := x.short(x.Max); got != "+Inf" {
		t.Errorf("infinity is %s", got)
	}
	b.Big.Store(math.MinInt64)
	look()
	b.Big.Store(math.MaxInt64) // the difference does not fit in an int64
	look()
	if big := sampler.byName["big"]; big.Rate != 1<<64 {
		t.Errorf("the rate from the least to the most is %v", big.Rate)
	}
}
