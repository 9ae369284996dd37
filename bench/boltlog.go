package main

import (
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"
)

// boltLog keeps the rows of a message in bbolt as Recall lays them out, and nothing else:
// it is what a durable publish can be at best in such a file.
type boltLog struct {
	puts *puts
	n    uint64
}

// segmentRows is how many messages share a bucket.
const segmentRows = 4096

var (
	recordRows = []byte("r")
	bodyRows   = []byte("b")
)

// boltRate is walRate for a bbolt file with group commit, which lets others join.
func boltRate(path string, writers, batch int, window time.Duration, lat *latencies) (float64, error) {
	p, err := openPuts(path)
	if err != nil {
		return 0, err
	}
	return newWAL(&boltLog{puts: p}, lingering).rate(writers, batch, bodyOf, window, lat)
}

func (l *boltLog) close() error { return l.puts.close() }

func (l *boltLog) write(group []*walRequest) error {
	return l.puts.db.Update(func(tx *bolt.Tx) error {
		for _, r := range group {
			for _, p := range r.parts {
				if err := l.put(tx, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// put stores a message at the end of the newest segment.
func (l *boltLog) put(tx *bolt.Tx, body []byte) error {
	segment, err := tx.CreateBucketIfNotExists(binary.BigEndian.AppendUint64(nil, l.n/segmentRows))
	if err != nil {
		return err
	}
	key := binary.BigEndian.AppendUint64(nil, l.n)
	l.n++
	for _, row := range []struct{ bucket, value []byte }{{recordRows, walRow}, {bodyRows, body}} {
		bucket, err := segment.CreateBucketIfNotExists(row.bucket)
		if err != nil {
			return err
		}
		bucket.FillPercent = 1 // keys only rise
		if err := bucket.Put(key, row.value); err != nil {
			return err
		}
	}
	return nil
}
