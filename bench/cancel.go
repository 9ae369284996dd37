package main

import (
	"fmt"
	"time"

	"github.com/recallmq/recall"
)

const (
	loadPublishers = 16
	loadSlots      = 16
)

// benchCancel cancels from copies of the big file, first with nothing else
// going on, then with publishers and deliveries beside it.
func benchCancel(b *bench) error {
	d, err := b.big()
	if err != nil {
		return err
	}
	idle := &cancelRun{b: b, data: d}
	busy := &cancelRun{b: b, data: d, publishers: loadPublishers}
	for _, run := range []*cancelRun{idle, busy} {
		if err := run.all(); err != nil {
			return err
		}
	}
	busy.alone = exact(idle.calm)
	idle.report("idle")
	busy.report("load")
	idle.reportIdle()
	busy.reportLoad()
	if err := b.benchUnlink(d); err != nil {
		return err
	}
	b.report.note("small commit: the median of single publishes that ran alone: idle, each in the place of a cancellation, after the same wait; load, a row of them between the cancellations, with the load paused")
	b.report.note("load: %d publishers, %d slots; their pauses around each cancellation are in no figure", loadPublishers, loadSlots)
	return nil
}

// cancelRun collects what cancellations of one kind of surroundings took.
type cancelRun struct {
	b          *bench
	data       *dataset
	publishers int

	small, puts []time.Duration // commits with nothing beside them, one after the other
	calm        []time.Duration // a commit in the place of each cancellation, after the same wait; idle only
	alone       quantiles       // the same, of the idle run; under load only
	cases       []*cancelCase
	observed    []observation // what the load noticed, a copy of the file each
}

// cancelCase is one kind of filter.
type cancelCase struct {
	name    string
	matched int
	scanned int
	took    []time.Duration // to the answer
	swept   []time.Duration // from the answer to the end of background work
	written series          // bytes per cancelled message, idle only; empty if unknown
	growth  series          // of the file at the answer
	after   series          // of the file when swept
}

// observation is the load of one copy and when a tenth of it was cancelled.
type observation struct {
	publishes, waits            []span
	cancels, sweeps             []span
	beforeCancels, beforeSweeps []span
}

// all works through the plan: each round starts from a whole copy.
func (r *cancelRun) all() error {
	scattered, others, everything := cancelRounds(r.data.shape)
	rounds := [][]query{others}
	for range min(r.b.Reps, 3) {
		rounds = append(rounds, scattered, everything)
	}
	for _, queries := range rounds {
		r.b.progress("cancelling from a copy, %d publishers", r.publishers)
		if err := r.round(queries); err != nil {
			return err
		}
	}
	return nil
}

// scatteredLabels is how many of the ten labels are cancelled before the file
// is so empty that the sweep rewrites it. One more is, and it is told apart.
const scatteredLabels = 7

// cancelRounds returns what is cancelled from one copy, one after the other.
func cancelRounds(s shape) (scattered, others, everything []query) {
	for k := range scatteredLabels {
		scattered = append(scattered, byLabel(k))
	}
	last := byLabel(scatteredLabels)
	last.name = "the same, leaving a fifth"
	scattered = append(scattered, last)
	for k := range markCount {
		others = append(others, byMark(k))
	}
	for k := range 5 {
		others = append(others, byLabelAndAddress(0, 7*k))
	}
	for k := range 5 {
		others = append(others, byQueue(s, 2*k))
	}
	return scattered, others, []query{byHost()}
}

func (r *cancelRun) round(queries []query) error {
	return r.b.withCopy(r.data, loadSlots, func(br *recall.Broker) error {
		bare, err := openPuts(r.b.path("puts.db"))
		if err != nil {
			return err
		}
		defer bare.close()
		c := &cancelCopy{run: r, broker: br, puts: bare, model: newModel(r.data.shape.n)}
		return c.all(queries)
	})
}

// cancelCopy is one copy of the file while it is being cancelled from.
type cancelCopy struct {
	run    *cancelRun
	broker *recall.Broker
	puts   *puts
	model  *model
	load   *load
	seen   observation
}

func (c *cancelCopy) all(queries []query) error {
	var err error
	if c.load, err = startLoad(c.broker, c.run.publishers); err != nil {
		return err
	}
	time.Sleep(2 * c.run.b.Gap) // warm-up
	for _, q := range queries {
		if err := c.one(q); err != nil {
			return err
		}
		if err := c.load.pause(c.smallCommits); err != nil {
			return err
		}
	}
	if err := c.load.finish(); err != nil {
		return err
	}
	c.seen.publishes, c.seen.waits = c.load.publishes, c.load.waits
	c.run.observed = append(c.run.observed, c.seen)
	return nil
}

