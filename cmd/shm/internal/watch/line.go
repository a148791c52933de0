package watch

import (
	"strconv"
	"time"

	"charm.land/bubbles/v2/table"
	"example.org/shm/cmd/shm/internal/form"
)

// columns returns the columns. On a narrow terminal those that matter less have no width
// and are not shown.
func (m *model) columns() []table.Column {
	name := max(8, min(m.sampler.widest, m.width/4))
	from := func(width, terminal int) int {
		if m.width < terminal {
			return 0
		}
		return width
	}
	columns := []table.Column{
		{Title: "name", Width: name}, {Title: "value"}, {Title: "rate/s", Width: from(9, 50)},
		{Title: "min", Width: from(9, 100)}, {Title: "max", Width: from(9, 100)}, {Title: "history", Width: from(kept, 72)},
		{Title: "changed", Width: from(8, 60)}, {Title: "lock", Width: from(5, 32)},
	}
	left := m.width
	for _, c := range columns {
		if c.Width > 0 {
			left -= c.Width + 1
		}
	}
	columns[1].Width = max(left-1, 6)
	return columns
}

// row returns the cells of a value.
func (m *model) row(v *Series) table.Row {
	row := table.Row{v.Name, v.Text, "", "", "", "", age(v.Changed, m.now), ""}
	if v.Number {
		row[2], row[3], row[4], row[5] = short(v.Rate), v.short(v.Min), v.short(v.Max), v.Sparkline(kept, m.ascii)
	}
	switch {
	case v.Dead:
		row[7] = "DEAD"
	case v.Held:
		row[7] = "held"
	}
	return row
}

// age returns how long ago something was.
func age(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	d := now.Sub(at)
	if d < time.Second {
		return "now"
	}
	return d.Truncate(time.Second).String()
}

// short returns a number in few characters, as the value's own text is written.
func (v *Series) short(x float64) string {
	e := &v.Entry
	switch n := int64(x); {
	case finite(x) != x: // no int64 is that
	case e.Hint == "duration":
		d := time.Duration(n)
		if d > time.Minute || d < -time.Minute {
			d = d.Round(time.Second)
		}
		return d.String()
	case e.Hint == "time":
		return time.Unix(0, n).UTC().Format("15:04:05")
	case e.Unit == "bytes" && x >= 1024:
		return form.Bytes(n)
	}
	return short(x)
}

// short returns a number in few characters.
func short(x float64) string {
	if x == float64(int64(x)) && x > -1e7 && x < 1e7 {
		return strconv.FormatInt(int64(x), 10)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}
