// Package watch looks at the values of a segment again and again, and shows what changes,
// in lines or on a full screen.
package watch

import (
	"math"
	"reflect"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
)

// kept is how many numbers of a value's history are kept, for its sparkline.
const kept = 16

// relist is after how long the list of values is read anew: programs may have made some.
const relist = time.Second

// Series is a value and what it was.
type Series struct {
	Entry shm.Entry
	Name  string // of the value, as it can be shown
	Text  string // as people read it
	Value any    // nil for a lock, and for what cannot be shown

	Number   bool // it has the fields that follow
	Now      float64
	Rate     float64 // change a second
	Min, Max float64
	history  [kept]float64 // the newest last
	looks    int           // how many of them there are

	Changed time.Time // zero: not since the watch began
	Fresh   bool      // it changed at the last look
	Held    bool
	Dead    bool // a lock of it is held by a process that is dead

	looked time.Time
	locks  bool   // it has some
	lower  string // the name for comparisons
	width  int    // of Name on a terminal
}

// Sampler looks at the values of a segment.
type Sampler struct {
	seg    *shm.Segment
	name   string
	choose func(name string) bool
	series []*Series
	byName map[string]*Series
	listed time.Time
	took   time.Duration // the last listing: a long one is made less often
}

// NewSampler returns a Sampler of the values of a segment of that name whose names choose
// selects.
func NewSampler(s *shm.Segment, name string, choose func(name string) bool) *Sampler {
	return &Sampler{seg: s, name: name, choose: choose, byName: map[string]*Series{}}
}

// Look reads all values, and returns them in the order in which they were made. The error
// says that the directory is damaged, and what precedes the damage is returned; or that
// the segment's name leads to another file by now, and wraps shm.ErrReplaced.
func (s *Sampler) Look(now time.Time) (all []*Series, err error) {
	if s.listed.IsZero() || now.Sub(s.listed) >= max(relist, 100*s.took) {
		s.listed = now
		started := time.Now()
		err = s.list()
		s.took = time.Since(started)
	}
	for _, v := range s.series {
		v.look(now)
	}
	return s.series, err
}

// list reads the list of values.
func (s *Sampler) list() error {
	for e := range s.seg.Entries() {
		if known := s.byName[e.Name]; known != nil {
			known.Entry = e // a struct may have grown
			continue
		}
		if !s.choose(e.Name) {
			continue
		}
		v := &Series{Entry: e, Name: form.Name(e.Name), lower: strings.ToLower(e.Name)}
		v.width = lipgloss.Width(v.Name)
		_, v.locks = e.Lock()
		s.byName[e.Name] = v
		s.series = append(s.series, v)
	}
	if err := s.seg.Check(); err != nil {
		return err
	}
	return segments.Replaced(s.seg, s.name)
}

// look reads the value.
func (v *Series) look(now time.Time) {
	e := &v.Entry
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
	if v.locks {
		v.Held, v.Dead = false, false
		for _, l := range e.Locks() {
			v.Held = v.Held || l.Held
			v.Dead = v.Dead || l.Held && !l.Alive
		}
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
	if v.looks < kept {
		v.looks++
	}
	copy(v.history[:], v.history[1:])
	v.history[kept-1] = n
}

func number(x any) (float64, bool) {
	switch x := x.(type) { // the frequent types, without reflection
	case nil:
		return 0, false
	case int64:
		return float64(x), true
	case uint64:
		return float64(x), true
	case float64:
		return x, true
	}
	switch r := reflect.ValueOf(x); {
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

// Sparkline draws the history in at most so many characters, from the lowest to the
// highest number that it has.
func (v *Series) Sparkline(width int, ascii bool) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	if ascii {
		steps = []rune("_.-:=+*#")
	}
	h := v.history[kept-min(v.looks, width):]
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
