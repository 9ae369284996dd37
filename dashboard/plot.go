package dashboard

import (
	"fmt"
	"math"
	"strings"
	"time"
)

const plotWidth, plotHeight = 600, 120

// plot is one or two series over the time that ends now, drawn as lines.
type plot struct {
	Title  string
	Unit   string
	Series []series
	Top    float64 // of the scale
	Span   time.Duration
	Empty  string // why nothing is drawn
}

// spans are those that a plot may have: the first that has room for all samples.
var spans = []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, span}

func spanOf(samples []sample, now time.Time) time.Duration {
	for _, s := range spans {
		if len(samples) == 0 || now.Sub(samples[0].at) <= s {
			return s
		}
	}
	return span
}

// series is one line of a plot. Points are those of an SVG polyline; where nobody
// looked for a while a new one begins.
type series struct {
	Name  string
	Last  float64
	Lines []string
}

// Describe says in words what a plot shows, for those who do not see it.
func (p plot) Describe() string {
	parts := make([]string, len(p.Series))
	for i, s := range p.Series {
		parts[i] = fmt.Sprintf("%s now %s%s", s.Name, decimal(s.Last), p.Unit)
	}
	return fmt.Sprintf("%s over the last %s: %s; the scale ends at %s%s", p.Title, took(p.Span), strings.Join(parts, ", "), decimal(p.Top), p.Unit)
}

// value picks a number of a sample; ok is false where there is none.
type value func(*sample) (y float64, ok bool)

// draw makes a plot of samples, which end now.
func draw(title, unit string, samples []sample, now time.Time, names []string, values []value) plot {
	p := plot{Title: title, Unit: unit, Span: spanOf(samples, now)}
	for _, v := range values {
		for i := range samples {
			if y, ok := v(&samples[i]); ok {
				p.Top = max(p.Top, y)
			}
		}
	}
	p.Top = niceTop(p.Top)
	drawn := false
	for i, v := range values {
		s := p.line(samples, now, v)
		s.Name = names[i]
		drawn = drawn || len(s.Lines) > 0
		p.Series = append(p.Series, s)
	}
	if !drawn {
		p.Empty = "Nothing yet"
	}
	return p
}

// line draws one series. Its gaps are where no value is, or nobody looked.
func (p *plot) line(samples []sample, now time.Time, v value) (s series) {
	var points []string
	end := func() {
		if len(points) > 0 {
			s.Lines = append(s.Lines, strings.Join(points, " "))
		}
		points = nil
	}
	for i := range samples {
		y, ok := v(&samples[i])
		if !ok || i > 0 && samples[i].at.Sub(samples[i-1].at) > span/4 {
			end()
		}
		if ok {
			s.Last = y
			x := plotWidth * (1 - now.Sub(samples[i].at).Seconds()/p.Span.Seconds())
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, plotHeight-2-(plotHeight-6)*y/p.Top))
		}
	}
	end()
	return s
}

// niceTop is the least of 1, 2, 5, 10, 20, … that is not below the highest value.
func niceTop(highest float64) float64 {
	if highest <= 1 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if top := factor * step; top >= highest {
			return top
		}
	}
	return highest
}
