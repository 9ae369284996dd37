package main

import (
	"fmt"
	"time"

	"github.com/recallmq/recall"
)

// batchWriters are how many goroutines publish batches.
var batchWriters = []int{1, 4}

// benchPublish alternates the log and Recall, so that a slow minute of the disk falls
// on both. The log is there in two kinds: target 7 is stated for one that takes what is
// queued; the limit is the better one, which lets others join its group as Recall does.
// Between them and Recall is bbolt with the same rows: what the file format costs.
func benchPublish(b *bench) error {
	for _, writers := range b.Writers {
		if err := b.publishSingle(writers); err != nil {
			return err
		}
	}
	for _, size := range b.Batches {
		for _, writers := range batchWriters {
			if err := b.publishBatches(size, writers); err != nil {
				return err
			}
		}
	}
	b.report.note("the WAL syncs once per group, bbolt twice per commit; the WAL keeps no index")
	return nil
}

// leastShare is target 7: the share of the WAL that publishing must reach.
func leastShare(writers int) float64 {
	if writers > 256 {
		return 0.30
	}
	return 0.45
}

func (b *bench) publishSingle(writers int) error {
	p := newPublishing(writers, 1)
	if err := b.withFreshBroker(0, func(br *recall.Broker) error { return b.inTurnWith(br, p) }); err != nil {
		return err
	}
	log := plural(writers, "writer")
	b.report.rates("WAL, "+log, "msg/s", p.drained).latency(p.drainedLat.quantiles())
	b.report.rates("WAL which lets others join, "+log, "msg/s", p.lingered).latency(p.lingeredLat.quantiles())
	b.report.rates("bbolt with the same rows and group commit, "+log, "msg/s", p.bolt).latency(p.boltLat.quantiles()).
		ratio("WAL", p.bolt.per(p.drained)...)
	what := "publish, " + plural(writers, "goroutine")
	b.report.rates(what, "msg/s", p.rate).latency(p.lat.quantiles()).
		ratio("WAL", p.rate.per(p.drained)...).atLeast(7, leastShare(writers))
	b.report.rates(what, "msg/s", p.rate).ratio("WAL which lets others join", p.rate.per(p.lingered)...)
	b.report.rates(what, "msg/s", p.rate).ratio("bbolt with the same rows", p.rate.per(p.bolt)...)
	b.suspect(p.lat.quantiles(), p.drainedLat.quantiles())
	return nil
}

// suspect tells the reader when something was too fast to have been synced.
func (b *bench) suspect(recall, wal quantiles) {
	if recall.P50 < wal.P50/2 {
		b.report.note("SUSPECT: publish p50 %v is far below that of a synced append, %v", recall.P50, wal.P50)
	}
}

func (b *bench) publishBatches(size, writers int) error {
	p := newPublishing(writers, size)
	if err := b.withFreshBroker(0, func(br *recall.Broker) error { return b.inTurnWith(br, p) }); err != nil {
		return err
	}
	b.report.rates(fmt.Sprintf("batches of %d, %s", size, plural(writers, "goroutine")), "msg/s", p.rate).latency(p.lat.quantiles()).
		ratio("WAL with the same batches", p.rate.per(p.lingered)...)
	b.report.rates("the same", "msg/s", p.rate).ratio("bbolt with the same batches", p.rate.per(p.bolt)...)
	return nil
}

// publishing is what was measured of so many who publish units of one size: a log
// that takes what is queued, one that lets others join, bbolt without Recall, and Recall.
type publishing struct {
	writers, size                         int
	drained, lingered, bolt, rate         series
	drainedLat, lingeredLat, boltLat, lat *latencies
}

func newPublishing(writers, size int) *publishing {
	return &publishing{
		writers: writers, size: size,
		drainedLat: newLatencies(), lingeredLat: newLatencies(), boltLat: newLatencies(), lat: newLatencies(),
	}
}

// inTurnWith measures the four one after the other, again and again.
func (b *bench) inTurnWith(br *recall.Broker, p *publishing) error {
	for range b.Reps {
		one, err := walRate(b.path("wal"), lingering, p.writers, p.size, b.Window, p.lingeredLat)
		if err != nil {
			return err
		}
		p.lingered = append(p.lingered, one)
		if one, err = walRate(b.path("wal"), draining, p.writers, p.size, b.Window, p.drainedLat); err != nil {
			return err
		}
		p.drained = append(p.drained, one)
		if one, err = boltRate(b.path("rows.db"), p.writers, p.size, b.Window, p.boltLat); err != nil {
			return err
		}
		p.bolt = append(p.bolt, one)
		if one, err = b.publishRate(br, p.writers, p.size, p.lat); err != nil {
			return err
		}
		p.rate = append(p.rate, one)
	}
	return nil
}

// publishRate returns messages per second. Each message counts when Publish or
// PublishBatch has returned, and the broker must then know of all of them.
func (b *bench) publishRate(br *recall.Broker, writers, size int, lat *latencies) (float64, error) {
	s := shape{n: b.N, due: later(time.Now())}
	before := br.Stats()
	rate, err := parallel(writers, b.Window, lat, func(n int) error { return publishUnit(br, s, n, size) })
	if err != nil {
		return 0, err
	}
	if after := br.Stats(); after.Pending <= before.Pending || after.Commits <= before.Commits {
		return 0, fmt.Errorf("nothing was stored: %d pending, %d commits", after.Pending, after.Commits)
	}
	return rate * float64(size), nil
}

// publishUnit publishes message n, or the n-th batch.
func publishUnit(br *recall.Broker, s shape, n, size int) error {
	if size == 1 {
		_, err := br.Publish(bg, s.message(n))
		return err
	}
	batch := make([]recall.Message, size)
	for i := range batch {
		batch[i] = s.message(n*size + i)
	}
	_, err := br.PublishBatch(bg, batch)
	return err
}