// one cancels by a query, checks the count and waits for the sweep.
func (c *cancelCopy) one(q query) error {
	if c.run.publishers == 0 {
		c.busiest(c.run.b.Gap)
		took, err := c.publishAlone(0)
		if err != nil {
			return err
		}
		c.run.calm = append(c.run.calm, took)
	}
	calm := c.busiest(c.run.b.Gap)
	before, wroteBefore := c.broker.Stats(), wrote()
	from := c.load.now()
	result, err := c.broker.CancelMatching(bg, q.filter)
	to := c.load.now()
	answered, wroteAt := c.broker.Stats(), wrote()
	if err != nil {
		return err
	}
	if err := c.model.cancel(q, result.Cancelled); err != nil {
		return err
	}
	last, err := waitRest(c.broker, c.sweeping(calm))
	if err != nil {
		return err
	}
	swept := last.Sub(c.load.start)
	k := c.run.caseOf(q.name)
	k.matched, k.scanned = result.Cancelled, result.Scanned
	k.took = append(k.took, to-from)
	k.swept = append(k.swept, swept-to)
	if c.run.publishers == 0 {
		k.growth = append(k.growth, float64(answered.FileBytes-before.FileBytes))
		k.after = append(k.after, float64(c.broker.Stats().FileBytes-before.FileBytes))
		if wroteAt > 0 {
			k.written = append(k.written, float64(wrote()-wroteBefore)/float64(max(1, result.Cancelled)))
		}
	}
	if q.name == byLabel(0).name {
		c.observe(span{from, to}, span{to, swept})
	}
	return nil
}

// sweeping tells whether background work goes on: until the backlog is back at
// what deliveries keep anyway, and then while segments go. With nothing beside
// it every commit is its own.
func (c *cancelCopy) sweeping(calm int) func(was, is recall.Stats) bool {
	return func(was, is recall.Stats) bool {
		idle := c.run.publishers == 0
		return is.Backlog > calm || is.Segments < was.Segments || idle && is.Commits != was.Commits
	}
}

// lazyBacklog is what may always be waiting beside deliveries: finished
// messages are folded some thousands at a time.
const lazyBacklog = 5000

// busiest watches the backlog for a while. Deliveries keep some of it all the
// time; a sweep is over when no more than that is left.
func (c *cancelCopy) busiest(during time.Duration) (most int) {
	if c.run.publishers > 0 {
		most = lazyBacklog
	}
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		most = max(most, c.broker.Stats().Backlog)
	}
	return most
}

// observe notes when the cancellation and its sweep ran, and for each a quiet
// time of the same length just before: long publishes are more likely to
// overlap a window, so only windows of one length compare.
func (c *cancelCopy) observe(cancel, sweep span) {
	gap := c.run.b.Gap / 10
	c.seen.cancels = append(c.seen.cancels, cancel)
	c.seen.beforeCancels = append(c.seen.beforeCancels, cancel.before(cancel.from, gap))
	c.seen.sweeps = append(c.seen.sweeps, sweep)
	quiet := sweep.before(cancel.from, gap)
	quiet.from = max(quiet.from, cancel.from-c.run.b.Gap)
	c.seen.beforeSweeps = append(c.seen.beforeSweeps, quiet)
}

// smallCommits times what the ratios are taken to: single publishes, and puts
// into a bare file, in turn.
func (c *cancelCopy) smallCommits() error {
	for i := range c.run.b.Small {
		took, err := c.publishAlone(i)
		if err != nil {
			return err
		}
		c.run.small = append(c.run.small, took)
		if took, err = timed(c.puts.put); err != nil {
			return err
		}
		c.run.puts = append(c.run.puts, took)
	}
	return nil
}

func (c *cancelCopy) publishAlone(i int) (time.Duration, error) {
	return timed(func() error {
		_, err := c.broker.Publish(bg, recall.Message{URL: "local:nobody", Body: bodyOf(i)})
		return err
	})
}

func (r *cancelRun) caseOf(name string) *cancelCase {
	for _, k := range r.cases {
		if k.name == name {
			return k
		}
	}
	k := &cancelCase{name: name}
	r.cases = append(r.cases, k)
	return k
}

// wrote is writtenBytes, 0 where the platform does not tell.
func wrote() int64 {
	n, _ := writtenBytes()
	return n
}

func (r *cancelRun) report(where string) {
	small := exact(r.small)
	r.b.report.times("one publish alone, "+where, small)
	if len(r.calm) > 0 {
		r.b.report.times("one publish in the place of a cancellation, "+where, exact(r.calm)).
			ratio("one of a row", float64(exact(r.calm).P50)/float64(small.P50))
		small = exact(r.calm)
	}
	r.b.report.times("one bare bbolt put, "+where, exact(r.puts)).
		ratio("small commit", float64(exact(r.puts).P50)/float64(small.P50))
	for _, k := range r.cases {
		q := exact(k.took)
		line := r.b.report.times(fmt.Sprintf("cancel %s: %s of %s, %s", k.name, short(float64(k.matched)), short(float64(k.scanned)), where), q).
			ratio("small commit", float64(q.P50)/float64(small.P50))
		r.hold(k, line, q)
		r.reportWalk(k, where, small, q)
	}
}

