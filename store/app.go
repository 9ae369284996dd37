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
type Bucket struct {
	t    *Tx // nil in a View
	name string
	b    *bolt.Bucket
}

// guard runs what touches pages: the View does so for its own.
func (b Bucket) guard(fn func() error) error {
	if b.t == nil {
		return fn()
	}
	return b.t.guard(fn)
}

// Get returns the value of a key, nil if there is none, and also if its page
// cannot be read: then the transaction cannot be committed.
func (b Bucket) Get(key []byte) (value []byte) {
	_ = b.guard(func() error {
		value = b.b.Get(key)
		return nil
	})
	return value
}

// Put sets the value of a key. Both must stay untouched until Commit.
func (b Bucket) Put(key, value []byte) error {
	return b.guard(func() error {
		b.touch(key)
		if err := b.b.Put(key, value); err != nil {
			return err
		}
		b.t.large.put(b.name, key, len(value))
		return nil
	})
}

// Delete removes a key, if it is there.
func (b Bucket) Delete(key []byte) error {
	return b.guard(func() error {
		b.touch(key)
		if err := b.b.Delete(key); err != nil {
			return err
		}
		b.t.large.forget(b.name, key)
		return nil
	})
}

// NextSequence returns a number that counts up from 1.
func (b Bucket) NextSequence() (n uint64, err error) {
	err = b.guard(func() (err error) {
		b.touch(nil) // the root is written anew
		n, err = b.b.NextSequence()
		return err
	})
	return n, err
}

// All visits the keys of at least from, in order. It ends at a page that cannot
// be read, as Get does.
func (b Bucket) All(from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := b.b.Cursor()
		next := func() ([]byte, []byte) { return c.Seek(from) }
		for {
			var k, v []byte
			_ = b.guard(func() error { // without yield, whose panic is the caller's
				k, v = next()
				return nil
			})
			if k == nil || !yield(k, v) {
				return
			}
			next = c.Next
		}
	}
}

// touch notes the large values that are written anew when a key changes: bbolt
// writes a leaf as a whole, in which four may be, and joins one that is nearly
// empty with the next.
func (b Bucket) touch(key []byte) {
	const near = 8 // keys to either side
	if b.t == nil {
		return
	}
	c := b.b.Cursor()
	k, v := c.Seek(key)
	for n := 0; n < near && k != nil; n++ {
		b.t.large.add(b.name, k, len(v))
		k, v = c.Next()
	}
	_, _ = c.Seek(key)
	k, v = c.Prev()
	for n := 0; n < near && k != nil; n++ {
		b.t.large.add(b.name, k, len(v))
		k, v = c.Prev()
	}
}

// large are the values over a page that a transaction writes. bbolt keeps a leaf
// with them in pages that lie together.
type large struct {
	page   int64
	bytes  int64            // of those that were put, as often as they were
	values map[string]int64 // what each needs, by bucket and key
}

func (l *large) put(bucket string, key []byte, size int) {
	l.forget(bucket, key)
	if l.add(bucket, key, size) {
		l.bytes += int64(len(key) + size)
	}
}

func (l *large) add(bucket string, key []byte, size int) bool {
	need := int64(len(key) + size)
	if need < l.page {
		return false
	}
	if l.values == nil {
		l.values = map[string]int64{}
	}
	l.values[bucket+"\x00"+string(key)] = need + l.page
	return true
}

func (l *large) forget(bucket string, key []byte) {
	if len(l.values) > 0 {
		delete(l.values, bucket+"\x00"+string(key))
	}
}

func (l *large) sum() (sum int64) {
	for _, need := range l.values {
		sum += need
	}
	return sum
}

// App returns the caller's own bucket of a name, making it if there is none.
func (t *Tx) App(name string) (b Bucket, err error) {
	err = t.guard(func() error {
		app, err := t.tx.CreateBucketIfNotExists(bucketApp)
		if err != nil {
			return err
		}
		made, err := app.CreateBucketIfNotExists([]byte(name))
		b = Bucket{t, name, made}
		return err
	})
	return b, err
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
