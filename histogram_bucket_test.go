package shm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestBucket compares the search with the definition: the first bucket whose bound is at
// least x.
func TestBucket(t *testing.T) {
	special := []float64{math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, math.Copysign(0, -1), 0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64, math.Inf(1), math.NaN(), -math.NaN()}
	for n := 1; n < 40; n++ {
		h := &histogram{}
		for range n {
			h.bounds = append(h.bounds, math.Round(rand.NormFloat64()*20)/4)
		}
		if n%2 == 0 {
			h.bounds = append(h.bounds, special[1+rand.IntN(8)])
		}
		slices.Sort(h.bounds)
		h.bounds = slices.Compact(h.bounds)
		for _, b := range h.bounds {
			h.keys = append(h.keys, keyOf(b))
		}
		for _, x := range slices.Concat(special, h.bounds, []float64{rand.NormFloat64() * 5, rand.NormFloat64() * 5}) {
			want := slices.IndexFunc(h.bounds, func(b float64) bool { return x <= b })
			if want < 0 {
				want = len(h.bounds)
			}
			if got := h.bucket(keyOf(x)); got != want {
				t.Errorf("%v in %v: bucket %d, want %d", x, h.bounds, got, want)
			}
		}
	}
}
