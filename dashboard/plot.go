package dashboard

import (
	"fmt"
	"math"
	"strings"
	"time"
)

const plotWidth, plotHeight = 600, 120

// plot is one or two series over the last two minutes, drawn as lines.
type plot struct {
	Title  string
	Unit   string
	Series []series
	Top    float64 // of the scale
	Empty  string  // why nothing is drawn
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
	return fmt.Sprintf("%s over the last two minutes: %s; the scale ends at %s%s", p.Title, strings.Join(parts, ", "), decimal(p.Top), p.Unit)
}

// value picks a number of a sample; ok is false where there is none.
type value func(*sample) (y float64, ok bool)

// draw makes a plot of samples, which end now.
func draw(title, unit string, samples []sample, now time.Time, names []string, values []value) plot {
	p := plot{Title: title, Unit: unit}
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
		s := line(samples, now, v, p.Top)
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
func line(samples []sample, now time.Time, v value, top float64) (s series) {
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
			x := plotWidth * (1 - now.Sub(samples[i].at).Seconds()/span.Seconds())
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, plotHeight-2-(plotHeight-6)*y/top))
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
