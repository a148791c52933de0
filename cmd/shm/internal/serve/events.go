package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/shm"
	"example.org/shm/cmd/shm/internal/form"
	"example.org/shm/cmd/shm/internal/segments"
	"example.org/shm/cmd/shm/internal/value"
)

const (
	mostRows  = 200              // rows that a page looks at
	mostPages = 32               // streams at a time
	patience  = 10 * time.Second // with a client that does not read
	wholeText = 4 << 10          // bytes of the text of the one row that is looked at closely
)

// view is what a page looks at.
type view struct {
	segment string
	filter  string
	from, n int
	open    string // key of the row that is looked at closely
}

// viewOf reads a query. The error wraps fs.ErrInvalid.
func viewOf(q url.Values) (v view, err error) {
	v = view{segment: q.Get("seg"), filter: q.Get("q"), open: q.Get("open"), n: 50}
	for name, to := range map[string]*int{"from": &v.from, "n": &v.n} {
		if text := q.Get(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil || *to < 0 {
				return v, fmt.Errorf("%w: %s=%s is not a number of rows", fs.ErrInvalid, name, form.Name(text))
			}
		}
	}
	v.n = min(v.n, mostRows)
	return v, nil
}

// may reports whether a page may look at a segment: one of those that were named, or one
// whose name is no path: a page must not open any file of the machine.
func (s *Server) may(segment string) bool {
	if len(s.c.Names) > 0 {
		return slices.Contains(s.c.Names, segment)
	}
	return !segments.IsPath(segment)
}

// viewData tells a page which rows the frames that follow have.
type viewData struct {
	Segment string     `json:"seg"`
	File    string     `json:"file"` // another one has other keys
	Total   int        `json:"total"`
	Matched int        `json:"matched"`
	From    int        `json:"from"`
	Rows    []*rowData `json:"rows"`
	Open    *rowData   `json:"open,omitempty"`

	Past map[string]*pastData `json:"past"` // by the key of the row; none: nobody has looked at it lately
}

// frameData is what a page shows of a moment.
type frameData struct {
	At       int64         `json:"t"`     // milliseconds since 1970
	Every    int64         `json:"every"` // milliseconds
	Segments []segmentName `json:"segs"`
	Rows     []any         `json:"rows"` // number, text, change a second, flags; null if there is no view
	State    *stateData    `json:"state,omitempty"`
	Open     *openData     `json:"open,omitempty"`
	Error    string        `json:"error,omitempty"`
}

// openData is what is sent of the row that is looked at closely.
type openData struct {
	Look  []any  `json:"look"`
	Text  string `json:"text"` // the whole of it
	Bars  []bar  `json:"bars,omitempty"`
	Locks string `json:"lock,omitempty"`
}

// bar is a bucket of a Histogram, or what one process has set of a Gauge.
type bar struct {
	Label string     `json:"label"`
	Text  string     `json:"text"`
	Long  jsonNumber `json:"long"`
}

// events streams frames to a page: one in an interval. A page that is slow gets fewer,
// because each frame has all that it shows.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	v, err := viewOf(r.URL.Query())
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	if v.segment != "" && !s.may(v.segment) {
		s.fail(w, http.StatusNotFound, fmt.Errorf("%w: segment %s is not served here", fs.ErrNotExist, form.Name(v.segment)))
		return
	}
	if n := s.pages.Add(1); n > mostPages {
		s.pages.Add(-1)
		s.fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d pages look already", mostPages))
		return
	}
	defer s.pages.Add(-1)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	st := &stream{s: s, v: v, w: w, c: http.NewResponseController(w), list: -1, before: map[string]look{}}
	if v.segment != "" {
		var leave func()
		st.b, leave = s.live.join(v.segment)
		defer leave()
	}
	ticks := time.NewTicker(s.c.interval())
	defer ticks.Stop()
	var last time.Time
	for {
		// A tick that was late is followed by one that comes too soon.
		if now := time.Now(); now.Sub(last) > s.c.interval()/2 {
			if err := st.frame(now); err != nil {
				return // the page is gone
			}
			last = now
		}
		select {
		case <-ticks.C:
		case <-r.Context().Done():
			return
		}
	}
}

// stream is what a page gets.
type stream struct {
	s *Server
	v view
	w http.ResponseWriter
	c *http.ResponseController
	b *board // nil if the page has chosen no segment

	list   int // the list of rows that the page knows
	rows   []int
	open   int // -1: none
	before map[string]look
	at     time.Time // of before
}

// frame sends what there is at a moment.
func (st *stream) frame(now time.Time) error {
	f := frameData{At: now.UnixMilli(), Every: st.s.c.interval().Milliseconds()}
	var err error
	if f.Segments, err = st.s.live.names(now); err != nil {
		f.Error = form.Line(err.Error())
	}
	var events []byte
	if st.b != nil {
		events, err = st.read(&f, now)
	} else {
		events, err = event("frame", &f)
	}
	if err != nil {
		return err
	}
	if err := st.c.SetWriteDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := st.w.Write(events); err != nil {
		return err
	}
	return st.c.Flush()
}

