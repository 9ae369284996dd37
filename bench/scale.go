package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// largeFactor is how much bigger than the big file the large one is: a tenth of
// the one is a fiftieth of the other.
const largeFactor = 5

// store is what the comparison needs of a queue that is open on a copy of its
// file.
type store interface {
	cancel(recall.Filter) (int, error)
	publish(recall.Message) error
	// prepare publishes messages and leaves no work of an earlier step behind.
	prepare([]recall.Message) error
	// deliver starts a worker that passes the gate of the traffic, and tells it
	// how long it waited from one message to the next.
	deliver(*traffic) error
	// afterwork does, or waits for, what a cancellation left for later, and
	// returns when that was done.
	afterwork() (time.Time, error)
	size() int64
	due() (int, error) // messages that wait for the worker
	close() error
}

// contender is one of those compared.
type contender struct {
	name string
	file func(*scaleData) *dataset
	open func(path string) (store, error)
}

const recallName = "Recall"

var contenders = []contender{
	{recallName, func(d *scaleData) *dataset { return d.recall }, openRecallQueue},
	{"SQLite DELETE", sqliteFile, sqliteOpen(sqliteDelete)},
	{"SQLite UPDATE", sqliteFile, sqliteOpen(sqliteUpdate)},
}

func sqliteFile(d *scaleData) *dataset { return d.sqlite }

func sqliteOpen(statement string) func(string) (store, error) {
	return func(path string) (store, error) {
		q, err := openSQLiteQueue(path, statement)
		if err != nil {
			return nil, err
		}
		return q, nil
	}
}

// recallQueue is a broker with one slot.
type recallQueue struct {
	broker    *recall.Broker
	delivered atomic.Int64
	published atomic.Int64
	busy      bool // deliveries go on, and leave a little for later all the time
}

func openRecallQueue(path string) (store, error) {
	br, err := openBroker(path, 1)
	if err != nil {
		return nil, err
	}
	return &recallQueue{broker: br}, nil
}

func (q *recallQueue) cancel(f recall.Filter) (int, error) {
	result, err := q.broker.CancelMatching(bg, f)
	return result.Cancelled, err
}

func (q *recallQueue) publish(m recall.Message) error {
	_, err := q.broker.Publish(bg, m)
	if err == nil && m.NotBefore.IsZero() {
		q.published.Add(1)
	}
	return err
}

func (q *recallQueue) prepare(msgs []recall.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	_, err := q.broker.PublishBatch(bg, msgs)
	q.published.Add(int64(len(msgs)))
	return err
}

// deliver: there is one slot, so the handler runs once at a time.
func (q *recallQueue) deliver(t *traffic) error {
	q.busy = true
	var free time.Duration // since when
	return q.broker.Handle(sink, func(context.Context, *recall.Delivery) error {
		if free > 0 {
			t.waited(span{free, t.now()})
		}
		t.gate.RLock()
		time.Sleep(pace)
		t.gate.RUnlock()
		q.delivered.Add(1)
		free = t.now()
		return nil
	})
}

// afterwork waits for the sweep. While the traffic pauses every commit is one
// of background work.
func (q *recallQueue) afterwork() (time.Time, error) {
	calm := 0
	if q.busy {
		calm = lazyBacklog
	}
	return waitRest(q.broker, func(was, is recall.Stats) bool {
		return is.Backlog > calm || is.Segments < was.Segments || is.Commits != was.Commits
	})
}

func (q *recallQueue) size() int64       { return q.broker.Stats().FileBytes }
func (q *recallQueue) due() (int, error) { return int(q.published.Load() - q.delivered.Load()), nil }
func (q *recallQueue) close() error      { return closeBroker(q.broker) }

// benchScale cancels shares of the same messages in Recall and in SQLite, each
// from copies of its file, in turn.
func benchScale(b *bench) error {
	if err := b.scale(b.N, shares{some: []int{1000, 100, 10}, all: true}); err != nil || b.Large == 0 {
		return err
	}
	return b.scale(b.Large, shares{some: []int{largeFactor * 10}})
}

// shares are what parts of a file are cancelled: one message in so many, and
// perhaps all of them.
type shares struct {
	some []int
	all  bool
}

