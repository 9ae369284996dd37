package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// calibrate measures the bare machine, without Recall.
func calibrate(b *bench) error {
	for _, part := range []func(*bench) error{calibrateSync, calibrateBolt, calibrateWAL, calibrateHTTP} {
		if err := part(b); err != nil {
			return err
		}
	}
	return nil
}

// calibrateSync appends a page and syncs it, over and over.
func calibrateSync(b *bench) error {
	var rate series
	lat := newLatencies()
	for range b.Reps {
		one, err := appendAndSync(b.path("append"), b.Window, lat)
		if err != nil {
			return err
		}
		rate = append(rate, one)
	}
	b.report.rates("append 4 KiB and fdatasync", "per s", rate).latency(lat.quantiles())
	return nil
}

func appendAndSync(path string, window time.Duration, lat *latencies) (rate float64, err error) {
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	page := bodyPool[:4096]
	return parallel(1, window, lat, func(int) error {
		if _, err := file.Write(page); err != nil {
			return err
		}
		return syncData(file)
	})
}

func calibrateBolt(b *bench) error {
	puts, err := openPuts(b.path("puts.db"))
	if err != nil {
		return err
	}
	var rate series
	lat := newLatencies()
	for range b.Reps {
		one, err := parallel(1, b.Window, lat, func(int) error { return puts.put() })
		if err != nil {
			return errors.Join(err, puts.close())
		}
		rate = append(rate, one)
	}
	b.report.rates("bbolt, one put of 512 B per commit", "per s", rate).latency(lat.quantiles())
	return puts.close()
}

// puts is a bare bbolt file with the options that Recall uses too.
type puts struct {
	db *bolt.DB
	n  uint64
}

func openPuts(path string) (*puts, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	if db.NoSync {
		return nil, errors.New("bbolt would not sync")
	}
	return &puts{db: db}, nil
}

// put is one small durable commit.
func (p *puts) put() error {
	p.n++
	return p.db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return bucket.Put(binary.BigEndian.AppendUint64(nil, p.n), bodyPool[:512])
	})
}

func (p *puts) close() error {
	path := p.db.Path() // forgotten with the close
	return errors.Join(p.db.Close(), os.Remove(path))
}

func calibrateWAL(b *bench) error {
	for _, writers := range b.Writers {
		if err := b.calibrateWriters(writers); err != nil {
			return err
		}
	}
	return nil
}

// calibrateWriters measures both ways to form a group, in turn.
func (b *bench) calibrateWriters(writers int) error {
	var drained, lingered series
	drainedLat, lingeredLat := newLatencies(), newLatencies()
	for range b.Reps {
		one, err := walRate(b.path("wal"), draining, writers, 1, b.Window, drainedLat)
		if err != nil {
			return err
		}
		drained = append(drained, one)
		if one, err = walRate(b.path("wal"), lingering, writers, 1, b.Window, lingeredLat); err != nil {
			return err
		}
		lingered = append(lingered, one)
	}
	what := "WAL with group commit, " + plural(writers, "writer")
	b.report.rates(what, "per s", drained).latency(drainedLat.quantiles())
	b.report.rates(what+", which lets others join", "per s", lingered).latency(lingeredLat.quantiles()).
		ratio("one that does not", lingered.per(drained)...)
	return nil
}

func calibrateHTTP(b *bench) error {
	r, err := startReceiver()
	if err != nil {
		return err
	}
	defer r.close()
	var rate series
	lat := newLatencies()
	for range b.Reps {
		one, err := postRate(r, httpSlots, b.Window, lat)
		if err != nil {
			return err
		}
		rate = append(rate, one)
	}
	b.report.rates(fmt.Sprintf("HTTP POST to loopback, %d connections", httpSlots), "per s", rate).latency(lat.quantiles())
	return nil
}