// read reads the rows that the page looks at. All that is shared with other pages is read
// and written out before the next one may change it.
func (st *stream) read(f *frameData, now time.Time) (events []byte, err error) {
	b := st.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.attach(now); err != nil {
		f.Error, st.list = form.Line(strings.TrimPrefix(err.Error(), "shm: ")), -1
		return event("frame", f)
	}
	if st.list != b.list {
		if events, err = event("view", st.choose()); err != nil {
			return nil, err
		}
	}
	f.State = b.look(now)
	now = time.Now() // what was before took a time of its own, and rates are of this one
	f.At = now.UnixMilli()
	took, looks, d := now.Sub(st.at), map[string]look{}, &reader{}
	show := func(r *row) []any {
		l := d.read(r)
		rate := jsonNumber(math.NaN())
		if had, ok := st.before[r.key]; ok {
			rate = jsonNumber(l.since(had, took))
		}
		looks[r.key] = l
		y := jsonNumber(l.number)
		if r.describe().Chart == "rate" {
			y = rate
		}
		b.past.note(r.key, now, float64(y))
		return []any{jsonNumber(l.number), l.text, rate, l.flags}
	}
	f.Rows = make([]any, 0, len(st.rows))
	for _, i := range st.rows {
		f.Rows = append(f.Rows, show(&b.rows[i]))
	}
	if st.open >= 0 {
		f.Open = openOf(b.seg, &b.rows[st.open])
		f.Open.Look = show(&b.rows[st.open])
	}
	st.before, st.at = looks, now
	frame, err := event("frame", f)
	return append(events, frame...), err
}

// choose finds the rows that the page looks at.
func (st *stream) choose() *viewData {
	b := st.b
	if st.list >= 0 {
		st.before = map[string]look{} // another segment may have this name now
	}
	st.list = b.list
	all := b.matching(st.v.filter)
	from := min(st.v.from, max(len(all)-st.v.n, 0))
	st.rows, st.open = all[from:min(from+st.v.n, len(all))], -1
	v := &viewData{Segment: b.name, File: b.file, Total: len(b.rows), Matched: len(all), From: from, Rows: make([]*rowData, 0, len(st.rows)), Past: map[string]*pastData{}}
	describe := func(r *row) *rowData {
		if p := b.past.of(r.key); p != nil {
			v.Past[r.key] = p
		}
		return r.describe()
	}
	for _, i := range st.rows {
		v.Rows = append(v.Rows, describe(&b.rows[i]))
	}
	if st.v.open != "" {
		st.open = slices.IndexFunc(b.rows, func(r row) bool { return r.key == st.v.open })
		if st.open >= 0 {
			v.Open = describe(&b.rows[st.open])
		}
	}
	return v
}

// openOf reads the row that is looked at closely.
func openOf(s *shm.Segment, r *row) *openData {
	e, o := r.entry, &openData{}
	many := strings.HasPrefix(e.Type(), "Mutexes") || strings.HasPrefix(e.Type(), "Table[")
	if l, ok := e.Lock(); ok && !many {
		o.Locks = form.Line(l.String())
	}
	if e.Size > largest || many && len(r.path) == 0 {
		return o
	}
	part, layout, err := (value.Part{Entry: e, Path: r.path}).Load()
	switch {
	case err != nil:
		o.Text = form.Line(err.Error())
	case part == nil:
		o.Text = form.Line(e.Text())
	default:
		o.Text = value.Bare(part, layout, e.Hint)
	}
	if len(o.Text) > wholeText {
		o.Text = strings.ToValidUTF8(o.Text[:wholeText], "") + "…"
	}
	if h, ok := part.(map[string]any); ok && e.Type() == "Histogram" {
		bounds, _ := h["bounds"].([]float64)
		counts, _ := h["counts"].([]uint64)
		for i, n := range counts {
			k := bar{"more", strconv.FormatUint(n, 10), jsonNumber(n)}
			if i < len(bounds) {
				k.Label = "≤ " + form.Number(strconv.FormatFloat(bounds[i], 'g', -1, 64), "", e.Unit)
			}
			o.Bars = append(o.Bars, k)
		}
		o.Text = ""
	}
	switch e.Type() {
	case "Gauge[int64]":
		o.Bars = gaugeBars[int64](s, e)
	case "Gauge[uint64]":
		o.Bars = gaugeBars[uint64](s, e)
	case "Gauge[float64]":
		o.Bars = gaugeBars[float64](s, e)
	}
	return o
}

// gaugeBars returns what each living process has set of a Gauge.
func gaugeBars[T shm.CounterNumber](s *shm.Segment, e shm.Entry) (all []bar) {
	g, err := shm.NewGauge[T](s, e.Name)
	if err != nil {
		return nil // the row shows the sum
	}
	for p, x := range g.All() {
		if len(all) == mostState {
			return append(all, bar{"more processes", "", 0})
		}
		label := idKey(p.ID)
		if p.Pid != 0 {
			label = fmt.Sprintf("%s (%d)", form.Name(p.Program), p.Pid)
		}
		all = append(all, bar{label, value.Human(x, e.Layout, e.Hint, e.Unit), jsonNumber(x)})
	}
	return all
}

// event returns a server-sent event. JSON has no line feed, so the data is one line.
func event(name string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, b), nil
}
