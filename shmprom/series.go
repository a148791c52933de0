package shmprom

import (
	"cmp"
	"strings"
)

// typeOf returns what a number is.
func (i item) typeOf(isBool bool) Type {
	switch hint := i.entry.Hint; {
	case i.rule.Type != ByHint:
		return i.rule.Type
	case strings.HasPrefix(i.entry.Type(), "Counter["), hint == "counter", hint != "gauge" && !isBool && strings.HasSuffix(snake(i.name), total):
		return Counter
	case strings.HasPrefix(i.entry.Type(), "Gauge["), hint == "gauge", hint == "duration", hint == "time", isBool:
		return Gauge
	}
	return Unknown
}

// family returns the metric that an item belongs to, and how its numbers are shown; nil if
// there can be none.
func (w *walk) family(i item, kind Type) (*family, scale) {
	by, counter := scaleOf(i.entry.Hint, cmp.Or(i.rule.Unit, i.entry.Unit)), kind == Counter
	help := cmp.Or(i.rule.Help, i.entry.Help)
	name := familyName(w.c.o.Namespace, i.name, by.unit, counter)
	unit := strings.TrimPrefix(by.unit, "timestamp_")
	m := w.f.find(i.of, name, help, unit, kind, func() (typed, escaped string) {
		return familyName(w.c.o.Namespace, i.name+"."+typeNames[kind], by.unit, counter),
			escape(w.c.o.Namespace, strings.TrimPrefix(i.of, "\x00"), by.unit, counter)
	})
	if m == nil {
		w.state.leftOut++
	}
	return m, by
}

// room reports whether one more series of the value may be shown, and counts it: as shown,
// or as left out.
func (w *walk) room() bool {
	if w.shown == w.c.o.MaxSeries {
		w.state.leftOut++
		return false
	}
	w.shown++
	return true
}

// number shows a number.
func (w *walk) number(i item, x float64, isBool bool) {
	if !w.room() {
		return
	}
	kind := i.typeOf(isBool)
	if isBool { // of a struct that may have a unit
		i.rule.Unit, i.entry.Unit, i.entry.Hint = "", "", ""
	}
	if m, by := w.family(i, kind); m != nil && !w.f.send(m.name, m.help, m.unit, kind, i.labels, by.of(x)) {
		w.state.leftOut++
	}
}

// info shows a text, if the rule wants it.
func (w *walk) info(i item, text string) {
	if !i.rule.Info || !w.room() {
		return
	}
	help := cmp.Or(i.rule.Help, i.entry.Help)
	name := end(familyName(w.c.o.Namespace, i.name, "", false), "info", false)
	m := w.f.find(i.of, name, help, "", Gauge, func() (typed, escaped string) {
		escaped = escape(w.c.o.Namespace, strings.TrimPrefix(i.of, "\x00"), "info", false)
		return escaped, escaped
	})
	last := i.of[strings.LastIndexByte(i.of, '.')+1:]
	if m == nil || !w.f.send(m.name, m.help, "", Gauge, i.labels.with(labelName(last, "text"), text), 1) {
		w.state.leftOut++
	}
}
