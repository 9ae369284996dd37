package main

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	colorHeld   = color.RGBA{0x2e, 0x8b, 0x57, 255}
	colorMissed = color.RGBA{0xc0, 0x39, 0x2b, 255}
	colorPlain  = color.RGBA{0x8a, 0x95, 0xa5, 255}
	colorTarget = color.RGBA{0x22, 0x22, 0x22, 255}
	palette     = []color.Color{colorPlain, color.RGBA{0x2f, 0x6f, 0xb3, 255}, colorMissed, colorHeld, color.RGBA{0x8e, 0x44, 0xad, 255}}
)

const (
	plotWidth = 26 * vg.Centimeter
	lineOf    = 0.75 * vg.Centimeter // height for each line of a plot with names
	frameOf   = 2.2 * vg.Centimeter  // and for its title and axis
	barOf     = 0.42 * vg.Centimeter
)

func newPlot(title, x string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, x
	for _, style := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Font.Variant = "Sans"
		style.Font.Size = font.Points(10)
	}
	p.Legend.Top = true
	p.Legend.ThumbnailWidth = vg.Centimeter
	return p
}

// svgOf draws a plot to stand within a page: without the prolog of a file, and
// of the width that the page gives it.
func svgOf(p *plot.Plot, height vg.Length) (template.HTML, error) {
	c := vgsvg.New(plotWidth, height)
	p.Draw(draw.New(c))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", err
	}
	_, rest, _ := bytes.Cut(out.Bytes(), []byte("<svg"))
	_, inside, ok := bytes.Cut(rest, []byte(">"))
	if !ok {
		return "", fmt.Errorf("the plot %q is no SVG", p.Title.Text)
	}
	head := fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`, plotWidth.Points(), height.Points(), template.HTMLEscapeString(p.Title.Text))
	return template.HTML(head + string(inside)), nil //nolint:gosec // the texts in it were escaped by vgsvg
}

// bar is one of a plot of bars: a median with its range, and a target.
type bar struct {
	name   string
	values series
	target *target
}

// drawBars draws the first bar at the top. Each has a line at its own bound.
func drawBars(title, x string, bars []bar) (template.HTML, error) {
	bars = slices.Clone(bars)
	slices.Reverse(bars) // the axis goes upwards
	p := newPlot(title, x)
	p.X.Min = 0
	if err := addBars(p, bars); err != nil {
		return "", err
	}
	if err := addRanges(p, bars); err != nil {
		return "", err
	}
	if err := addBounds(p, bars); err != nil {
		return "", err
	}
	names := make([]string, len(bars))
	for i := range bars {
		names[i] = bars[i].name
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	p.X.Max *= 1.05
	p.Legend.Top = false // the longest bars are not at the bottom more often than at the top
	return svgOf(p, frameOf+lineOf*vg.Length(len(bars)))
}

// addBars adds a chart for each verdict, in which the others are empty.
// Without any target there is nothing to tell them apart by.
func addBars(p *plot.Plot, bars []bar) error {
	targets := slices.ContainsFunc(bars, func(b bar) bool { return b.target != nil })
	for _, kind := range []struct {
		name  string
		color color.Color
		is    func(*target) bool
	}{
		{"held", colorHeld, func(t *target) bool { return t != nil && t.OK }},
		{"missed", colorMissed, func(t *target) bool { return t != nil && !t.OK }},
		{"no target", colorPlain, func(t *target) bool { return t == nil }},
	} {
		values, any := make(plotter.Values, len(bars)), false
		for i, b := range bars {
			if kind.is(b.target) {
				values[i], any = b.values.median(), true
			}
		}
		if !any {
			continue
		}
		chart, err := plotter.NewBarChart(values, barOf)
		if err != nil {
			return err
		}
		chart.Horizontal, chart.Color, chart.Width = true, kind.color, barOf
		chart.LineStyle.Width = 0
		p.Add(chart)
		if targets {
			p.Legend.Add(kind.name, chart)
		}
	}
	return nil
}

// addRanges adds lines from the smallest to the largest repetition.
func addRanges(p *plot.Plot, bars []bar) error {
	for i, b := range bars {
		if len(b.values) < 2 {
			continue
		}
		line, err := plotter.NewLine(plotter.XYs{{X: slices.Min(b.values), Y: float64(i)}, {X: slices.Max(b.values), Y: float64(i)}})
		if err != nil {
			return err
		}
		p.Add(line)
	}
	return nil
}

func addBounds(p *plot.Plot, bars []bar) error {
	shown := false
	for i, b := range bars {
		if b.target == nil {
			continue
		}
		line, err := plotter.NewLine(plotter.XYs{{X: b.target.Bound, Y: float64(i) - 0.45}, {X: b.target.Bound, Y: float64(i) + 0.45}})
		if err != nil {
			return err
		}
		line.Color, line.Width = colorTarget, vg.Points(2)
		p.Add(line)
		if !shown {
			p.Legend.Add("target", line)
			shown = true
		}
	}
	return nil
}

// drawLatencies draws p50, p99 and the largest of each, on a logarithmic axis.
func drawLatencies(title string, rows []*row) (template.HTML, error) {
	rows = slices.Clone(rows)
	slices.Reverse(rows)
	p := newPlot(title, "ms")
	names := make([]string, len(rows))
	points := make([]plotter.XYs, 3)
	for i, r := range rows {
		names[i] = r.What
		for k, d := range []float64{ms(r.Latency.P50), ms(r.Latency.P99), ms(r.Latency.Max)} {
			points[k] = append(points[k], plotter.XY{X: max(d, leastLog), Y: float64(i)})
		}
		line, err := plotter.NewLine(plotter.XYs{points[0][i], points[2][i]})
		if err != nil {
			return "", err
		}
		line.Color = colorPlain
		p.Add(line)
	}
	for k, name := range []string{"p50", "p99", "max"} {
		if err := addPoints(p, name, points[k], k+1); err != nil {
			return "", err
		}
	}
	logAxis(&p.X)
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(rows))-0.4
	return svgOf(p, frameOf+lineOf*vg.Length(len(rows)))
}

// leastLog stands for what a logarithmic axis cannot show.
const leastLog = 1e-6

func addPoints(p *plot.Plot, name string, at plotter.XYs, k int) error {
	scatter, err := plotter.NewScatter(at)
	if err != nil {
		return err
	}
	scatter.Color, scatter.Shape, scatter.Radius = palette[k%len(palette)], draw.CircleGlyph{}, vg.Points(3)
	p.Add(scatter)
	p.Legend.Add(name, scatter)
	return nil
}

// logAxis makes an axis logarithmic, from a little below its data to a little
// above it, so that there is a power of ten to be named.
func logAxis(a *plot.Axis) {
	a.Min, a.Max = a.Min/2, a.Max*2
	if a.Max < 12*a.Min {
		a.Min, a.Max = a.Min/4, a.Max*4
	}
	a.Scale, a.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
}

// drawCurves draws a line for each curve, on two logarithmic axes. What is not
// above zero has no place there, and is left out.
func drawCurves(title, unit string, curves []*curve) (template.HTML, error) {
	p := newPlot(title, "messages in the file")
	p.Y.Label.Text = unit
	drawn := 0
	for i, c := range curves {
		var at plotter.XYs
		for k, size := range c.Sizes {
			if v := c.Figures[k]; v > 0 && !math.IsInf(v, 0) {
				at = append(at, plotter.XY{X: float64(size), Y: v})
			}
		}
		if len(at) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(at)
		if err != nil {
			return "", err
		}
		line.Color, points.Color, points.Shape = palette[i%len(palette)], palette[i%len(palette)], draw.CircleGlyph{}
		line.Width = vg.Points(1.5)
		p.Add(line, points)
		p.Legend.Add(c.What, line, points)
		drawn++
	}
	if drawn == 0 {
		return "", nil
	}
	p.Legend.Left = true
	logAxis(&p.X)
	logAxis(&p.Y)
	p.Y.Max *= 4 // room for the legend
	return svgOf(p, plotWidth/2)
}
