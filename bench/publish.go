package main

import (
	"fmt"
	"time"

	"github.com/recallmq/recall"
)

// batchWriters are how many goroutines publish batches.
var batchWriters = []int{1, 4}

// benchPublish alternates a WAL and Recall, so that a slow minute of the disk
// falls on both.
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
	var bare, rate series
	walLat, lat := newLatencies(), newLatencies()
	err := b.withFreshBroker(0, func(br *recall.Broker) error {
		for range b.Reps {
			if err := b.pair(br, writers, 1, walLat, lat, &bare, &rate); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.report.rates(fmt.Sprintf("WAL, %s", plural(writers, "writer")), "msg/s", bare).latency(walLat.quantiles())
	b.report.rates(fmt.Sprintf("publish, %s", plural(writers, "goroutine")), "msg/s", rate).latency(lat.quantiles()).
		ratio("WAL", rate.per(bare)...).atLeast(7, leastShare(writers))
	b.suspect(lat.quantiles(), walLat.quantiles())
	return nil
}

// suspect tells the reader when something was too fast to have been synced.
func (b *bench) suspect(recall, wal quantiles) {
	if recall.P50 < wal.P50/2 {
		b.report.note("SUSPECT: publish p50 %v is far below that of a synced append, %v", recall.P50, wal.P50)
	}
}

func (b *bench) publishBatches(size, writers int) error {
	var bare, rate series
	walLat, lat := newLatencies(), newLatencies()
	err := b.withFreshBroker(0, func(br *recall.Broker) error {
		for range b.Reps {
			if err := b.pair(br, writers, size, walLat, lat, &bare, &rate); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.report.rates(fmt.Sprintf("batches of %d, %s", size, plural(writers, "goroutine")), "msg/s", rate).latency(lat.quantiles()).
		ratio("WAL with the same batches", rate.per(bare)...)
	return nil
}

// pair measures the WAL and Recall one after the other.
func (b *bench) pair(br *recall.Broker, writers, size int, walLat, lat *latencies, bare, rate *series) error {
	one, err := walRate(b.path("wal"), writers, size, b.Window, walLat)
	if err != nil {
		return err
	}
	*bare = append(*bare, one)
	if one, err = b.publishRate(br, writers, size, lat); err != nil {
		return err
	}
	*rate = append(*rate, one)
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
