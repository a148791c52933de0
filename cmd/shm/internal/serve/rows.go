package serve

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/value"
)

const (
	largest   = 64 << 10 // bytes that a value may have so that it is read for the page
	widest    = 160      // characters of a text in a row
	mostParts = 256      // rows that one value is divided into
)

// row is a line of the page: a value, or a field of one.
type row struct {
	entry shm.Entry
	path  value.Path
	name  string // as it is shown
	lower string // the same, for the filter
	key   string // of this row, as long as the segment is the same
	about *rowData
}

// rowData is what is sent of a row once.
type rowData struct {
	Key   string `json:"k"`
	Name  string `json:"name"`
	Type  string `json:"type"`
	Unit  string `json:"unit,omitempty"`
	Help  string `json:"help,omitempty"`
	Hint  string `json:"hint,omitempty"`
	Chart string `json:"chart,omitempty"` // value, rate, or nothing
	Maker string `json:"by,omitempty"`
	Bytes int64  `json:"bytes"`
	Where int64  `json:"offset"`
}

// rowsOf divides a value into rows: a struct into its fields, a short Table into the fields
// of its rows.
func rowsOf(number int, e shm.Entry) (all []row) {
	add := func(p value.Path) {
		part := value.Part{Entry: e, Path: p}
		r := row{entry: e, path: p, name: part.Name(), key: strconv.Itoa(number)}
		if len(p) > 0 {
			r.key += p.String()
		}
		r.lower = strings.ToLower(r.name)
		all = append(all, r)
	}
	if len(e.Layout.Fields) == 0 || e.Size > largest || strings.HasPrefix(e.Type(), "Ring[") {
		add(nil)
		return all
	}
	paths := fieldPaths(nil, e.Layout)
	switch {
	case isArray(e.Layout):
		add(nil)
	case e.Len == 0:
		for _, p := range paths {
			add(p)
		}
	case e.Len*len(paths) <= mostParts:
		for i := range e.Len {
			for _, p := range paths {
				add(append(value.Path{{Index: i}}, p...))
			}
		}
	default:
		add(nil)
	}
	return all
}

// isArray reports whether a layout is that of an array of structs, which has the fields of
// its elements.
func isArray(l shm.Layout) bool { return strings.HasPrefix(l.Format, "(") }

// fieldPaths returns the paths to the fields of a struct, and to those of structs in it.
func fieldPaths(before value.Path, l shm.Layout) (all []value.Path) {
	for _, f := range l.Fields {
		p := append(before[:len(before):len(before)], value.Step{Field: f.Name})
		if len(f.Layout.Fields) > 0 && !isArray(f.Layout) {
			all = append(all, fieldPaths(p, f.Layout)...)
		} else {
			all = append(all, p)
		}
	}
	return all
}

// describe returns what is sent of a row once.
func (r *row) describe() *rowData {
	if r.about == nil {
		e := r.entry
		d := &rowData{Key: r.key, Name: r.name, Type: form.Text(e.Type()), Unit: form.Text(e.Unit), Help: form.Text(e.Help), Hint: e.Hint, Bytes: e.Size, Where: e.Offset}
		if len(r.path) > 0 {
			d.Type, _, _ = strings.Cut(d.Type, "[")
		}
		if e.Pid != 0 {
			d.Maker = fmt.Sprintf("%s (%d)", form.Name(e.Program), e.Pid)
		}
		switch kind, _, _ := strings.Cut(e.Type(), "["); {
		case kind == "Counter", kind == "Histogram", e.Hint == "counter", strings.HasSuffix(r.lower, "_total"):
			d.Chart = "rate"
		default:
			d.Chart = "value"
		}
		r.about = d
	}
	return r.about
}

// The flags of a look.
const (
	flagHeld = 1 << iota
	flagDead
	flagAbandoned
	flagUnreadable
)

// look is what a row has at a moment.
type look struct {
	number float64 // NaN if it has none
	exact  any     // an integer, for differences that float64 would lose
	text   string
	flags  int
}

// reader reads rows. A value is read once for all of its rows that follow each other.
type reader struct {
	offset int64
	name   string
	any    any
	flags  int   // of all locks
	each   []int // of the locks that were looked at
	held   int
}