func (b *bench) scale(n int, s shares) error {
	d, err := b.buildScale(n)
	if d != nil {
		defer d.remove()
	}
	if err != nil {
		return err
	}
	r := &scaleRun{b: b, data: d}
	if r.raw, err = openSyncs(b.path("syncs")); err != nil {
		return err
	}
	defer r.raw.close()
	if err := r.all(s); err != nil {
		return err
	}
	return r.report()
}

// scaleRun collects what the cancellations took.
type scaleRun struct {
	b     *bench
	data  *scaleData
	raw   *syncs
	lines []*scaleLine
	small map[string][]time.Duration // commits with nothing beside them, by contender
	syncs []time.Duration            // bare ones, taken in turn with the small commits
	usual map[string][]time.Duration // publishes beside deliveries only, by contender

	refused, dry int
}

// scaleLine is one case at one contender.
type scaleLine struct {
	scaleCase
	of      string
	matched int

	answers, toSmall, toSync series // beside traffic: ms, and ratios to the commits right after
	publish, deliver         series // longest waits during the answer, ms
	alone                    series // ms to the answer without traffic, as all below
	growth, written          series // bytes
	after                    series // ms
}

// all repeats the rounds beside traffic and ends with one without. A round is a
// list of cases for one copy of the file; they do not meet in it.
func (r *scaleRun) all(s shares) error {
	var scattered, contiguous []scaleCase
	for _, share := range s.some {
		one, two := r.data.scattered(share)
		scattered = append(scattered, one, two)
		one, two = r.data.contiguous(share)
		contiguous = append(contiguous, one, two)
	}
	reps := min(r.b.Reps, 3)
	for rep := range reps + 1 {
		for _, cases := range [][]scaleCase{scattered, contiguous} {
			if err := r.round(contenders, cases, rep < reps); err != nil { // the last one alone
				return err
			}
		}
	}
	if !s.all {
		return nil
	}
	return r.everything()
}

// everything is cancelled once per way, because SQLite needs so long for it. For
// the same reason there it is not cancelled alone: see footprintBeside.
func (r *scaleRun) everything() error {
	_, scattered := r.data.scattered(1)
	contiguous, _ := r.data.contiguous(1)
	for _, k := range []scaleCase{scattered, contiguous} {
		if err := r.round(contenders, []scaleCase{k}, true); err != nil {
			return err
		}
		if err := r.round(contenders[:1], []scaleCase{k}, false); err != nil {
			return err
		}
	}
	return nil
}

// footprintBeside tells whether growth, bytes and what comes after are taken
// beside traffic. It waits while SQLite is at it, so that there is little in
// those figures that is not of the cancellation.
func footprintBeside(share int, of string) bool { return share == 1 && of != recallName }

