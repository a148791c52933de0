// Package watch looks at the values of a segment again and again, and shows what changes,
// in lines or on a full screen.
package watch

import (
	"hash/maphash"
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

// Series is a value and what it was. What each look needs comes first, and the rest is
// touched only if the value has changed.
type Series struct {
	seen  uint64 // a hash of its bytes
	quiet int    // looks since it changed, that are not in the history

	Rate   float64 // change a second
	Number bool    // it has Rate and the numbers below
	Fresh  bool    // it changed at the last look
	Held   bool
	Dead   bool // a lock of it is held by a process that is dead
	locks  bool // it has some

	Entry shm.Entry
	Name  string // of the value, as it can be shown
	Text  string // as people read it
	Value any    // nil for a lock, and for what cannot be shown

	Now, Min, Max float64
	history       [kept]float64 // the newest last
	looks         int           // how many of them there are

	Changed time.Time // zero: not since the watch began
	lower   string    // the name for comparisons
}

// Sampler looks at the values of a segment.
type Sampler struct {
	seg    *shm.Segment
	name   string
	choose func(name string) bool
	seed   maphash.Seed
	series []*Series
	byName map[string]*Series
	widest int // cells that the longest name takes on a terminal
	looked time.Time
	listed time.Time
	took   time.Duration // the last listing: a long one is made less often
}

// NewSampler returns a Sampler of the values of a segment of that name whose names choose
// selects.
func NewSampler(s *shm.Segment, name string, choose func(name string) bool) *Sampler {
	return &Sampler{seg: s, name: name, choose: choose, seed: maphash.MakeSeed(), byName: map[string]*Series{}}
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
	took := now.Sub(s.looked)
	for _, v := range s.series {
		v.look(s.seed, now, took)
	}
	s.looked = now
	return s.series, err
}

// list reads the list of values.
func (s *Sampler) list() error {
	for e := range s.seg.Entries() {
		if known := s.byName[e.Name]; known != nil {
			if e.Size != known.Entry.Size { // a struct has grown
				known.Entry = e
			}
			continue
		}
		if !s.choose(e.Name) {
			continue
		}
		v := &Series{Entry: e, Name: form.Name(e.Name), lower: strings.ToLower(e.Name)}
		_, v.locks = e.Lock()
		s.widest = max(s.widest, lipgloss.Width(v.Name))
		s.byName[e.Name] = v
		s.series = append(s.series, v)
	}
	if err := s.seg.Check(); err != nil {
		return err
	}
	return segments.Replaced(s.seg, s.name)
}

// look reads the value, so long after the last look. What is shown of a value costs more
// than its bytes, and most values do not change.
func (v *Series) look(seed maphash.Seed, now time.Time, took time.Duration) {
	first := v.looks == 0
	if v.locks {
		v.Held, v.Dead = false, false
		for _, l := range v.Entry.Locks() {
			v.Held = v.Held || l.Held
			v.Dead = v.Dead || l.Held && !l.Alive
		}
	}
	seen, ok := v.hash(seed)
	if ok && !first && seen == v.seen {
		v.Fresh, v.Rate = false, 0
		v.quiet++
		return
	}
	v.seen = seen
	was := v.Value
	n := v.read(first)
	if v.Fresh && !first {
		v.Changed = now
	}
	v.settle()
	switch {
	case first:
		v.Min, v.Max = n, n
	case took > 0:
		v.Rate = finite(change(was, v.Value, n-v.Now) / took.Seconds())
	}
	v.Now = n
	if !math.IsNaN(n) { // NaN is neither the lowest nor the highest
		if v.Min > n || math.IsNaN(v.Min) {
			v.Min = n
		}
		if v.Max < n || math.IsNaN(v.Max) {
			v.Max = n
		}
	}
	v.note()
}

// finite returns a number, and 0 instead of NaN and the infinities.
func finite(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

// change returns the difference of two values. Of integers it is exact, also where their
// difference as float64, which is rounded, is not.
func change(was, is any, rounded float64) float64 {
	x, y := reflect.ValueOf(was), reflect.ValueOf(is)
	switch {
	case x.IsValid() && y.IsValid() && x.CanInt() && y.CanInt():
		if math.Abs(rounded) < 1<<62 {
			return float64(y.Int() - x.Int())
		}
	case x.IsValid() && y.IsValid() && x.CanUint() && y.CanUint():
		if math.Abs(rounded) < 1<<62 {
			return float64(int64(y.Uint() - x.Uint()))
		}
	}
	return rounded
}

// hash returns a hash of the value's bytes, and false if it has none that can be read.
func (v *Series) hash(seed maphash.Seed) (sum uint64, ok bool) {
	if v.Entry.Layout.Size == 0 { // a lock
		return 0, false
	}
	for part := range v.Entry.Parts() {
		b, commit, err := v.Entry.Bytes(part)
		if err != nil {
			return 0, false
		}
		sum = sum*0x9e3779b97f4a7c15 + maphash.Bytes(seed, b) + commit // an odd factor loses nothing
	}
	return sum, true
}

// read reads what is shown of the value, and returns its number if it is one.
func (v *Series) read(first bool) (n float64) {
	e := &v.Entry
	x := e.Any()
	if _, failed := x.(error); failed {
		x = nil
	}
	n, v.Number = number(x)
	text := e.Text
	if x != nil {
		text = func() string { return value.Human(x, e.Layout, e.Hint, e.Unit) }
	}
	if v.Fresh = first || x == nil || !reflect.DeepEqual(x, v.Value); v.Fresh {
		was := v.Text
		v.Text = text()
		// The text of a large number may be rounded, and NaN differs from itself.
		v.Fresh = first || v.Text != was || x != nil && !math.IsNaN(n)
	}
	v.Value = x
	return n
}

// settle writes the looks at which nothing has changed into the history.
func (v *Series) settle() {
	for range min(v.quiet, kept) {
		v.note()
	}
	v.quiet = 0
}

// note appends Now to the history.
func (v *Series) note() {
	v.looks = min(v.looks+1, kept)
	copy(v.history[:], v.history[1:])
	v.history[kept-1] = v.Now
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
// highest number that it has. NaN is a space.
func (v *Series) Sparkline(width int, ascii bool) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	if ascii {
		steps = []rune("_.-:=+*#")
	}
	v.settle()
	h := v.history[kept-min(v.looks, width):]
	low, high := math.Inf(1), math.Inf(-1)
	for _, n := range h {
		if finite(n) == n {
			low, high = min(low, n), max(high, n)
		}
	}
	line, most := make([]rune, 0, len(h)), len(steps)-1
	for _, n := range h {
		switch {
		case math.IsNaN(n):
			line = append(line, ' ')
		case n > high: // infinite
			line = append(line, steps[most])
		case n <= low:
			line = append(line, steps[0])
		default:
			line = append(line, steps[min(int((n/2-low/2)/(high/2-low/2)*float64(most)), most)]) // halves: the difference may not fit
		}
	}
	return string(line)
}
