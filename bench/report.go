package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// report is everything a run found, as it is printed and written to a file.
type report struct {
	Started   time.Time `json:"started"`
	Machine   machine   `json:"machine"`
	Settings  settings  `json:"settings"`
	Workloads []*table  `json:"workloads"`
}

// settings are what was measured with.
type settings struct {
	sizes
	Durability string `json:"durability"`
}

// table is the result of one workload.
type table struct {
	Name  string        `json:"name"`
	What  string        `json:"what"`
	Took  time.Duration `json:"took_ns"`
	Rows  []*row        `json:"rows"`
	Grid  *grid         `json:"grid,omitempty"`
	Notes []string      `json:"notes,omitempty"`
	// Curves are for the page; their figures are in the grid too.
	Curves []*curve `json:"curves,omitempty"`
}

// curve is how a figure grows with the number of messages in the file.
type curve struct {
	What    string    `json:"what"`
	Unit    string    `json:"unit"`
	Sizes   []int     `json:"sizes"`
	Figures []float64 `json:"figures"`
}

// grid is for figures that many cases have in common, at each of those that are
// compared.
type grid struct {
	Columns []string    `json:"columns"`
	Lines   []*gridLine `json:"lines"`
}

// gridLine has a series per column, which is empty where there is no figure.
type gridLine struct {
	What    string   `json:"what"`
	Of      string   `json:"of"`
	Figures []series `json:"figures"`
}

// row is one line of a table: a figure over repetitions, latencies, or both;
// how it compares with what; and the target it should meet.
type row struct {
	What    string     `json:"what"`
	Unit    string     `json:"unit,omitempty"`
	Values  series     `json:"values,omitempty"`
	Latency *quantiles `json:"latency,omitempty"`
	Ratio   series     `json:"ratio,omitempty"`
	To      string     `json:"to,omitempty"` // what the ratio is to
	Target  *target    `json:"target,omitempty"`
	Cut     bool       `json:"cut,omitempty"`    // reckoned from a part
	Cannot  string     `json:"cannot,omitempty"` // why there is no figure
}

// target is a bound from the list of targets in the README, by its number.
type target struct {
	ID      int     `json:"id"`
	Bound   float64 `json:"bound"`
	AtLeast bool    `json:"at_least,omitempty"` // otherwise at most
	Got     float64 `json:"got"`
	OK      bool    `json:"ok"`
}

func newReport(m machine, sz sizes) *report {
	return &report{Started: time.Now().UTC().Truncate(time.Second), Machine: m, Settings: settings{sz, "SyncAlways"}}
}

func (r *report) begin(name, what string) {
	r.Workloads = append(r.Workloads, &table{Name: name, What: what})
}

func (r *report) current() *table { return r.Workloads[len(r.Workloads)-1] }