// hold takes a cancellation to its target: in single commits with nothing beside them,
// whatever is beside the cancellation. A publish of the load says how it looks to the
// publishers: they share commits and processors.
func (r *cancelRun) hold(k *cancelCase, line *row, took quantiles) {
	id, bound := cancelBound(k.name)
	if id == 0 {
		return
	}
	if r.publishers > 0 {
		publish := r.publishBefore()
		if publish.Samples == 0 {
			return
		}
		r.b.report.rates("  the same, p50", "ms", series{ms(took.P50)}).
			ratio("a publish of the load", float64(took.P50)/float64(publish.P50))
		line = r.b.report.rates("  the same, p50", "ms", series{ms(took.P50)}).
			ratio("one small commit, idle", float64(took.P50)/float64(r.alone.P50))
	}
	line.atMost(id, bound)
}

// publishBefore is what publishers of the load saw before cancellations.
func (r *cancelRun) publishBefore() quantiles {
	var quiet []time.Duration
	for _, o := range r.observed {
		quiet = append(quiet, within(o.publishes, o.beforeCancels)...)
	}
	return exact(quiet)
}

// cancelBound is how many small commits a cancellation may take, and under
// which target; 0 if no target names it.
func cancelBound(name string) (id int, bound float64) {
	switch name {
	case byLabel(0).name:
		return 1, 5
	case byMark(0).name:
		return 2, 2.5
	case byHost().name:
		return 2, 40
	}
	return 0, 0
}

// reportWalk gives the targets that are no ratios.
func (r *cancelRun) reportWalk(k *cancelCase, where string, small, q quantiles) {
	if k.name != byLabel(0).name {
		return
	}
	if r.publishers > 0 {
		small = r.alone
	}
	perEntry := float64(q.P50-small.P50) / float64(max(1, k.scanned))
	r.b.report.rates("  beyond a small commit, per entry", "ns", series{max(0, perEntry)}).atMost(3, 100)
	limit := r.b.newLimits()
	limit.marks(r.data.shape.n, k.scanned)
	limit.share("  beyond a small commit, per entry", "ns", bareMark, series{max(0, perEntry)})
	if r.publishers > 0 {
		r.b.report.rates("  p99, "+where, "ms", series{ms(q.P99)}).atMost(1, 25)
	}
}

// reportIdle tells what the file does; other writers would hide it.
func (r *cancelRun) reportIdle() {
	for _, k := range r.cases {
		growth := r.b.report.rates("file growth at the answer, "+k.name, "B", k.growth)
		if k.name != byLabel(0).name {
			continue
		}
		growth.atMost(4, 1<<20)
		r.b.report.rates("file growth when swept, "+k.name, "B", k.after)
	}
	for _, k := range r.cases {
		line := r.b.report.times("sweep after "+k.name+", idle", exact(k.swept))
		if len(k.written) == 0 {
			continue
		}
		line.Values, line.Unit = k.written, "B written per message"
		if k.name == byLabel(0).name {
			line.atMost(6, 10)
		}
	}
}

// reportLoad tells what publishers and deliveries noticed.
func (r *cancelRun) reportLoad() {
	for _, k := range r.cases {
		if k.matched >= 2*lazyBacklog { // less would drown in the backlog of deliveries
			r.b.report.times("sweep after "+k.name+", load", exact(k.swept))
		}
	}
	var quiet, during, quietSweep, sweep, waitQuiet, waitDuring []time.Duration
	for _, o := range r.observed {
		quiet = append(quiet, within(o.publishes, o.beforeCancels)...)
		during = append(during, within(o.publishes, o.cancels)...)
		quietSweep = append(quietSweep, within(o.publishes, o.beforeSweeps)...)
		sweep = append(sweep, within(o.publishes, o.sweeps)...)
		waitQuiet = append(waitQuiet, within(o.waits, o.beforeCancels)...)
		waitDuring = append(waitDuring, within(o.waits, o.cancels)...)
	}
	r.compare("publish", "cancels of every 10th", quiet, during, 4, 2)
	r.compare("publish", "sweeps after them", quietSweep, sweep, 6, 3)
	r.compare("publish to handler", "cancels of every 10th", waitQuiet, waitDuring, 0, 0)
}

func (r *cancelRun) compare(what, during string, before, then []time.Duration, id int, bound float64) {
	quiet, busy := exact(before), exact(then)
	r.b.report.times(what+" before "+during, quiet)
	line := r.b.report.times(what+" during "+during, busy)
	if quiet.Samples == 0 || busy.Samples == 0 {
		return
	}
	line.ratio("before", float64(busy.P50)/float64(quiet.P50))
	if id != 0 {
		line.atMost(id, bound)
	}
}
