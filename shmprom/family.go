package shmprom

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

type label struct{ name, value string }

type labels []label

// with returns the labels and one more. If there is one of that name already, the new one
// gets an underscore behind its name.
func (l labels) with(name, value string) labels {
	for i := 0; i < len(l); i++ {
		if l[i].name == name {
			name += "_"
			i = -1
		}
	}
	return append(l[:len(l):len(l)], label{name, valid(value)})
}

func (l labels) names() (all []string) {
	for _, x := range l {
		all = append(all, x.name)
	}
	return all
}

func (l labels) values() (all []string) {
	for _, x := range l {
		all = append(all, x.value)
	}
	return all
}

// family is a metric of one name.
type family struct {
	name, help, unit string
	kind             Type // or histogram
	of               string
}

// histogram is a Type that no Rule can ask for.
const histogram Type = -1

// typeNames has what a name gets if a value of another segment has another type.
var typeNames = map[Type]string{Counter: "counter", Gauge: "gauge", Unknown: "unknown", histogram: "histogram"}

// families is the metrics of one scrape. It sees to it that no two of them contradict each
// other, because the registry would then refuse all.
type families struct {
	by       map[string]*family
	taken    map[string]string // each name that a metric or one of its samples has, and whose it is
	series   map[string]bool
	constant prometheus.Labels
	to       chan<- prometheus.Metric
}

// samples returns the names that the samples of a metric can have, and the one without
// _total, which is that of a counter in OpenMetrics.
func samples(name string, kind Type) (all []string) {
	suffixes := []string{""}
	switch kind {
	case Counter:
		name, suffixes = strings.TrimSuffix(name, total), []string{"", total, "_created"}
	case histogram:
		suffixes = []string{"", "_bucket", "_count", "_sum", "_created"}
	}
	for _, suffix := range suffixes {
		all = append(all, name+suffix)
	}
	return all
}

// free reports whether no other metric has a name that this one would have.
func (f *families) free(name string, kind Type) bool {
	for _, sample := range samples(name, kind) {
		if _, taken := f.taken[sample]; taken {
			return false
		}
	}
	return true
}

// find returns the metric of a name, which is of a value or field of a segment. In another
// segment the value may be of another type: then typed is its name. If another value has
// that name, or one that cannot be beside it, escaped is. It returns nil if that is taken as
// well. others returns these two names.
func (f *families) find(of, name, help, unit string, kind Type, others func() (typed, escaped string)) *family {
	m, same := f.named(name, of, help, unit, kind)
	if m != nil {
		return m
	}
	typed, escaped := others()
	if same {
		if m, _ = f.named(typed, of, help, unit, kind); m != nil {
			return m
		}
	}
	m, _ = f.named(escaped, of, help, unit, kind)
	return m
}

// named returns the metric of exactly this name, or nil if another one has it. same says
// that this is one of the same value, in another segment.
func (f *families) named(name, of, help, unit string, kind Type) (m *family, same bool) {
	if had := f.by[name]; had != nil {
		if had.of == of && had.kind == kind { // the name has the unit
			return had, true
		}
		return nil, had.of == of
	}
	if !f.free(name, kind) {
		return nil, false
	}
	m = &family{name, valid(help), unit, kind, of}
	f.by[name] = m
	for _, sample := range samples(name, kind) {
		f.taken[sample] = name
	}
	return m, false
}

// escape returns a name that no other text has.
func escape(namespace, name, unit string, counter bool) string {
	if namespace != "" {
		name = namespace + "_" + name
	}
	// A name that needs no escape is left as it is, so it gets a character that does.
	return model.EscapeName(end(strings.ToValidUTF8(name, "\uFFFD")+".", unit, counter), model.ValueEncodingEscaping)
}

// unseen reports whether no series has these labels so far.
func (f *families) unseen(name string, l labels) bool {
	key := name
	for _, x := range l {
		key += "\xff" + x.name + "\xff" + x.value
	}
	was := f.series[key]
	f.series[key] = true
	return !was
}

func (f *families) desc(name, help, unit string, l labels) *prometheus.Desc {
	var options []prometheus.DescOpt
	if unit != "" {
		options = append(options, prometheus.WithUnit(unit))
	}
	return prometheus.V2.NewDesc(name, help, prometheus.UnconstrainedLabels(f.labelNames(l)), f.constant, options...)
}

// labelNames returns the names of labels. One that a label of all series has gets an
// underscore behind it, as in labels.with.
func (f *families) labelNames(l labels) (all []string) {
	names := l.names()
	for i, name := range names {
		for {
			if _, constant := f.constant[name]; !constant && !slices.Contains(all, name) && !slices.Contains(names[i+1:], name) {
				break
			}
			name += "_"
		}
		all = append(all, name)
	}
	return all
}

// send shows a number, and reports whether it could.
func (f *families) send(name, help, unit string, kind Type, l labels, x float64) bool {
	if !f.unseen(name, l) {
		return false
	}
	valueType := prometheus.UntypedValue
	switch kind {
	case Counter:
		valueType = prometheus.CounterValue
	case Gauge:
		valueType = prometheus.GaugeValue
	}
	m, err := prometheus.NewConstMetric(f.desc(name, help, unit, l), valueType, x, l.values()...)
	if err != nil {
		return false
	}
	f.to <- m
	return true
}

// sendHistogram shows a histogram, and reports whether it could.
func (f *families) sendHistogram(m *family, l labels, count uint64, sum float64, buckets map[float64]uint64) bool {
	if !f.unseen(m.name, l) {
		return false
	}
	h, err := prometheus.NewConstHistogram(f.desc(m.name, m.help, m.unit, l), count, sum, buckets, l.values()...)
	if err != nil {
		return false
	}
	f.to <- h
	return true
}
