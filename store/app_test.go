package store

import (
	"bytes"
	"encoding/binary"
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

// TestLargeValueAmongFragments puts a value that needs pages which lie together
// into a file whose free pages do not: the file is extended before the commit,
// also for large values beside a small one that changes.
func TestLargeValueAmongFragments(t *testing.T) {
	s := open(t, path(t), quick)
	key := func(kind byte, i int) []byte { return binary.BigEndian.AppendUint32([]byte{kind}, uint32(i)) }
	const small, large = 6000, 1 << 20
	change(t, s, small*1100, func(b Bucket) (err error) {
		for i := 0; i < small && err == nil; i++ {
			err = b.Put(key('s', i), make([]byte, 1000))
		}
		return err
	})
	change(t, s, small*100, func(b Bucket) (err error) {
		for i := 0; i < small && err == nil; i++ {
			if i%40 >= 8 {
				err = b.Delete(key('s', i))
			}
		}
		return err
	})
	change(t, s, 100, func(Bucket) error { return nil }) // what the last commit gave up is free now
	if free := s.Stats().FreeBytes; free < 3*large {
		t.Fatalf("%d bytes are free", free)
	}
	trim(t, s)
	change(t, s, large+100, func(b Bucket) error { return b.Put(key('t', 0), make([]byte, large)) })
	change(t, s, large+200, func(b Bucket) error {
		return errors.Join(b.Put(key('t', 1), make([]byte, large)), b.Put(key('t', 2), []byte("small")))
	})
	for i, do := range []func(b Bucket) error{
		func(b Bucket) error { return b.Put(key('t', 2), []byte("other")) },
		func(b Bucket) error { return b.Put(key('t', 3), []byte("new")) },
		func(b Bucket) error { return b.Delete(key('t', 2)) },
	} {
		trim(t, s)
		change(t, s, 100, func(b Bucket) error {
			err := do(b)
			if sum := b.t.large.sum(); sum < 2*large {
				t.Errorf("change %d: it writes %d bytes of large values anew", i, sum)
			}
			return err
		})
	}
}

// change runs fn on a bucket in a transaction, which must make the room that it
// takes.
func change(t *testing.T, s *Store, bytes int64, fn func(Bucket) error) {
	t.Helper()
	tx, err := s.Begin(Bound{Essential: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	b, err := tx.App("mine")
	if err == nil {
		err = fn(b)
	}
	if err = errors.Join(err, tx.Room(Bound{Bytes: bytes, Essential: true})); err != nil {
		t.Fatal(err)
	}
	before, _ := s.size()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if after, err := s.size(); err != nil || after != before {
		t.Errorf("the file grew within a commit, from %d to %d bytes (%v)", before, after, err)
	}
}

// trim takes the room away that no page is in yet.
func trim(t *testing.T, s *Store) {
	t.Helper()
	used, _, err := s.space()
	if err == nil {
		err = s.file.Truncate(used)
	}
	if err != nil {
		t.Fatal(err)
	}
}
