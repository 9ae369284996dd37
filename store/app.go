package store

import (
	"iter"

	bolt "go.etcd.io/bbolt"
)

// MaxKey is the longest key of a Bucket, in bytes.
const MaxKey = bolt.MaxKeySize

// Bucket is one of the caller's own. What is in it is the caller's: it bears no
// checksums, and counts for the bound of the transaction. It is valid until the
// transaction ends, and so are the slices that it returns.
type Bucket struct{ b *bolt.Bucket }

// Get returns the value of a key, nil if there is none.
func (b Bucket) Get(key []byte) []byte { return b.b.Get(key) }

// Put sets the value of a key. Both must stay untouched until Commit.
func (b Bucket) Put(key, value []byte) error { return b.b.Put(key, value) }

// Delete removes a key, if it is there.
func (b Bucket) Delete(key []byte) error { return b.b.Delete(key) }

// NextSequence returns a number that counts up from 1.
func (b Bucket) NextSequence() (uint64, error) { return b.b.NextSequence() }

// All visits the keys of at least from, in order.
func (b Bucket) All(from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := b.b.Cursor()
		for k, v := c.Seek(from); k != nil && yield(k, v); k, v = c.Next() {
		}
	}
}

// App returns the caller's own bucket of a name, making it if there is none.
func (t *Tx) App(name string) (Bucket, error) {
	app, err := t.tx.CreateBucketIfNotExists(bucketApp)
	if err != nil {
		return Bucket{}, err
	}
	b, err := app.CreateBucketIfNotExists([]byte(name))
	return Bucket{b}, err
}

// App returns the caller's own bucket of a name; ok is false if there is none.
func (v *View) App(name string) (b Bucket, ok bool) {
	app := v.tx.Bucket(bucketApp)
	if app == nil {
		return b, false
	}
	b.b = app.Bucket([]byte(name))
	return b, b.b != nil
}
