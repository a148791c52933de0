package serve

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// TestHistoryIsBounded notes more than a history keeps, and more often.
func TestHistoryIsBounded(t *testing.T) {
	h := history{time.Second, map[string]*track{}}
	start := time.Unix(1000, 0)
	for i := range 4 * keptPoints {
		now := start.Add(time.Duration(i) * time.Second / 2) // two pages that look at different times
		h.note("a", now, float64(i))
		h.note("a", now.Add(time.Second/4), -1)
	}
	p := h.of("a")
	if len(p.T) != keptPoints || len(p.Y) != keptPoints || p.Y[keptPoints-1] != 4*keptPoints-1 || p.T[1] != 500 {
		t.Errorf("%d points, the last %v, %v apart", len(p.T), p.Y[keptPoints-1], p.T[1])
	}
	h.note("b", start, math.NaN())
	if h.of("b") != nil || h.of("nothing") != nil {
		t.Error("NaN, or nothing, has a history")
	}
	for i := range 2 * mostTracks {
		h.note(fmt.Sprint(i), start.Add(time.Duration(i)*time.Hour), 1)
	}
	if len(h.tracks) != mostTracks || h.of(fmt.Sprint(2*mostTracks-1)) == nil || h.of("a") != nil {
		t.Errorf("%d rows have a history", len(h.tracks))
	}
}
