package store

import (
	"bytes"
	"errors"
	"testing"

	berrors "go.etcd.io/bbolt/errors"
)

// What callers keep in buckets of their own survives, whatever its size, and
// is no damage.
func TestAppBuckets(t *testing.T) {
	file := path(t)
	s := open(t, file, &Options{NoSync: true})
	longKey := bytes.Repeat([]byte("k"), MaxKey)
	values := map[string][]byte{"empty": {}, "small": []byte("v"), "large": bytes.Repeat([]byte("v"), 3<<20), string(longKey): []byte("l")}
	tx, err := s.Begin(Bound{Bytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	b, err := tx.App("mine")
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range values {
		if err := b.Put([]byte(k), v); err != nil {
			t.Fatal(err)
		}
	}
	nested, err := b.b.CreateBucket([]byte("nested"))
	if err == nil {
		err = errors.Join(nested.Put([]byte("deep"), []byte("value")), nested.SetSequence(7))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.App(""); !errors.Is(err, berrors.ErrBucketNameRequired) {
		t.Errorf("a bucket without a name: %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	crashed := path(t)
	copyFile(t, file, crashed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"closed": file, "crashed": crashed} {
		s := open(t, file, quick)
		mustLoad(t, s)
		err := s.View(func(v *View) error {
			if _, ok := v.App("yours"); ok {
				t.Errorf("%s: there is a bucket that was never made", name)
			}
			b, ok := v.App("mine")
			if !ok {
				t.Fatalf("%s: the bucket is gone", name)
			}
			for k, want := range values {
				if got := b.Get([]byte(k)); got == nil || !bytes.Equal(got, want) {
					t.Errorf("%s: value of %.10q has %d bytes", name, k, len(got))
				}
			}
			if got := b.b.Bucket([]byte("nested")).Get([]byte("deep")); string(got) != "value" {
				t.Errorf("%s: nested value %q", name, got)
			}
			return b.Put([]byte("x"), nil)
		})
		if !errors.Is(err, berrors.ErrTxNotWritable) {
			t.Errorf("%s: a write in a View: %v", name, err)
		}
	}
}

// Nothing of it is left after a rollback.
func TestAppBucketRolledBack(t *testing.T) {
	s := open(t, path(t), quick)
	gaveUp := errors.New("gave up")
	err := commit(s, func(tx *Tx) error {
		if _, err := tx.App("mine"); err != nil {
			return err
		}
		return gaveUp
	})
	if !errors.Is(err, gaveUp) {
		t.Fatal(err)
	}
	if err := s.View(func(v *View) error {
		if _, ok := v.App("mine"); ok || v.tx.Bucket(bucketApp) != nil {
			t.Error("the bucket is there")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