// read reads a row.
func (d *reader) read(r *row) look {
	e := r.entry
	if d.name != e.Name || d.offset != e.Offset {
		*d = reader{offset: e.Offset, name: e.Name}
		if e.Size <= largest {
			d.any = e.Any()
		} else {
			d.any = fmt.Errorf("%s, %s", form.Text(e.Type()), form.Bytes(e.Size))
		}
		for _, l := range e.Locks() {
			if len(d.each) == mostLocks {
				break
			}
			flags := 0
			if l.Held {
				flags |= flagHeld
				d.held++
			}
			if l.Held && !l.Alive {
				flags |= flagDead
			}
			if l.Abandoned {
				flags |= flagAbandoned
			}
			d.each, d.flags = append(d.each, flags), d.flags|flags
		}
	}
	l := look{number: math.NaN(), flags: d.flags}
	if len(r.path) > 0 && r.path[0].Field == "" && r.path[0].Index < len(d.each) { // a row of a Table
		l.flags = d.each[r.path[0].Index]
	}
	if err, failed := d.any.(error); failed {
		l.text = cut(form.Line(strings.TrimPrefix(err.Error(), "shm: ")))
		if e.Size <= largest {
			l.flags |= flagUnreadable
		}
		return l
	}
	switch {
	case d.any == nil && e.Len > len(d.each):
		l.text = fmt.Sprintf("%d of the first %d locks are held, of %d", d.held, len(d.each), e.Len)
		return l
	case d.any == nil && e.Len > 0:
		l.text = fmt.Sprintf("%d of %s held", d.held, form.Count(len(d.each), "lock"))
		return l
	case d.any == nil:
		l.text = cut(form.Line(e.Text()))
		return l
	}
	v, layout, err := r.path.Of(d.any, e.Layout)
	if err != nil { // the struct has another layout by now
		l.text, l.flags = form.Line(err.Error()), l.flags|flagUnreadable
		return l
	}
	if h, ok := v.(map[string]any); ok && e.Type() == "Histogram" {
		return l.histogram(h, e)
	}
	unit := e.Unit // which the page shows itself, and leaves out where the text has KiB
	switch x := reflect.ValueOf(v); {
	case x.CanInt():
		l.number, l.exact = float64(x.Int()), x.Int()
	case x.CanUint():
		l.number, l.exact = float64(x.Uint()), x.Uint()
	case x.CanFloat():
		l.number = x.Float()
	default:
		unit = ""
	}
	if s, ok := v.(string); ok {
		l.text = cut(form.Text(s))
		return l
	}
	l.text = cut(strings.TrimSuffix(value.Human(v, layout, e.Hint, unit), form.WithUnit("", unit)))
	return l
}

// histogram is the look of a Histogram: how many observations there are, and how large.
func (l look) histogram(h map[string]any, e shm.Entry) look {
	bounds, _ := h["bounds"].([]float64)
	counts, _ := h["counts"].([]uint64)
	sum, _ := h["sum"].(float64)
	n := uint64(0)
	for _, c := range counts {
		n += c
	}
	l.number, l.exact, l.text = float64(n), n, "none yet"
	if n == 0 {
		return l
	}
	show := func(x float64) string { return form.Number(strconv.FormatFloat(x, 'g', 4, 64), "", e.Unit) }
	l.text = "mean " + show(sum/float64(n))
	for _, q := range []struct {
		name string
		part float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		below := uint64(0)
		for i, c := range counts {
			if below += c; float64(below) >= q.part*float64(n) {
				if i < len(bounds) {
					l.text += fmt.Sprintf(", %s ≤ %s", q.name, show(bounds[i]))
				} else {
					l.text += fmt.Sprintf(", %s > %s", q.name, show(bounds[len(bounds)-1]))
				}
				break
			}
		}
	}
	return l
}

// cut returns the first characters of a text, if it is long.
func cut(text string) string {
	if len(text) <= widest || utf8.RuneCountInString(text) <= widest {
		return text
	}
	return string([]rune(text)[:widest-1]) + "…"
}

// since returns the change a second since an earlier look, NaN if there is none.
func (l look) since(before look, d time.Duration) float64 {
	change := l.number - before.number
	switch x := l.exact.(type) {
	case int64:
		if y, ok := before.exact.(int64); ok {
			change = float64(x - y)
		}
	case uint64:
		if y, ok := before.exact.(uint64); ok {
			change = float64(int64(x - y)) // of two numbers near each other
		}
	}
	return change / d.Seconds()
}

// jsonNumber is a number, and null if JSON has none for it.
type jsonNumber float64

// MarshalJSON returns the number or null.
func (n jsonNumber) MarshalJSON() ([]byte, error) {
	if x := float64(n); math.IsNaN(x) || math.IsInf(x, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}
