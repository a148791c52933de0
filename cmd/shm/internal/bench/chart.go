package bench

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Theme has the colours of a chart.
type Theme struct {
	paper   color.NRGBA // background
	band    color.NRGBA // background of the rows of this library
	ink     color.NRGBA // names and results
	muted   color.NRGBA // captions and numbers
	grid    color.NRGBA // lines of an axis
	few     color.NRGBA // dots of one process and of two
	many    color.NRGBA // rings of more processes
	warning color.NRGBA // lost increments, and processes that are stuck
}

// Light and Dark have the colours of GitHub's light and dark pages. Dots and rings
// also differ in shape, for readers who cannot tell the colours apart.
var (
	Light = Theme{
		paper: rgb(0xffffff), band: rgb(0xddf4ff), ink: rgb(0x1f2328), muted: rgb(0x59636e), grid: rgb(0xd1d9e0),
		few: rgb(0x0969da), many: rgb(0xbc4c00), warning: rgb(0xcf222e),
	}
	Dark = Theme{
		paper: rgb(0x0d1117), band: rgb(0x16263d), ink: rgb(0xf0f6fc), muted: rgb(0x9198a1), grid: rgb(0x3d444d),
		few: rgb(0x58a6ff), many: rgb(0xf0b45c), warning: rgb(0xff8182),
	}
)

func rgb(x uint32) color.NRGBA {
	return color.NRGBA{uint8(x >> 16), uint8(x >> 8), uint8(x), 0xff}
}

// Lengths in points. GitHub shows a chart of this width almost unscaled.
const (
	chartWidth  = 750
	chartMargin = 20
	titleHeight = 58
	rowHeight   = 28
	axisHeight  = 34
	notesHeight = 20
	textSize    = 12
	noteSize    = 10
	dotRadius   = 4
	ringRadius  = 6
)

// Left ends of the columns, and widths of the two axes, in points. The chart has
// dots and no bars, because the length of a bar means nothing on a logarithmic axis.
const (
	costsAt    = 150
	costsWidth = 130
	ratesAt    = 318
	ratesWidth = 172
	lostAt     = 522
	killAt     = 574
)

// chart draws a report on a canvas.
type chart struct {
	*Report
	Theme
	draw.Canvas
}

