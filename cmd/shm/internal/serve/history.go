package serve

import (
	"math"
	"time"
)

const (
	keptPoints = 120  // of a row, as many as its chart shows
	mostTracks = 1000 // rows of a segment
)

// history has what the charts of a segment's rows show, of the rows that pages have looked at.
// A page that connects gets it.
type history struct {
	every  time.Duration     // between two points
	tracks map[string]*track // by the key of the row
}

// track is the history of a row, the newest last.
type track struct {
	at []time.Time
	y  []float64
}

// note adds what the chart of a row shows now. Several pages that look at the same row are as
// one.
func (h *history) note(key string, now time.Time, y float64) {
	if math.IsNaN(y) || math.IsInf(y, 0) {
		return
	}
	t := h.tracks[key]
	if t == nil {
		if len(h.tracks) >= mostTracks {
			h.forget()
		}
		t = &track{}
		h.tracks[key] = t
	}
	if n := len(t.at); n > 0 && now.Sub(t.at[n-1]) < h.every/2 {
		return
	}
	if len(t.at) == keptPoints {
		t.at, t.y = append(t.at[:0], t.at[1:]...), append(t.y[:0], t.y[1:]...)
	}
	t.at, t.y = append(t.at, now), append(t.y, y)
}

// forget drops the row that was not looked at for the longest time.
func (h *history) forget() {
	var oldest string
	var last time.Time
	for key, t := range h.tracks {
		if at := t.at[len(t.at)-1]; oldest == "" || at.Before(last) {
			oldest, last = key, at
		}
	}
	delete(h.tracks, oldest)
}

// pastData is the history of a row as it is sent.
type pastData struct {
	T []int64   `json:"t"` // milliseconds since 1970, and then since the point before
	Y []float64 `json:"y"`
}

// of returns the history of a row, or nil.
func (h *history) of(key string) *pastData {
	t := h.tracks[key]
	if t == nil {
		return nil
	}
	p := &pastData{make([]int64, len(t.at)), t.y}
	before := int64(0)
	for i, at := range t.at {
		ms := at.UnixMilli()
		p.T[i], before = ms-before, ms
	}
	return p
}