func (r *report) note(format string, args ...any) {
	t := r.current()
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// rates adds a line with a figure over repetitions.
func (r *report) rates(what, unit string, values series) *row {
	return r.add(&row{What: what, Unit: unit, Values: values})
}

// times adds a line with latencies.
func (r *report) times(what string, q quantiles) *row {
	return r.add(&row{What: what, Latency: &q})
}

func (r *report) add(line *row) *row {
	t := r.current()
	t.Rows = append(t.Rows, line)
	return line
}

// gridLine adds a line to the grid of the table, which has these columns.
func (r *report) gridLine(columns []string, what, of string, figures ...series) {
	t := r.current()
	if t.Grid == nil {
		t.Grid = &grid{Columns: columns}
	}
	t.Grid.Lines = append(t.Grid.Lines, &gridLine{what, of, figures})
}

func (r *report) curve(c *curve) {
	t := r.current()
	t.Curves = append(t.Curves, c)
}

func (w *row) latency(q quantiles) *row { w.Latency = &q; return w }

func (w *row) ratio(to string, values ...float64) *row {
	w.To, w.Ratio = to, values
	return w
}

// atMost and atLeast hold the row to a target: its ratio if it has one, else
// its figure. Latencies have no one figure: give them a row with Values.
func (w *row) atMost(id int, bound float64) *row { return w.hold(id, bound, false) }

func (w *row) atLeast(id int, bound float64) *row { return w.hold(id, bound, true) }

func (w *row) hold(id int, bound float64, atLeast bool) *row {
	got := w.Values.median()
	if w.Ratio != nil {
		got = w.Ratio.median()
	}
	w.Target = &target{ID: id, Bound: bound, AtLeast: atLeast, Got: got}
	w.Target.OK = atLeast && got >= bound || !atLeast && got <= bound
	return w
}

func (t *target) String() string {
	sign, verdict := "≤", "MISS"
	if t.AtLeast {
		sign = "≥"
	}
	if t.OK {
		verdict = "OK"
	}
	return fmt.Sprintf("%d: %s %s %s", t.ID, sign, short(t.Bound), verdict)
}

func (r *report) printHead(out io.Writer) {
	m := r.Machine
	fmt.Fprintf(out, "Recall benchmark, %s\n", r.Started.Format(time.RFC3339))
	fmt.Fprintf(out, "machine     %s/%s, %d × %s, %d MiB, load %s\n", m.OS, m.Arch, m.Cores, known(m.CPU), m.MemoryMiB, known(m.Load))
	fmt.Fprintf(out, "kernel      %s, file system %s\n", known(m.Kernel), known(m.FileSystem))
	fmt.Fprintf(out, "disk        4 KiB appended and synced in %.2f ms (p50)\n", m.SyncMS)
	fmt.Fprintf(out, "software    %s, GOGC %s, Recall %s\n", m.GoVersion, m.GOGC, known(m.Recall))
	fmt.Fprintf(out, "settings    durability %s, %s messages, %d repetitions of %v\n",
		r.Settings.Durability, short(float64(r.Settings.N)), r.Settings.Reps, r.Settings.Window)
	if m.inMemory() {
		fmt.Fprintf(out, "WARNING     the files are on %s, which never syncs: choose a real disk with -dir\n", m.FileSystem)
	}
	fmt.Fprintf(out, "\nFigures are the median [min–max] of the repetitions. Ratios are taken in this run, on this disk.\n")
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (r *report) end(out io.Writer, took time.Duration) {
	t := r.current()
	t.Took = took
	fmt.Fprintf(out, "\n%s: %s (%.0f s)\n", t.Name, t.What, took.Seconds())
	cells := [][]string{{"", "figure", "p50 / p99 / max ms", "ratio", "target"}}
	for _, w := range t.Rows {
		cells = append(cells, w.cells())
	}
	printAligned(out, cells)
	if t.Grid != nil {
		fmt.Fprintln(out)
		printAligned(out, t.Grid.cells())
	}
	for _, n := range t.Notes {
		fmt.Fprintf(out, "  note: %s\n", n)
	}
}

// cells names what the lines are about once, above its first one.
func (g *grid) cells() [][]string {
	cells := [][]string{append([]string{"", ""}, g.Columns...)}
	last := ""
	for _, l := range g.Lines {
		what := l.What
		if what == last {
			what = ""
		}
		last = l.What
		line := []string{what, l.Of}
		for _, f := range l.Figures {
			line = append(line, f.String())
		}
		cells = append(cells, line)
	}
	return cells
}

func (w *row) cells() []string {
	c := []string{w.What, "", "", "", ""}
	if w.Values != nil {
		c[1] = strings.TrimSpace(w.Values.String() + " " + w.Unit)
	}
	if w.Cut {
		c[1] += " (cut)"
	}
	if w.Cannot != "" {
		c[1] = "cannot"
	}
	if w.Latency != nil {
		c[2] = w.Latency.String()
	}
	if w.Ratio != nil {
		c[3] = w.Ratio.String() + "× " + w.To
	}
	if w.Target != nil {
		c[4] = w.Target.String()
	}
	return c
}

// printAligned counts runes: every one used here is a column wide.
func printAligned(out io.Writer, cells [][]string) {
	width := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for _, line := range cells {
		var b strings.Builder
		for i, c := range line {
			b.WriteString("  " + c + strings.Repeat(" ", width[i]-len([]rune(c))))
		}
		fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
}

func (s series) String() string {
	if len(s) == 0 {
		return "–"
	}
	if len(s) == 1 {
		return short(s[0])
	}
	lo, hi := s[0], s[0]
	for _, v := range s {
		lo, hi = min(lo, v), max(hi, v)
	}
	return fmt.Sprintf("%s [%s–%s]", short(s.median()), short(lo), short(hi))
}

func (q quantiles) String() string {
	if q.Samples == 0 {
		return "no samples"
	}
	return fmt.Sprintf("%s / %s / %s (%d)", short(ms(q.P50)), short(ms(q.P99)), short(ms(q.Max)), q.Samples)
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// short writes a number with the digits that mean something: three.
func short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case a >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 1e3:
		return fmt.Sprintf("%.2fk", v/1e3)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10 || a == 0:
		return fmt.Sprintf("%.3g", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

func (r *report) printSummary(out io.Writer) {
	held, missed := 0, []string{}
	for _, t := range r.Workloads {
		for _, w := range t.Rows {
			switch {
			case w.Target == nil:
			case w.Target.OK:
				held++
			default:
				missed = append(missed, fmt.Sprintf("%d (%s: %s, got %s)", w.Target.ID, t.Name, w.What, short(w.Target.Got)))
			}
		}
	}
	fmt.Fprintf(out, "\n%d targets held, %d missed", held, len(missed))
	if len(missed) > 0 {
		fmt.Fprintf(out, ":\n  %s", strings.Join(missed, "\n  "))
	}
	fmt.Fprintf(out, "\nThe targets are stated for 1,000,000 messages on a quiet machine; a miss on another is a hint, not a failure.\n")
}

// save writes the report as JSON, by default beside the sources, if they are
// the working directory, and as a page, by default beside the JSON.
func (r *report) save(path, html string, out io.Writer) error {
	if path == "" {
		path = filepath.Join("results", fmt.Sprintf("%s-%s.json", r.Started.Format("20060102-150405"), runtime.GOOS))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return err
	}
	if _, err = fmt.Fprintf(out, "Results: %s\n", path); err != nil {
		return err
	}
	if html == "" {
		html = strings.TrimSuffix(path, filepath.Ext(path)) + ".html"
	}
	return r.saveHTML(html, out)
}