func (r *scaleRun) round(who []contender, cases []scaleCase, beside bool) error {
	for _, c := range who {
		how := "alone"
		if beside {
			how = "beside traffic"
		}
		r.b.progress("cancelling %s of %s from a copy, %s, %s", plural(len(cases), "part"), short(float64(r.data.shape.n)), c.name, how)
		err := r.b.withCopyAt(c.file(r.data), func(path string) error {
			q, err := c.open(path)
			if err != nil {
				return err
			}
			run := &scaleCopy{run: r, of: c.name, store: q, model: newModel(r.data.shape.n), beside: beside}
			err = errors.Join(run.all(cases), q.close())
			if s, ok := q.(*sqliteQueue); ok {
				r.refused += int(s.refused.Load())
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (r *scaleRun) line(c scaleCase, of string) *scaleLine {
	for _, l := range r.lines {
		if l.of == of && l.name == c.name && l.share == c.share {
			return l
		}
	}
	l := &scaleLine{scaleCase: c, of: of}
	r.lines = append(r.lines, l)
	return l
}

// scaleCopy is one copy of a file while it is being cancelled from.
type scaleCopy struct {
	run     *scaleRun
	of      string
	store   store
	model   *model
	beside  bool // with traffic beside it
	traffic *traffic
	cancels []span
}

// readyMessages wait for the worker when a cancellation begins, so that a wait
// of the worker is one for the store and not for the publisher.
const readyMessages = 1000

func (c *scaleCopy) all(cases []scaleCase) error {
	c.traffic = newTraffic()
	if c.beside {
		if err := c.store.deliver(c.traffic); err != nil {
			return err
		}
		c.traffic.publisher(func(i int) error { return c.store.publish(dueNow(i)) })
	}
	err := c.cases(cases)
	err = errors.Join(err, c.traffic.finish())
	if c.beside && err == nil {
		c.run.noteUsual(c.of, c.traffic.outside(c.cancels))
	}
	return err
}

func (r *scaleRun) noteUsual(of string, publishes []time.Duration) {
	if r.usual == nil {
		r.usual = map[string][]time.Duration{}
	}
	r.usual[of] = append(r.usual[of], publishes...)
}

func dueNow(i int) recall.Message { return recall.Message{URL: sink, Body: bodyOf(i)} }

func (c *scaleCopy) cases(cases []scaleCase) error {
	for _, k := range cases {
		if err := c.traffic.pause(c.prepare); err != nil {
			return err
		}
		if err := c.one(k); err != nil {
			return err
		}
	}
	return nil
}

func (c *scaleCopy) prepare() error {
	var msgs []recall.Message
	if c.beside {
		for i := range readyMessages {
			msgs = append(msgs, dueNow(i))
		}
	}
	return c.store.prepare(msgs)
}

// one cancels, lets the traffic go on for a moment, stops it, and waits for what
// the cancellation left behind.
func (c *scaleCopy) one(k scaleCase) error {
	if c.beside {
		time.Sleep(c.run.b.Gap)
	}
	size, wroteBefore := c.store.size(), wrote()
	from := c.traffic.now()
	n, err := c.store.cancel(k.filter)
	to := c.traffic.now()
	left := footprint{c.store.size() - size, wrote() - wroteBefore}
	if err != nil {
		return err
	}
	if !c.beside { // at once: this is when the sweep begins
		if err := c.settle(c.run.line(k, c.of), left); err != nil {
			return err
		}
	}
	if err := c.model.cancel(k.query, n); err != nil {
		return err
	}
	l := c.run.line(k, c.of)
	l.matched = n
	if !c.beside {
		l.alone = append(l.alone, ms(to-from))
		return nil
	}
	c.cancels = append(c.cancels, span{from, to})
	l.answers = append(l.answers, ms(to-from))
	time.Sleep(afterAnswer * c.run.b.Gap / 2)
	return c.traffic.pause(func() error { return c.compare(l, span{from, to}, left) })
}

// footprint is what a cancellation had done to the file when it was answered.
type footprint struct{ grown, written int64 }

// afterAnswer is how many halves of a gap the traffic goes on after an answer:
// longer than the tenth of a second that SQLite may let somebody sleep before
// it asks again, so that all have noticed that the cancellation is over.
const afterAnswer = 3

// compare takes what the traffic noticed and the small commits for the ratios,
// while the traffic pauses.
func (c *scaleCopy) compare(l *scaleLine, cancel span, left footprint) error {
	publish, wait := c.traffic.longest(cancel)
	l.publish, l.deliver = append(l.publish, ms(publish)), append(l.deliver, ms(wait))
	due, err := c.store.due()
	if err != nil {
		return err
	}
	if due == 0 {
		c.run.dry++
	}
	if footprintBeside(l.share, c.of) {
		err = c.settle(l, left)
	} else {
		_, err = c.store.afterwork()
	}
	if err != nil {
		return err
	}
	small, bare, err := c.smallCommits()
	if err != nil {
		return err
	}
	l.toSmall = append(l.toSmall, float64(cancel.length())/float64(exact(small).P50))
	l.toSync = append(l.toSync, float64(cancel.length())/float64(exact(bare).P50))
	return nil
}

// settle waits for what the cancellation left behind, and takes what it did to
// the file.
func (c *scaleCopy) settle(l *scaleLine, left footprint) error {
	begin, wroteBefore := time.Now(), wrote()
	last, err := c.store.afterwork()
	if err != nil {
		return err
	}
	l.growth = append(l.growth, float64(left.grown))
	l.after = append(l.after, ms(max(0, last.Sub(begin))))
	if at := wrote(); at > 0 {
		l.written = append(l.written, float64(left.written+at-wroteBefore))
	}
	return nil
}

// smallCommits times single publishes with nothing beside them, in turn with
// bare syncs.
func (c *scaleCopy) smallCommits() (small, bare []time.Duration, err error) {
	soon := time.Now().Add(time.Hour)
	for i := range c.run.b.Small {
		m := dueNow(i)
		m.NotBefore = soon
		took, err := timed(func() error { return c.store.publish(m) })
		if err != nil {
			return nil, nil, err
		}
		small = append(small, took)
		if took, err = timed(c.run.raw.sync); err != nil {
			return nil, nil, err
		}
		bare = append(bare, took)
	}
	if c.run.small == nil {
		c.run.small = map[string][]time.Duration{}
	}
	c.run.small[c.of] = append(c.run.small[c.of], small...)
	c.run.syncs = append(c.run.syncs, bare...)
	return small, bare, nil
}

// syncs is a file that pages are appended to, each with a sync of its own.
type syncs struct{ file *os.File }

func openSyncs(path string) (*syncs, error) {
	file, err := os.Create(path)
	return &syncs{file}, err
}

func (s *syncs) sync() error {
	if _, err := s.file.Write(bodyPool[:4096]); err != nil {
		return err
	}
	return syncData(s.file)
}

func (s *syncs) close() error { return errors.Join(s.file.Close(), os.Remove(s.file.Name())) }

func (r *scaleRun) report() error {
	rep, of := r.b.report, ", "+short(float64(r.data.shape.n))+" messages"
	bare := exact(r.syncs)
	rep.times("append 4 KiB and fdatasync"+of, bare)
	for _, c := range contenders {
		q := exact(r.small[c.name])
		rep.times("one small commit, "+c.name+of, q).ratio("fdatasync", float64(q.P50)/float64(bare.P50))
		r.b.suspect(q, bare)
	}
	for _, c := range contenders {
		rep.times("a publish beside one worker, "+c.name+of, exact(r.usual[c.name]))
	}
	rep.rates("file size per message, "+recallName+of, "B", series{float64(r.data.recall.bytes) / float64(r.data.shape.n)})
	rep.rates("file size per message, SQLite"+of, "B", series{float64(r.data.sqlite.bytes) / float64(r.data.shape.n)})
	version, err := sqliteVersion(r.data.sqlite.path)
	if err != nil {
		return err
	}
	r.grid()
	rep.note("durable: SQLite %s with journal_mode=WAL and synchronous=FULL, read back on every connection; Recall with %s", version, rep.Settings.Durability)
	rep.note("SQLite refused %s after its busy timeout; they were repeated, and each counts as one wait", plural(r.refused, "write"))
	if r.dry > 0 {
		rep.note("in %s the worker had nothing left to do: its wait is partly for the publisher", plural(r.dry, "case"))
	}
	return nil
}

// scaleColumns are the figures of a line of the grid.
var scaleColumns = []string{
	"answer ms", "× commit", "× fdatasync", "× " + recallName,
	"publish stall ms", "deliver stall ms", "alone ms", "growth B", "after ms", "written B",
}

// grid gives a line per case and contender, in the order of size.
func (r *scaleRun) grid() {
	seen := map[*scaleLine]bool{}
	for _, first := range r.lines {
		for _, c := range contenders {
			l := r.line(first.scaleCase, c.name)
			if seen[l] {
				continue
			}
			seen[l] = true
			what := fmt.Sprintf("%s of %s, %s", short(float64(l.matched)), short(float64(r.data.shape.n)), l.name)
			var toRecall series
			if c.name != recallName {
				toRecall = l.answers.per(r.line(l.scaleCase, recallName).answers)
			}
			r.b.report.gridLine(scaleColumns, what, c.name,
				l.answers, l.toSmall, l.toSync, toRecall, l.publish, l.deliver, l.alone, l.growth, l.after, l.written)
		}
	}
}