// WriteSVG writes the report as a chart. The chart has a background of its own, so
// it can be read on a page of any colour.
func (r *Report) WriteSVG(w io.Writer, theme Theme) error {
	svg := vgsvg.New(chartWidth, vg.Length(titleHeight+rowHeight*len(r.Ways)+axisHeight+notesHeight+chartMargin))
	c := chart{r, theme, draw.New(svg)}
	c.fill(c.Rectangle, c.paper)
	c.rows()
	c.costs()
	c.rates()
	c.words()
	c.notes()
	var b bytes.Buffer
	if _, err := svg.WriteTo(&b); err != nil {
		return fmt.Errorf("drawing the chart: %w", err)
	}
	// The text was laid out in Liberation Sans, which few systems have. The other
	// fonts have the same or a similar width.
	_, err := w.Write(bytes.ReplaceAll(b.Bytes(),
		[]byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	return err
}

// rows writes the title, and draws the background and the name of each row.
func (c *chart) rows() {
	c.say(chartMargin, c.top()+32, draw.XLeft, textSize+2, c.ink, "Several processes increment one number")
	for i, result := range c.Ways {
		c.fill(vg.Rectangle{
			Min: vg.Point{X: chartMargin - 8, Y: c.row(i) - rowHeight/2 - 1}, // the next row hides the extra point, so no gap shows
			Max: vg.Point{X: chartWidth - chartMargin + 8, Y: c.row(i) + rowHeight/2},
		}, c.behind(i))
		c.say(chartMargin, c.row(i), draw.XLeft, textSize, c.ink, mark(result.About))
	}
}

// behind returns the background of row i. The types of this library have a band.
func (c *chart) behind(i int) color.NRGBA {
	if slices.Contains([]string{"rawvalue", "atomic", "value"}, c.Ways[i].Way) {
		return c.band
	}
	return c.paper
}

// costs draws the cost of an increment in one process, and writes it beside the dot.
func (c *chart) costs() {
	var costs []float64
	for _, result := range c.Ways {
		costs = append(costs, result.Alone.NSPerOp)
	}
	x := c.axis(costsAt, costsWidth, "alone: less is better", "nanoseconds an increment", costs)
	for i, cost := range costs {
		at, side, align := x(cost), vg.Length(dotRadius+4), draw.XLeft
		if at > costsAt+costsWidth*2/3 {
			side, align = -side, draw.XRight
		}
		c.dot(at, c.row(i))
		number := significant(cost, 3)
		width := c.style(noteSize, c.muted).Width(number)
		if align == draw.XRight {
			width = -width
		}
		c.fill(vg.Rectangle{ // hides the lines of the axis behind the number
			Min: vg.Point{X: at + side, Y: c.row(i) - noteSize/2},
			Max: vg.Point{X: at + side + width, Y: c.row(i) + noteSize/2},
		}, c.behind(i))
		c.say(at+side, c.row(i), align, noteSize, c.muted, number)
	}
}

// rates draws the increments a second of several processes together. A line joins
// the marks of one way.
func (c *chart) rates() {
	var rates []float64
	for _, result := range c.Ways {
		for _, contended := range result.Contended {
			rates = append(rates, contended.MOps)
		}
	}
	x := c.axis(ratesAt, ratesWidth, "", "million increments a second: more is better", rates)
	legend := vg.Length(ratesAt)
	for i, n := range c.Settings.Procs {
		legend += ringRadius
		c.glyph(i, legend, c.top()+10, c.paper)
		words := fmt.Sprintf("%d processes", n)
		c.say(legend+10, c.top()+10, draw.XLeft, noteSize, c.muted, words)
		legend += 10 + c.style(noteSize, c.muted).Width(words) + 14
	}
	for i, result := range c.Ways {
		first, last := x(result.Contended[0].MOps), x(result.Contended[len(result.Contended)-1].MOps)
		c.StrokeLine2(draw.LineStyle{Color: c.muted, Width: 1}, first, c.row(i), last, c.row(i))
		for j, contended := range slices.Backward(result.Contended) {
			c.glyph(j, x(contended.MOps), c.row(i), c.behind(i))
		}
	}
}

// words writes the lost increments and the outcome of a kill.
func (c *chart) words() {
	c.say(lostAt, c.top()+10, draw.XLeft, noteSize, c.muted, "lost")
	c.say(killAt, c.top()+10, draw.XLeft, noteSize, c.muted, "kill -9 of a process in the middle")
	for i, result := range c.Ways {
		lost, colour := "none", c.ink
		if result.Lost != 0 {
			lost, colour = significant(result.LostPercent, 2)+" %", c.warning
		}
		c.say(lostAt, c.row(i), draw.XLeft, textSize, colour, lost)
		colour = c.ink
		if result.Kill.Outcome == Stuck {
			colour = c.warning
		}
		c.say(killAt, c.row(i), draw.XLeft, textSize, colour, result.Kill.String())
	}
}

// notes writes the legend and the machine below the chart.
func (c *chart) notes() {
	y := vg.Length(chartMargin)
	c.fill(vg.Rectangle{Min: vg.Point{X: chartMargin, Y: y - 5}, Max: vg.Point{X: chartMargin + 14, Y: y + 5}}, c.band)
	c.say(chartMargin+20, y, draw.XLeft, noteSize, c.muted, "this library;  * goroutines of one process")
	m := c.Machine
	where := []string{m.Go, m.OS + "/" + m.Arch, fmt.Sprintf("%d cores", m.Cores)}
	if m.Python != "" {
		where = append(where, m.Python)
	}
	c.say(chartWidth-chartMargin, y, draw.XRight, noteSize, c.muted, strings.Join(where, ", "))
}

// top returns the upper end of the first row.
func (c *chart) top() vg.Length { return c.Max.Y - titleHeight }

// row returns the middle of row i. Row 0 is at the top.
func (c *chart) row(i int) vg.Length { return c.top() - rowHeight*(vg.Length(i)+0.5) }

// axis draws a logarithmic axis and returns a function from values to positions.
func (c *chart) axis(left, width vg.Length, caption, unit string, values []float64) (x func(float64) vg.Length) {
	ticks := decades(values)
	low, high := math.Log10(ticks[0].Value), math.Log10(ticks[len(ticks)-1].Value)
	x = func(v float64) vg.Length { return left + width*vg.Length((math.Log10(v)-low)/(high-low)) }
	bottom := c.row(len(c.Ways)) + rowHeight/2
	for _, t := range ticks {
		if t.IsMinor() {
			continue
		}
		c.StrokeLine2(draw.LineStyle{Color: c.grid, Width: 0.7}, x(t.Value), bottom-4, x(t.Value), c.top())
		c.say(x(t.Value), bottom-12, draw.XCenter, noteSize, c.muted, t.Label)
	}
	c.say(left, c.top()+10, draw.XLeft, noteSize, c.muted, caption)
	c.say(left+width/2, bottom-27, draw.XCenter, noteSize, c.muted, unit)
	return x
}

// decades returns a tick at each power of ten around the values, and minor ticks
// between them.
func decades(values []float64) plot.ConstantTicks {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, math.Floor(math.Log10(v))), max(high, math.Ceil(math.Log10(v)))
	}
	every := 1
	if high-low > 5 {
		every = 2 // the labels of all ticks would touch each other
	}
	var ticks plot.ConstantTicks
	for e := int(low); e <= int(high); e++ {
		t := plot.Tick{Value: math.Pow10(e), Label: " "} // a major tick without a label
		if (e-int(low))%every == 0 {
			t.Label = significant(t.Value, 1)
		}
		ticks = append(ticks, t)
		for i := 2; i < 10 && e < int(high); i++ {
			ticks = append(ticks, plot.Tick{Value: float64(i) * t.Value})
		}
	}
	return ticks
}

