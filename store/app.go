package store

import bolt "go.etcd.io/bbolt"

// App returns the caller's own bucket of a name, making it if create is set;
// nil if there is none. What is in it is the caller's: it bears no checksums,
// and counts for the bound of the transaction. It is valid until the
// transaction ends.
func (t *Tx) App(name string, create bool) (*bolt.Bucket, error) {
	if !create {
		return appBucket(t.tx, name), nil
	}
	app, err := t.tx.CreateBucketIfNotExists(bucketApp)
	if err != nil {
		return nil, err
	}
	return app.CreateBucketIfNotExists([]byte(name))
}

// App returns the caller's own bucket of a name, nil if there is none. It is
// valid until the View ends.
func (v *View) App(name string) *bolt.Bucket { return appBucket(v.tx, name) }

func appBucket(tx *bolt.Tx, name string) *bolt.Bucket {
	app := tx.Bucket(bucketApp)
	if app == nil {
		return nil
	}
	return app.Bucket([]byte(name))
}
