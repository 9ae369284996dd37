package store

import (
	bolt "go.etcd.io/bbolt"
)

// bulkWriter fills a file that nobody else has, in order, in transactions of
// bounded size.
type bulkWriter struct {
	db      *bolt.DB
	tx      *bolt.Tx
	pending int64
	meter   *meter
}

// bulkBytes is how much goes into one transaction: bbolt keeps it in memory.
const bulkBytes = 16 << 20

func (w *bulkWriter) begin() (err error) {
	if w.tx == nil {
		w.tx, err = w.db.Begin(true)
	}
	return err
}

func (w *bulkWriter) rollback() {
	if w.tx != nil {
		rollback(w.tx)
	}
}

func (w *bulkWriter) commit() error {
	if w.tx == nil {
		return nil
	}
	err := w.tx.Commit()
	if err == nil {
		w.tx, w.pending = nil, 0
	}
	return err
}

// in returns the bucket of a path, making it if there is none.
func (w *bulkWriter) in(path [][]byte) (*bolt.Bucket, error) {
	if err := w.begin(); err != nil {
		return nil, err
	}
	b, err := w.tx.CreateBucketIfNotExists(path[0])
	for _, name := range path[1:] {
		if err == nil {
			b, err = b.CreateBucketIfNotExists(name)
		}
	}
	if err == nil {
		b.FillPercent = 1 // rows come in order
	}
	return b, err
}

func (w *bulkWriter) sequence(path [][]byte, n uint64) error {
	b, err := w.in(path)
	if err == nil && b.Sequence() != n {
		err = b.SetSequence(n)
	}
	return err
}

// bucket copies a bucket with all that is in it, its sequence too, but for the rows
// that keep does not want. Without a bucket it makes an empty one.
func (w *bulkWriter) bucket(path [][]byte, from *bolt.Bucket, keep func(k []byte) (bool, error)) error {
	to, err := w.in(path)
	if err != nil || from == nil {
		return err
	}
	if err := w.sequence(path, from.Sequence()); err != nil {
		return err
	}
	return from.ForEach(func(k, v []byte) error {
		if v == nil {
			err := w.bucket(append(path[:len(path):len(path)], k), from.Bucket(k), nil)
			if err == nil {
				to, err = w.in(path)
			}
			return err
		}
		if err := w.meter.add(int64(len(k) + len(v))); err != nil {
			return err
		}
		if keep != nil {
			if wanted, err := keep(k); err != nil || !wanted {
				return err
			}
		}
		if w.pending > bulkBytes {
			if err := w.commit(); err != nil {
				return err
			}
			if to, err = w.in(path); err != nil {
				return err
			}
		}
		w.pending += int64(len(k) + len(v))
		return to.Put(k, v)
	})
}