// glyph draws the mark of the i-th number of processes: a dot, or a ring that hides
// the line inside it.
func (c *chart) glyph(i int, x, y vg.Length, behind color.NRGBA) {
	if i == 0 {
		c.dot(x, y)
		return
	}
	c.DrawGlyph(draw.GlyphStyle{Color: behind, Radius: ringRadius, Shape: draw.CircleGlyph{}}, vg.Point{X: x, Y: y})
	c.SetLineWidth(1.6)
	c.SetColor(c.many)
	c.Stroke(circle(x, y, ringRadius))
}

func (c *chart) dot(x, y vg.Length) {
	c.DrawGlyph(draw.GlyphStyle{Color: c.few, Radius: dotRadius, Shape: draw.CircleGlyph{}}, vg.Point{X: x, Y: y})
}

func circle(x, y, radius vg.Length) (p vg.Path) {
	p.Move(vg.Point{X: x + radius, Y: y})
	p.Arc(vg.Point{X: x, Y: y}, radius, 0, 2*math.Pi)
	p.Close()
	return p
}

func (c *chart) fill(area vg.Rectangle, colour color.Color) {
	c.SetColor(colour)
	c.Fill(area.Path())
}

// say writes a line of text. The middle of its digits and capitals is at y; the
// middle of the font's box is a little lower.
func (c *chart) say(x, y vg.Length, align draw.XAlignment, size vg.Length, colour color.Color, words string) {
	s := c.style(size, colour)
	s.XAlign, s.YAlign = align, draw.YCenter
	c.FillText(s, vg.Point{X: x, Y: y + size/12}, words)
}

func (c *chart) style(size vg.Length, colour color.Color) draw.TextStyle {
	return draw.TextStyle{
		Color:   colour,
		Font:    font.Font{Typeface: "Liberation", Variant: "Sans", Size: size},
		Handler: plot.DefaultTextHandler,
	}
}
