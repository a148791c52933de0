package shmprom

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"example.org/shm"
)

// walk shows the values of one segment.
type walk struct {
	c       *Collector
	s       *shm.Segment
	segment string
	labels  labels
	f       *families
	state   *state
	shown   int // series of the value, which are at most MaxSeries
}

// item is a value, or a field of one.
type item struct {
	rule   Rule
	entry  shm.Entry
	of     string // the names of the value and the fields, with dots
	name   string // the same, or what the rule says
	labels labels
}

// value shows a value.
func (w *walk) value(e shm.Entry) {
	rule := w.rule(e, "")
	if rule.Skip {
		return
	}
	w.shown = 0
	i := item{rule: rule, entry: e, of: e.Name, name: e.Name, labels: w.labels}
	if rule.Name != "" {
		i.of, i.name = "\x00"+rule.Name, rule.Name // values with one name are one metric
	}
	i = i.labelled(rule)
	switch kind, _, _ := strings.Cut(e.Type(), "["); kind {
	case "Mutex", "Mutexes":
	case "Ring":
		w.state.leftOut++
	case "Histogram":
		w.histogram(i)
	case "Gauge":
		w.gauge(i)
	case "Table":
		w.table(i)
	default:
		v := e.Any()
		if _, failed := v.(error); failed {
			w.state.leftOut++
			return
		}
		w.any(i, v, "", cmp.Or(rule.RowLabel, "index"))
	}
}

// rule asks for the rule of a value or a field.
func (w *walk) rule(e shm.Entry, field string) Rule {
	return w.c.o.Rule(Subject{w.segment, e, field})
}

// labelled adds the labels of a rule.
func (i item) labelled(rule Rule) item {
	names := make([]string, 0, len(rule.Labels))
	for name := range rule.Labels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		i.labels = i.labels.with(labelName(name, "label"), rule.Labels[name])
	}
	return i
}

// any shows a number, a text, or what a struct or an array consists of. field is the path
// to it, and index the label of an array's elements.
func (w *walk) any(i item, v any, field, index string) {
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
	case r.Kind() == reflect.String:
		w.info(i, r.String())
	case i.entry.Hint == "text" && r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8:
		text, _, _ := strings.Cut(string(r.Bytes()), "\x00")
		w.info(i, text)
	case r.Kind() == reflect.Map:
		for _, name := range sorted(v.(map[string]any)) {
			w.field(i, v.(map[string]any)[name], field, name)
		}
	case r.Kind() == reflect.Slice:
		w.each(i, r.Len(), func(n int) (any, labels, bool) {
			return r.Index(n).Interface(), i.labels.with(index, strconv.Itoa(n)), true
		}, field)
	default:
		if x, ok := number(r); ok {
			w.number(i, x, r.Kind() == reflect.Bool)
		} else {
			w.state.leftOut++
		}
	}
}

// field shows a field of a struct.
func (w *walk) field(i item, v any, path, name string) {
	if path != "" {
		name = path + "." + name
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	whole := i.rule
	rule := w.rule(i.entry, name)
	if rule.Skip {
		return
	}
	if rule.Help == "" {
		rule.Help = whole.Help
	}
	if rule.Unit == "" {
		rule.Unit = whole.Unit
	}
	if rule.Type == ByHint {
		rule.Type = whole.Type
	}
	rule.FieldLabel, rule.Info = whole.FieldLabel, rule.Info || whole.Info
	i.rule = rule
	switch {
	case rule.Name != "":
		i.of, i.name = "\x00"+rule.Name, rule.Name
	case whole.FieldLabel != "":
		if reflect.ValueOf(v).Kind() != reflect.Map {
			i.labels = i.labels.with(labelName(whole.FieldLabel, "field"), name)
		}
	default:
		i.of, i.name = i.of+"."+last, i.name+"."+last
	}
	w.any(i.labelled(rule), v, name, "index")
}

// table shows the rows of a Table.
func (w *walk) table(i item) {
	rows := reflect.ValueOf(i.entry.Any())
	if rows.Kind() != reflect.Slice {
		w.state.leftOut++
		return
	}
	living, known := w.owners(i.rule.Owners)
	row := labelName(i.rule.RowLabel, "row")
	w.each(i, rows.Len(), func(n int) (any, labels, bool) {
		if known && !living[n] {
			return nil, nil, false
		}
		v, text := rows.Index(n).Interface(), strconv.Itoa(n)
		if fields, ok := v.(map[string]any); ok && i.rule.RowName != "" {
			if name, ok := fields[i.rule.RowName].(string); ok && name != "" {
				text = name
			}
		}
		return v, i.labels.with(row, text), true
	}, "")
}

// owners returns which of the named locks a living process holds. known is false if no
// name is given. Without such locks nobody holds one.
func (w *walk) owners(name string) (living map[int]bool, known bool) {
	if name == "" {
		return nil, false
	}
	living = map[int]bool{}
	if e, ok := w.s.Lookup(name); ok {
		for n, l := range e.Locks() {
			living[n] = l.Held && l.Alive
		}
	}
	return living, true
}

// each shows n elements or rows, as the rule says: each, or one number of all.
func (w *walk) each(i item, n int, at func(int) (v any, l labels, there bool), field string) {
	if mode := i.rule.Each; mode == Sum || mode == Min || mode == Max {
		w.reduced(i, mode, n, at, field)
		return
	}
	for k := range n {
		v, l, there := at(k)
		if !there {
			continue
		}
		part := i
		part.labels = l
		w.any(part, v, field, "index")
	}
}

// number returns a number, or a bool as 0 or 1.
func number(r reflect.Value) (x float64, ok bool) {
	switch {
	case !r.IsValid():
		return 0, false
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	case r.CanFloat():
		return r.Float(), true
	case r.Kind() == reflect.Bool:
		if r.Bool() {
			x = 1
		}
		return x, true
	}
	return 0, false
}

func sorted(fields map[string]any) (names []string) {
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
