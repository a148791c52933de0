package shmprom

import (
	"strconv"
	"strings"

	"example.org/shm"
)

// gauge shows a Gauge, whose numbers are those of living processes.
func (w *walk) gauge(i item) {
	switch _, number, _ := strings.Cut(i.entry.Type(), "["); number {
	case "int64]":
		gaugeOf[int64](w, i)
	case "uint64]":
		gaugeOf[uint64](w, i)
	case "float64]":
		gaugeOf[float64](w, i)
	default:
		w.state.leftOut++
	}
}

func gaugeOf[T shm.CounterNumber](w *walk, i item) {
	g, err := shm.NewGauge[T](w.s, i.entry.Name)
	if err != nil {
		w.state.leftOut++
		return
	}
	var x T
	ok := true
	switch i.rule.Each {
	case All:
		for p, x := range g.All() {
			one := i
			one.labels = i.labels.with("id", strconv.FormatUint(uint64(p.ID), 10)).with("pid", strconv.Itoa(p.Pid)).with("program", p.Program)
			w.number(one, float64(x), false)
		}
		return
	case Min:
		x, ok = g.Min()
	case Max:
		x, ok = g.Max()
	default:
		x = g.Load()
	}
	if ok {
		w.number(i, float64(x), false)
	}
}

// histogram shows a Histogram.
func (w *walk) histogram(i item) {
	h, err := shm.NewHistogram(w.s, i.entry.Name, nil)
	if err != nil {
		w.state.leftOut++
		return
	}
	m, by := w.family(i, histogram)
	if m == nil {
		return
	}
	d := h.Load()
	buckets, below := map[float64]uint64{}, uint64(0)
	for k, n := range d.Counts {
		if below += n; k < len(d.Bounds) {
			buckets[by.of(d.Bounds[k])] = below
		}
	}
	if !w.f.sendHistogram(m, i.labels, below, by.of(d.Sum), buckets) {
		w.state.leftOut++
	}
}
