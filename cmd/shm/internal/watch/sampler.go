// Package watch looks at the values of a segment again and again, and shows what changes,
// in lines or on a full screen.
package watch

import (
	"math"
	"reflect"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/value"
)

// kept is how many numbers of a value's history are kept, for its sparkline.
const kept = 60

// relist is after how long the list of values is read anew: programs may have made some.
const relist = 5 * time.Second

// Series is a value and what it was.
type Series struct {
	Entry shm.Entry
	Text  string // as people read it
	Value any    // nil for a lock, and for what cannot be shown

	Number   bool // it has the fields that follow
	Now      float64
	Rate     float64 // change a second
	Min, Max float64
	History  []float64

	Changed time.Time // zero: not since the watch began
	Fresh   bool      // it changed at the last look
	Held    bool
	Dead    bool // its lock is held by a process that is dead

	looked time.Time
}

// Sampler looks at the values of a segment.
type Sampler struct {
	seg    *shm.Segment
	choose func(name string) bool
	series []*Series
	byName map[string]*Series
	listed time.Time
	took   time.Duration // the last listing, with a look: a long one is made less often
}

// NewSampler returns a Sampler of the values whose names choose selects.
func NewSampler(s *shm.Segment, choose func(name string) bool) *Sampler {
	return &Sampler{seg: s, choose: choose, byName: map[string]*Series{}}
}

// Look reads all values, and returns them in the order in which they were made. The error
// says that the directory is damaged; what precedes the damage is returned.
func (s *Sampler) Look(now time.Time) (all []*Series, err error) {
	if s.listed.IsZero() || now.Sub(s.listed) >= max(relist, 50*s.took) {
		s.listed = now
		started := time.Now()
		defer func() { s.took = time.Since(started) }()
		for e := range s.seg.Entries() {
			if !s.choose(e.Name) {
				continue
			}
			if known := s.byName[e.Name]; known != nil {
				known.Entry = e // a struct may have grown
				continue
			}
			v := &Series{Entry: e}
			s.byName[e.Name] = v
			s.series = append(s.series, v)
		}
		err = s.seg.Check()
	}
	for _, v := range s.series {
		v.look(now)
	}
	return s.series, err
}

// look reads the value.
func (v *Series) look(now time.Time) {
	e := v.Entry
	x := e.Any()
	if _, failed := x.(error); failed {
		x = nil
	}
	first := v.looked.IsZero()
	n, isNumber := number(x)
	switch {
	case !first && isNumber && x == v.Value: // most values do not change, and a text costs time
		v.Fresh = false
	case x == nil:
		v.show(e.Text(), first)
	case first || isNumber || !reflect.DeepEqual(x, v.Value):
		v.show(value.Human(x, e.Layout, e.Hint, e.Unit), first)
		v.Fresh = v.Fresh || !math.IsNaN(n) && !reflect.DeepEqual(x, v.Value) // the text of a large number may be rounded
	default:
		v.Fresh = false
	}
	if v.Fresh && !first {
		v.Changed = now
	}
	v.Value = x
	if l, ok := e.Lock(); ok {
		v.Held, v.Dead = l.Held, l.Held && !l.Alive
	}
	if v.Number = isNumber; isNumber {
		v.count(n, now, first)
	}
	v.looked = now
}

// show takes a new text.
func (v *Series) show(text string, first bool) {
	v.Fresh = first || text != v.Text
	v.Text = text
}

// count notes a number.
func (v *Series) count(n float64, now time.Time, first bool) {
	if first {
		v.Min, v.Max = n, n
	} else if d := now.Sub(v.looked).Seconds(); d > 0 {
		v.Rate = (n - v.Now) / d
	}
	v.Now, v.Min, v.Max = n, min(v.Min, n), max(v.Max, n)
	v.History = append(v.History, n)
	if len(v.History) > kept {
		v.History = v.History[len(v.History)-kept:]
	}
}

func number(x any) (float64, bool) {
	switch r := reflect.ValueOf(x); {
	case !r.IsValid():
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	case r.CanFloat():
		return r.Float(), true
	}
	return 0, false
}

// Zero reports whether the value is a zero, or an empty text.
func (v *Series) Zero() bool {
	r := reflect.ValueOf(v.Value)
	return r.IsValid() && (r.Kind() != reflect.Slice && r.Kind() != reflect.Map && r.IsZero() || r.Kind() == reflect.Slice && r.Len() == 0)
}

// Sparkline draws the history in so many characters, from the lowest to the highest number
// that it has.
func (v *Series) Sparkline(width int) string {
	const bars = "▁▂▃▄▅▆▇█"
	steps := []rune(bars)
	h := v.History
	if len(h) > width {
		h = h[len(h)-width:]
	}
	low, high := v.Now, v.Now
	for _, n := range h {
		low, high = min(low, n), max(high, n)
	}
	line := make([]rune, 0, len(h))
	for _, n := range h {
		i := 0
		if high > low {
			i = int((n - low) / (high - low) * float64(len(steps)-1))
		}
		line = append(line, steps[min(max(i, 0), len(steps)-1)])
	}
	return string(line)
}
