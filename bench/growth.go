package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// growthTaken is how many messages each cancellation takes, whatever the size
// of the file; growthLabels is how many sets of so many there are, for a
// repetition each. A smaller file has no room for them.
const (
	growthTaken  = 1000
	growthLabels = 3
	growthLeast  = growthTaken * growthLabels
)

// growthSizes is the flag with the sizes.
type growthSizes []int

func (g *growthSizes) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint([]int(*g)), " ", ","), "[]")
}

func (g *growthSizes) Set(list string) error {
	*g = nil
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return err
		}
		if n < growthLeast || len(*g) > 0 && n <= (*g)[len(*g)-1] {
			return fmt.Errorf("%d is not over %d and the one before", n, growthLeast-1)
		}
		*g = append(*g, n)
	}
	return nil
}

// growthUnit is what one figure is measured in.
type growthUnit string

const (
	inMs     growthUnit = "ms"
	inMicros growthUnit = "µs per message"
	inBytes  growthUnit = "B per message"
)

const claimTurn = 200 // claims in each repetition

// growthFigures are the columns of the table, in the order of growthRun.figures.
var growthFigures = []struct {
	name string
	unit growthUnit
}{
	{"publish p50", inMs},
	{"cancel 1,000 scattered", inMs},
	{"count, one field", inMs},
	{"count, two fields", inMs},
	{"claim p50", inMs},
	{"open", inMicros},
	{"heap", inBytes},
	{"file", inBytes},
}

// growthRun is what was measured at one size.
type growthRun struct {
	n                            int
	publish, cancel, one, two    series // ms
	claim, opening, heap, onDisk series

	// What the bare machine needs for the like.
	put, lookup, column, earliest, read *limits
}

// newGrowthRun measures first what needs no file.
func (b *bench) newGrowthRun(n int) (*growthRun, error) {
	r := &growthRun{n: n, put: b.newLimits(), lookup: b.newLimits(), column: b.newLimits(), earliest: b.newLimits(), read: b.newLimits()}
	r.lookup.lookup()
	r.column.column(n, n/labelCount)
	r.earliest.earliest(n)
	return r, r.put.put()
}

// limits are those of the figures, in the same order, and their names.
func (r *growthRun) limits() []*limits {
	return []*limits{
		r.put, r.put, r.lookup, r.column, r.earliest, r.read, r.read.b.limitOf(idBytes), r.read.b.limitOf(bodyMean),
	}
}

var growthLimits = []string{
	barePut, barePut, bareLookup, bareColumn, "a bare heap of due times", "reading the file and bbolt's open", bareID, bareBody,
}

func (r *growthRun) figures() []series {
	return []series{r.publish, r.cancel, r.one, r.two, r.claim, r.opening, r.heap, r.onDisk}
}

// benchGrowth does the same to files of several sizes: what costs the same
// whatever waits, and what grows with it.
func benchGrowth(b *bench) error {
	var runs []*growthRun
	for _, n := range b.Growth {
		r, err := b.newGrowthRun(n)
		if err == nil {
			err = b.grow(r)
		}
		if err != nil {
			return fmt.Errorf("%d messages: %w", n, err)
		}
		runs = append(runs, r)
	}
	b.reportGrowth(runs)
	return nil
}

func growthShape(n int) shape {
	return shape{n: n, due: later(time.Now()), dress: func(i int, m *recall.Message) {
		m.Queue = "" // of a queue one message at a time may be claimed
		if k := growthLabelOf(n, i); k >= 0 {
			m.Labels = append(slices.Clip(m.Labels), growthLabel(k))
		}
	}}
}

// growthLabelOf returns which set of scattered messages message i belongs to, or
// -1: each set has growthTaken of them, spread over the file.
func growthLabelOf(n, i int) int {
	step := n / growthTaken
	if i/step >= growthTaken || i%step >= growthLabels {
		return -1
	}
	return i % step
}

func growthLabel(k int) string { return fmt.Sprintf("scattered-%d", k) }

func growthQuery(n, k int) query {
	return query{
		"1,000 scattered",
		recall.Filter{Labels: []string{growthLabel(k)}},
		func(i int) bool { return growthLabelOf(n, i) == k },
	}
}

