package shmprom

import (
	"maps"

	"example.org/shm"
	"github.com/prometheus/client_golang/prometheus"
)

// Options say what a Collector shows. The zero value, and nil, are useful.
type Options struct {
	Namespace string            // goes before the names of all values, with an underscore
	Labels    prometheus.Labels // of all series; a label of the value that has such a name gets an underscore behind it
	MaxSeries int               // of one value; what is beyond is left out and counted; 0 means 1000

	// Rule says how a value, or a field of one, is shown. Nil is the rule of the package
	// comment for all. It is called at each scrape.
	Rule func(Subject) Rule

	// Open attaches to a segment. Nil is shm.Open with ReadOnly.
	Open func(segment string) (*shm.Segment, error)
}

// Subject is what a Rule is for.
type Subject struct {
	Segment string
	Entry   shm.Entry
	Field   string // of a struct, as Limits.Max; "" is the whole value
}

// Rule says how something is shown. Its zero value is the rule of the package comment.
// All from FieldLabel on is of a whole value, not of a field.
type Rule struct {
	Skip   bool              // leave it out
	Name   string            // instead of that of the value or field; the unit and _total are added. Several values may have one
	Help   string            // instead of the value's
	Unit   string            // instead of the value's
	Type   Type              // instead of what hint and type of the value say
	Labels prometheus.Labels // of its series
	Info   bool              // a text is shown: as the label value of a series whose number is 1, and whose name ends in _info

	FieldLabel string // the fields of a struct are not metrics, but values of this label, in one metric

	Each     Mode   // what becomes of the processes of a Gauge, the rows of a Table, the elements of an array
	RowLabel string // the label's name, instead of row or index
	RowName  string // a field of a Table that is a text, which is the label's value instead of the row's number

	// Owners is the name of Mutexes, of which lock i is held by the process that row i of a
	// Table belongs to. Rows that no living process holds are left out.
	Owners string
}

// Type is the type of a metric.
type Type int

// The types.
const (
	ByHint  Type = iota // what the value is, by its type, hint and name
	Counter             // only grows
	Gauge
	Unknown
)

// Mode says what becomes of several numbers with one name.
type Mode int

// The modes. Numbers of dead processes are not in a Gauge, so Sum is what client_python
// calls livesum, and so on.
const (
	Standard Mode = iota // Sum for a Gauge, All for rows and elements
	Sum
	Min
	Max
	All // a series for each; of a Gauge with the labels id, pid and program
)

// Collector reads segments when Prometheus asks. Its methods are safe for concurrent use.
type Collector struct {
	o    Options
	many bool // the values have the label segment
	list func() ([]string, error)
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a Collector of one segment, which need not exist yet: shm_segment_up tells
// whether it does. If the name leads to another segment later, that is shown.
func New(segment string, o *Options) *Collector {
	return newCollector(false, func() ([]string, error) { return []string{segment}, nil }, o)
}

// NewMany returns a Collector of the segments that list returns at each scrape. All series
// have the label segment. An error of list is that of the scrape.
func NewMany(list func() ([]string, error), o *Options) *Collector {
	return newCollector(true, list, o)
}

// Of returns a Collector of a segment that this process has attached, which may have no
// name. It does not use that attachment, but one of its own without write permission. After
// Close of s it shows shm_segment_up 0.
func Of(s *shm.Segment, o *Options) *Collector {
	c := New(s.Name(), o)
	c.o.Open = func(string) (*shm.Segment, error) { return shm.OpenFile(s.File(), &shm.Options{ReadOnly: true}) }
	return c
}

func newCollector(many bool, list func() ([]string, error), o *Options) *Collector {
	c := &Collector{many: many, list: list}
	if o != nil {
		c.o = *o
		c.o.Labels = maps.Clone(o.Labels)
	}
	if c.o.MaxSeries <= 0 {
		c.o.MaxSeries = 1000
	}
	if c.o.Rule == nil {
		c.o.Rule = func(Subject) Rule { return Rule{} }
	}
	if c.o.Open == nil {
		c.o.Open = func(name string) (*shm.Segment, error) { return shm.Open(name, &shm.Options{ReadOnly: true}) }
	}
	return c
}

// Describe sends nothing, because the values are not known before a scrape: to the
// registry this is an unchecked Collector.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the segments.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	names, err := c.list()
	if err != nil {
		to <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	f := &families{by: map[string]*family{}, taken: map[string]string{}, series: map[string]bool{}, constant: c.o.Labels, to: to}
	for _, d := range meta {
		f.taken[d.name] = d.name
	}
	for _, name := range names {
		s := &state{name: name}
		if err := c.segment(name, s, f); err == nil {
			s.up = 1
		}
		s.send(f)
	}
}

// segment reads one segment. What precedes an error is shown.
func (c *Collector) segment(name string, state *state, f *families) error {
	s, err := c.o.Open(name)
	if err != nil {
		return err
	}
	defer s.Close()
	state.bytes = s.Size()
	w := &walk{c: c, s: s, segment: name, f: f, state: state}
	if c.many {
		w.labels = labels{{"segment", valid(name)}}
	}
	for e := range s.Entries() {
		state.values++
		for _, l := range e.Locks() {
			switch {
			case l.Held && l.Alive:
				state.living++
			case l.Held:
				state.dead++
			}
		}
		w.value(e)
	}
	for p := range s.Processes() {
		if !p.Alive() {
			break // the dead come last
		}
		state.processes++
	}
	return s.Check()
}

// state is what there is to say of a segment as a whole.
type state struct {
	name         string
	up, leftOut  int
	bytes        int64
	values       int
	processes    int
	living, dead int // locks that such processes hold
}

// meta has the metrics of a segment as a whole.
var meta = []struct{ name, help, unit string }{
	{"shm_segment_up", "1 if the segment can be read and is sound, else 0.", ""},
	{"shm_segment_bytes", "Memory of the segment in use.", "bytes"},
	{"shm_segment_values", "Named values of the segment.", ""},
	{"shm_segment_processes", "Living processes that use locks, counters or gauges of the segment.", ""},
	{"shm_segment_locks", "Locks that are held, by living and by dead processes.", ""},
	{"shm_segment_left_out", "Values of the segment, or parts of them, that are numbers and are not shown.", ""},
}

// send shows what there is to say. Of a segment that could not be opened that is little.
func (s *state) send(f *families) {
	segment := label{"segment", valid(s.name)}
	for i, x := range []int{s.up, int(s.bytes), s.values, s.processes, s.living, s.leftOut} {
		if d := meta[i]; i == 0 || s.bytes > 0 {
			all := labels{segment}
			if d.name == "shm_segment_locks" {
				f.send(d.name, d.help, d.unit, Gauge, all.with("state", "dead"), float64(s.dead))
				all = all.with("state", "living")
			}
			f.send(d.name, d.help, d.unit, Gauge, all, float64(x))
		}
	}
}
