package bench

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The chart brings its own background, so that it reads the same on a light page
// and on a dark one. It has dots and no bars: on a logarithmic axis the length
// of a bar means nothing.
var (
	paper   = color.NRGBA{0x2b, 0x30, 0x3b, 0xff}
	ink     = color.NRGBA{0xe6, 0xe9, 0xee, 0xff}
	faint   = color.NRGBA{0x4a, 0x51, 0x60, 0xff}
	warning = color.NRGBA{0xff, 0x9e, 0x8f, 0xff}
)

// marks tell the numbers of processes apart; where both are at one place, too.
var marks = []draw.GlyphStyle{
	{Color: color.NRGBA{0x7c, 0xc0, 0xff, 0xff}, Radius: 4, Shape: draw.CircleGlyph{}},
	{Color: color.NRGBA{0xf5, 0xc2, 0x6b, 0xff}, Radius: 6.5, Shape: draw.RingGlyph{}},
}

// Lengths in points.
const (
	chartWidth  = 1080
	chartFrame  = 120 // title, axis and margins together
	rowHeight   = 32
	chartMargin = 16
	textSize    = 12
)

// WriteSVG draws the report.
func (r *Report) WriteSVG(w io.Writer) error {
	canvas := vgsvg.New(chartWidth, vg.Length(chartFrame+rowHeight*len(r.Ways)))
	all := draw.New(canvas)
	all.SetColor(paper)
	all.Fill(all.Rectangle.Path())
	panels := [][]*plot.Plot{{nil, nil, nil}}
	for i, draw := range []func() (*plot.Plot, error){r.costs, r.rates, r.words} {
		p, err := draw()
		if err != nil {
			return fmt.Errorf("drawing the chart: %w", err)
		}
		panels[0][i] = p
	}
	tiles := draw.Tiles{Rows: 1, Cols: 3, PadX: chartMargin, PadTop: chartMargin, PadBottom: chartMargin, PadLeft: chartMargin, PadRight: chartMargin}
	for i, part := range plot.Align(panels, tiles, all)[0] {
		panels[0][i].Draw(part)
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	// Few systems have the font that the text was measured with; these are as wide.
	_, err := w.Write(bytes.ReplaceAll(b.Bytes(),
		[]byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	return err
}

// costs is the first panel: what an increment costs alone.
func (r *Report) costs() (*plot.Plot, error) {
	var costs []float64
	for _, result := range r.Ways {
		costs = append(costs, result.Alone.NSPerOp)
	}
	p := r.panel("One process", "nanoseconds an increment", costs)
	names := make([]string, len(r.Ways))
	for i, result := range r.Ways {
		names[len(names)-1-i] = mark(result.About)
	}
	p.NominalY(names...)
	return p, r.dots(p, costs, marks[0], "")
}

// rates is the second: how many increments a second several processes make.
func (r *Report) rates() (*plot.Plot, error) {
	var rates []float64 // of the first number of processes for all ways, then of the second
	for i := range r.Settings.Procs {
		for _, result := range r.Ways {
			rates = append(rates, result.Contended[i].MOps)
		}
	}
	p := r.panel("Several processes (* goroutines of one)", "million increments a second", rates)
	for i, n := range r.Settings.Procs {
		of := rates[i*len(r.Ways):][:len(r.Ways)]
		if err := r.dots(p, of, marks[i], fmt.Sprintf("%d processes", n)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// words is the third: what was lost, and what a kill in the middle did.
func (r *Report) words() (*plot.Plot, error) {
	p := r.panel("Lost, and what a kill in the middle did", "", nil)
	m := r.Machine
	p.X.Label.Text = fmt.Sprintf("%s, %s/%s, %d cores", m.Go, m.OS, m.Arch, m.Cores)
	p.X.Min, p.X.Max = 0, 1
	p.X.LineStyle.Width, p.X.Tick.Marker = 0, plot.ConstantTicks{}
	err := r.column(p, 0, func(result Result) (string, bool) {
		if result.Lost == 0 {
			return "none lost", false
		}
		return significant(result.LostPercent, 2) + " % lost", true
	})
	if err != nil {
		return nil, err
	}
	return p, r.column(p, 0.3, func(result Result) (string, bool) {
		return result.Kill.String(), result.Kill.Outcome == Stuck
	})
}

// panel is a plot with a row for each way and a logarithmic axis for values.
func (r *Report) panel(title, unit string, values []float64) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = paper
	p.Title.Text, p.X.Label.Text = title, unit
	p.Title.Padding, p.X.Label.Padding = textSize/2, textSize/2
	for _, s := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style(s, ink)
	}
	p.X.LineStyle.Color, p.X.Tick.LineStyle.Color = faint, faint
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, textSize/4
	p.NominalY(make([]string, len(r.Ways))...)
	p.Y.Min, p.Y.Max = -0.5, float64(len(r.Ways))-0.5
	if len(values) == 0 {
		return p
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades(values)
	for _, t := range p.X.Tick.Marker.Ticks(0, 0) {
		p.X.Min, p.X.Max = min(p.X.Min, t.Value), max(p.X.Max, t.Value)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	p.Add(grid)
	return p
}

// style sets a text in the font that the chart is drawn with.
func style(s *text.Style, c color.Color) {
	s.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: textSize}
	s.Color = c
}

// decades is a tick at each power of ten around the values, and unnamed ones
// between.
func decades(values []float64) plot.ConstantTicks {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, math.Floor(math.Log10(v))), max(high, math.Ceil(math.Log10(v)))
	}
	every := 1
	if high-low > 5 {
		every = 2 // names of all would touch each other
	}
	var ticks plot.ConstantTicks
	for e := int(low); e <= int(high); e++ {
		t := plot.Tick{Value: math.Pow10(e), Label: " "} // a long tick without a name
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

// row returns where the i-th way is: the first at the top.
func (r *Report) row(i int) float64 { return float64(len(r.Ways) - 1 - i) }

// dots adds a dot for each way, and a legend if it has a name.
func (r *Report) dots(p *plot.Plot, values []float64, mark draw.GlyphStyle, name string) error {
	points := make(plotter.XYs, len(values))
	for i, v := range values {
		points[i] = plotter.XY{X: v, Y: r.row(i)}
	}
	s, err := plotter.NewScatter(points)
	if err != nil {
		return err
	}
	s.GlyphStyle = mark
	p.Add(s)
	if name != "" {
		p.Legend.Add(name, s)
	}
	return nil
}

// column adds words on each way from x on; those that warn are coloured.
func (r *Report) column(p *plot.Plot, x float64, say func(Result) (words string, warn bool)) error {
	var all plotter.XYLabels
	var styles []text.Style
	for i, result := range r.Ways {
		words, warn := say(result)
		s := text.Style{XAlign: draw.XLeft, YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
		style(&s, ink)
		if warn {
			s.Color = warning
		}
		all.XYs = append(all.XYs, plotter.XY{X: x, Y: r.row(i)})
		all.Labels, styles = append(all.Labels, words), append(styles, s)
	}
	l, err := plotter.NewLabels(all)
	if err != nil {
		return err
	}
	l.TextStyle = styles
	p.Add(l)
	return nil
}