func (b *bench) grow(r *growthRun) error {
	d, err := b.build("growth.db", growthShape(r.n))
	if d != nil {
		defer os.Remove(d.path)
	}
	if err != nil {
		return err
	}
	b.progress("measuring at %s messages", short(float64(r.n)))
	r.onDisk = series{float64(d.bytes) / float64(r.n)}
	if err := r.opens(d, min(b.Reps, 3)); err != nil {
		return err
	}
	if err := r.claims(d.path, b.Reps); err != nil {
		return err
	}
	return withBroker(d.path, 0, func(br *recall.Broker) error {
		for _, part := range []func(*bench, *recall.Broker, shape) error{r.counts, r.publishes, r.cancels} {
			if err := part(b, br, d.shape); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *growthRun) opens(d *dataset, reps int) error {
	var run openRun
	for range reps {
		if err := run.add(d); err != nil {
			return err
		}
	}
	perMessage := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(r.n) }
	for i, took := range run.took {
		r.opening = append(r.opening, perMessage(took))
		r.read.add(perMessage(run.read[i]))
	}
	r.heap = run.heap
	return nil
}

// claims takes one message at a time from the engine, as of a day when all are
// due, and gives it back.
func (r *growthRun) claims(path string, reps int) (err error) {
	e, err := recall.OpenEngine(path, options(0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	now := time.Now().Add(48 * time.Hour)
	for range reps {
		took, err := repeatTimed(claimTurn, func() (time.Duration, error) { return claimOne(e, now) })
		if err != nil {
			return err
		}
		r.claim = append(r.claim, ms(exact(took).P50))
	}
	return nil
}

func claimOne(e recall.Engine, now time.Time) (took time.Duration, err error) {
	var res recall.ClaimResult
	took, err = timed(func() error {
		res, err = e.Claim(bg, recall.ClaimRequest{Now: now, Max: 1})
		return err
	})
	if err != nil {
		return 0, err
	}
	if len(res.Leases) != 1 {
		return 0, fmt.Errorf("a claim took %d messages, not 1", len(res.Leases))
	}
	return took, e.Finish(bg, res.Leases[0], recall.Finish{Outcome: recall.Release, Now: now})
}

func (r *growthRun) counts(b *bench, br *recall.Broker, s shape) error {
	for _, c := range []struct {
		query query
		to    *series
	}{{byLabel(1), &r.one}, {byLabelAndAddress(1, 0), &r.two}} {
		for range b.Reps {
			took, err := timeCount(br, s, c.query, 10)
			if err != nil {
				return err
			}
			*c.to = append(*c.to, ms(exact(took).P50))
		}
	}
	return nil
}

// publishes has one goroutine publish one message after the other.
func (r *growthRun) publishes(b *bench, br *recall.Broker, s shape) error {
	next := s.n
	for range b.Reps {
		lat := newLatencies()
		_, err := parallel(1, b.Window, lat, func(int) error {
			next++
			return publishUnit(br, s, next, 1)
		})
		if err != nil {
			return err
		}
		r.publish = append(r.publish, ms(lat.quantiles().P50))
	}
	return nil
}

func (r *growthRun) cancels(b *bench, br *recall.Broker, s shape) error {
	m := newModel(s.n)
	for k := range min(b.Reps, growthLabels) {
		q := growthQuery(s.n, k)
		n := 0
		took, err := timed(func() error {
			result, err := br.CancelMatching(bg, q.filter)
			n = result.Cancelled
			return err
		})
		if err == nil {
			err = m.cancel(q, n)
		}
		if err == nil && n != growthTaken {
			err = fmt.Errorf("%d messages were cancelled, not %d", n, growthTaken)
		}
		if err != nil {
			return err
		}
		r.cancel = append(r.cancel, ms(took))
	}
	return nil
}

// reportGrowth gives a line of the grid per size, a curve per figure, and a row
// with what the largest file costs beside the smallest.
func (b *bench) reportGrowth(runs []*growthRun) {
	columns := make([]string, len(growthFigures))
	for i, f := range growthFigures {
		columns[i] = f.name + ", " + string(f.unit)
	}
	size := func(r *growthRun) string { return short(float64(r.n)) + " messages" }
	for _, r := range runs {
		b.report.gridLine(columns, size(r), recallName, r.figures()...)
		b.report.gridLine(columns, size(r), "the bare machine", bare(r.limits())...)
	}
	small, large := runs[0], runs[len(runs)-1]
	for i, f := range growthFigures {
		c := &curve{What: f.name, Unit: string(f.unit)}
		for _, r := range runs {
			c.Sizes, c.Figures = append(c.Sizes, r.n), append(c.Figures, r.figures()[i].median())
		}
		b.report.curve(c)
		line := b.report.rates(f.name+", "+size(large), string(f.unit), large.figures()[i])
		if base := small.figures()[i].median(); base > 0 && large != small {
			line.ratio(size(small), large.figures()[i].median()/base)
		}
	}
	for i, f := range growthFigures {
		large.limits()[i].share(f.name+", "+size(large), string(f.unit), growthLimits[i], large.figures()[i])
	}
	b.report.note("a count by one field reads a counter; by two it looks at each message with the label, a tenth of the file")
}

// bare are the figures of limits.
func bare(all []*limits) (figures []series) {
	for _, l := range all {
		figures = append(figures, l.values)
	}
	return figures
}
