package main

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"known": known, "short": short, "date": func(t time.Time) string { return t.Format(time.RFC3339) },
	"seconds": func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) },
}).Parse(pageText))

// pageData is a report as the page shows it.
type pageData struct {
	*report
	Warning      string
	Held, Missed int
	Targets      template.HTML // plot of all of them; empty if there are none
	Tables       []pageTable
}

type pageTable struct {
	*table
	Lines []pageLine
	Cells [][]string // of the grid, with its head
	Plots []template.HTML
}

// pageLine is a row with the class of its verdict.
type pageLine struct {
	Cells []string
	Class string
}

// writeHTML writes the report as one page that needs nothing else: no script,
// and its plots are part of it.
func (r *report) writeHTML(out io.Writer) error {
	d := pageData{report: r}
	if r.Machine.inMemory() {
		d.Warning = fmt.Sprintf("The files were on %s, which never syncs.", r.Machine.FileSystem)
	}
	var err error
	if d.Targets, err = r.plotTargets(); err != nil {
		return err
	}
	for _, t := range r.Workloads {
		one, err := t.forPage()
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		d.Tables = append(d.Tables, one)
		for _, w := range t.Rows {
			switch {
			case w.Target == nil:
			case w.Target.OK:
				d.Held++
			default:
				d.Missed++
			}
		}
	}
	return page.Execute(out, d)
}

func (r *report) saveHTML(path string, out io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(r.writeHTML(file), file.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Page:    %s\n", path)
	return err
}

func (t *table) forPage() (pageTable, error) {
	one := pageTable{table: t}
	for _, w := range t.Rows {
		one.Lines = append(one.Lines, pageLine{w.cells(), w.Target.class()})
	}
	if t.Grid != nil {
		one.Cells = t.Grid.cells()
	}
	for _, draw := range []func() ([]template.HTML, error){t.plotCurves, t.plotRatios, t.plotLatencies} {
		plots, err := draw()
		if err != nil {
			return one, err
		}
		one.Plots = append(one.Plots, plots...)
	}
	return one, nil
}

func (t *target) class() string {
	switch {
	case t == nil:
		return ""
	case t.OK:
		return "held"
	}
	return "missed"
}

// plotTargets puts all targets on one scale: the share of its bound that each
// took, turned over for those that are at least something. At most 1 is held.
func (r *report) plotTargets() (template.HTML, error) {
	var bars []bar
	for _, t := range r.Workloads {
		for _, w := range t.Rows {
			if w.Target == nil {
				continue
			}
			share := w.Target.Got / w.Target.Bound
			if w.Target.AtLeast {
				share = w.Target.Bound / w.Target.Got
			}
			name := fmt.Sprintf("%d: %s, %s: %s", w.Target.ID, t.Name, strings.TrimSpace(w.What), short(share))
			bars = appendBar(bars, bar{name, series{min(share, mostShare)}, &target{Bound: 1, OK: w.Target.OK}})
		}
	}
	if len(bars) == 0 {
		return "", nil
	}
	return drawBars("All targets, as shares of their bounds", fmt.Sprintf("share of the bound: at most 1 is held; bars end at %d", mostShare), bars)
}

// mostShare is where bars of targets end, so that one that is far off does not
// make the others invisible.
const mostShare = 3

// appendBar leaves out what cannot be drawn.
func appendBar(bars []bar, b bar) []bar {
	for _, v := range b.values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return bars
		}
	}
	if len(b.values) == 0 {
		return bars
	}
	return append(bars, b)
}

// plotRatios draws a plot for each thing that others are compared with.
func (t *table) plotRatios() (plots []template.HTML, err error) {
	var to []string
	bars := map[string][]bar{}
	for _, w := range t.Rows {
		if bars[w.To] == nil && len(w.Ratio) > 0 {
			to = append(to, w.To)
		}
		bars[w.To] = appendBar(bars[w.To], bar{strings.TrimSpace(w.What), w.Ratio, w.Target})
	}
	for _, what := range to {
		if len(bars[what]) == 0 {
			continue
		}
		one, err := drawBars(t.Name+": ratios to "+what, "× "+what, bars[what])
		if err != nil {
			return nil, err
		}
		plots = append(plots, one)
	}
	return plots, nil
}

func (t *table) plotLatencies() ([]template.HTML, error) {
	var rows []*row
	for _, w := range t.Rows {
		if w.Latency != nil && w.Latency.Samples > 0 {
			rows = append(rows, w)
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	one, err := drawLatencies(t.Name+": latencies", rows)
	return []template.HTML{one}, err
}

// plotCurves draws a plot for each unit.
func (t *table) plotCurves() (plots []template.HTML, err error) {
	var units []string
	curves := map[string][]*curve{}
	for _, c := range t.Curves {
		if curves[c.Unit] == nil {
			units = append(units, c.Unit)
		}
		curves[c.Unit] = append(curves[c.Unit], c)
	}
	for _, unit := range units {
		one, err := drawCurves(t.Name+": "+unit+" by size of the file", unit, curves[unit])
		if err != nil {
			return nil, err
		}
		plots = append(plots, one)
	}
	return plots, nil
}
