package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/dustin/go-humanize"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// theme has the colours of a chart.
type theme struct {
	name             string
	paper, ink, grid color.NRGBA
	series           []color.NRGBA
}

// themes have the colours of GitHub's light and dark pages. Series also differ in shape,
// for readers who cannot tell the colours apart.
var themes = []theme{
	{"light", rgb(0xffffff), rgb(0x1f2328), rgb(0xd1d9e0), []color.NRGBA{rgb(0x0969da), rgb(0xbc4c00), rgb(0x1a7f37), rgb(0x8250df), rgb(0xcf222e), rgb(0x59636e)}},
	{"dark", rgb(0x0d1117), rgb(0xf0f6fc), rgb(0x3d444d), []color.NRGBA{rgb(0x58a6ff), rgb(0xf0b45c), rgb(0x3fb950), rgb(0xbe8fff), rgb(0xff8182), rgb(0x9198a1)}},
}

func rgb(x uint32) color.NRGBA {
	return color.NRGBA{uint8(x >> 16), uint8(x >> 8), uint8(x), 0xff}
}

var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{}}

func (th *theme) glyph(i int) draw.GlyphStyle {
	return draw.GlyphStyle{Color: th.series[i%len(th.series)], Radius: 4, Shape: shapes[i%len(shapes)]}
}

// newPlot returns an empty chart in the colours of a theme.
func (th *theme) newPlot(title string) *plot.Plot {
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.BackgroundColor = th.paper
	p.Title.Text = title
	p.Title.Padding = 6
	p.Title.TextStyle.Color, p.Legend.TextStyle.Color = th.ink, th.ink
	p.Title.TextStyle.Font.Size = 14
	p.Legend.Top, p.Legend.Padding = true, 3
	p.Legend.TextStyle.Font.Size = 11
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color = th.ink, th.ink
		a.Tick.Color, a.Tick.Label.Color = th.ink, th.ink
		a.Tick.Label.Font.Size, a.Label.TextStyle.Font.Size = 11, 11
	}
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = th.grid, th.grid
	p.Add(g)
	return p
}

// decades puts ticks at powers of ten.
type decades struct{ label func(x float64) string }

// Ticks implements plot.Ticker.
func (d decades) Ticks(low, high float64) (all []plot.Tick) {
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		x := math.Pow(10, e)
		all = append(all, plot.Tick{Value: x, Label: d.label(x)})
	}
	return all
}

// logarithmic makes an axis logarithmic.
func logarithmic(a *plot.Axis, label func(x float64) string) {
	a.Scale, a.Tick.Marker = plot.LogScale{}, decades{label}
}

// number writes a number at an axis.
func number(x float64) string {
	if x < 1 {
		return fmt.Sprint(x)
	}
	return humanize.Comma(int64(x))
}

// save writes a chart as SVG.
func save(p *plot.Plot, width, height vg.Length, path string) error {
	c := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(c), 8, -16, 8, -8))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return fmt.Errorf("drawing %s: %w", path, err)
	}
	// The text was laid out in Liberation Sans, which few systems have. The other fonts have
	// the same or a similar width.
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, svg, 0o666)
}

// charts draws ratios: a row for each rival, and a mark for each column. What shm is
// faster in is right of the line at 1.
func (l *league) charts(dir string) error {
	for _, th := range themes {
		for _, c := range []struct {
			file, title string
			keys        []string
		}{
			{"league", "Time over that of shm: values", []string{"alone", "two", "read", "publish"}},
			{"league-processes", "Time over that of shm: processes", []string{"attach", "wake", "kill"}},
		} {
			p, rows, err := l.chart(&th, c.title, c.keys)
			if err != nil {
				return err
			}
			if rows == 0 {
				continue
			}
			path := filepath.Join(dir, c.file+"-"+th.name+".svg")
			if err := save(p, 750, vg.Length(90+24*rows), path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *league) chart(th *theme, title string, keys []string) (p *plot.Plot, rows int, err error) {
	p = th.newPlot(title)
	ratio := func(e *entry, key string) float64 {
		if key == "kill" {
			return e.KillNS.Median / l.Rivals[0].KillNS.Median
		}
		return e.Columns[key].Ratio
	}
	var shown []*entry
	for _, e := range slices.Backward(l.Rivals[1:]) {
		if slices.ContainsFunc(keys, func(key string) bool { return ratio(e, key) > 0 }) {
			shown = append(shown, e)
		}
	}
	if len(shown) == 0 {
		return nil, 0, nil
	}
	one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(shown)) - 0.5}})
	if err != nil {
		return nil, 0, err
	}
	one.Color, one.Width = th.ink, 1.2
	p.Add(one)
	for i, key := range keys {
		var xys plotter.XYs
		for y, e := range shown {
			if r := ratio(e, key); r > 0 && !math.IsInf(r, 0) {
				xys = append(xys, plotter.XY{X: r, Y: float64(y)})
			}
		}
		if len(xys) == 0 {
			continue
		}
		s, err := plotter.NewScatter(xys)
		if err != nil {
			return nil, 0, err
		}
		s.GlyphStyle = th.glyph(i)
		p.Add(s)
		p.Legend.Add(titleOf(key), s)
	}
	var names []string
	for _, e := range shown {
		names = append(names, e.Name)
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.5, float64(len(shown))-0.5
	logarithmic(&p.X, number)
	p.X.Min, p.X.Max = math.Pow(10, math.Floor(math.Log10(p.X.Min))), math.Pow(10, math.Ceil(math.Log10(p.X.Max)))
	p.X.Label.Text = "left of 1 the rival is faster, right of 1 shm is"
	return p, len(shown), nil
}

func titleOf(key string) string {
	for _, c := range columns {
		if c.key == key {
			return c.title
		}
	}
	return "kill -9 with the lock held"
}

// chart draws a curve: a line for each series that has the unit of the first one, with both
// axes logarithmic.
func (cu *curve) chart(th *theme, path string) error {
	p := th.newPlot(cu.Title)
	p.Legend.Left = true
	unit := cu.Series[0].Unit
	for i, s := range cu.Series {
		if s.Unit != unit {
			continue
		}
		var xys plotter.XYs
		for _, pt := range s.Points {
			xys = append(xys, plotter.XY{X: float64(pt.N), Y: max(pt.Y, 1e-3)}) // nothing has no logarithm
		}
		line, points, err := plotter.NewLinePoints(xys)
		if err != nil {
			return err
		}
		line.Color, line.Width, points.GlyphStyle = th.series[i], 1.5, th.glyph(i)
		p.Add(line, points)
		p.Legend.Add(s.Name, line, points)
	}
	logarithmic(&p.X, cu.at)
	logarithmic(&p.Y, unit.write)
	if cu.bytes { // powers of two
		var ticks plot.ConstantTicks
		for _, pt := range cu.Series[0].Points {
			ticks = append(ticks, plot.Tick{Value: float64(pt.N), Label: cu.at(float64(pt.N))})
		}
		p.X.Tick.Marker = ticks
	}
	p.X.Label.Text = cu.Grows
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Ceil(math.Log10(p.Y.Max*1.5)))
	if p.X.Min == p.X.Max {
		p.X.Max = 10 * p.X.Min
	}
	return save(p, 700, 330, path)
}
