package store

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// objectsOf returns all objects of a file, as text.
func objectsOf(t *testing.T, s *Store) (all []string) {
	t.Helper()
	err := s.Load(LoadFuncs{
		Row:       func(Table, uint64, []byte, State) error { return nil },
		Tombstone: func(Operation, Progress) error { return nil },
		Object: func(kind byte, name string, value []byte) error {
			all = append(all, fmt.Sprintf("%d %s %d %.3s", kind, name, len(value), value))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestObjects(t *testing.T) {
	s := open(t, path(t), quick)
	if got := objectsOf(t, s); got != nil {
		t.Fatalf("a new file has %q", got)
	}
	long := strings.Repeat("n", MaxObjectName)
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.DeleteObject(1, "nothing"),
			tx.PutObject(2, "b", []byte("one")), tx.PutObject(1, "b", bytes.Repeat([]byte("big"), 5000)),
			tx.PutObject(1, "a", nil), tx.PutObject(1, "ab", []byte("two")), tx.PutObject(9, "", []byte("nameless")),
			tx.PutObject(1, long, bytes.Repeat([]byte("x"), 9000)), tx.DeleteObject(2, "a"),
		)
	})
	want := []string{"1 a 0 ", "1 ab 3 two", "1 b 15000 big", "1 " + long + " 9000 xxx", "2 b 3 one", "9  8 nam"}
	slices.Sort(want)
	got := objectsOf(t, restarted(t, s))
	slices.Sort(got)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(tx.PutObject(1, "b", []byte("now small")), tx.DeleteObject(1, long), tx.DeleteObject(9, ""))
	})
	want = []string{"1 a 0 ", "1 ab 3 two", "1 b 9 now", "2 b 3 one"}
	if got := objectsOf(t, restarted(t, s)); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
	tx, err := s.Begin(Bound{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if tx.PutObject(1, "a\x00b", nil) == nil || tx.PutObject(1, long+"n", nil) == nil {
		t.Error("a name that would be mistaken for another is taken")
	}
}

func TestDamagedObjectsAreRefused(t *testing.T) {
	for name, harm := range map[string]func(tx *Tx) error{
		"a part is gone":     func(tx *Tx) error { return tx.tx.Bucket(bucketObject).Delete(objectKey(1, "b", 1)) },
		"the first is gone":  func(tx *Tx) error { return tx.tx.Bucket(bucketObject).Delete(objectKey(1, "b", 0)) },
		"a row was moved":    func(tx *Tx) error { return moveRow(tx, objectKey(1, "b", 2), objectKey(1, "c", 0)) },
		"a key has no name":  func(tx *Tx) error { return moveRow(tx, objectKey(1, "b", 2), []byte{1, 0}) },
		"a byte has changed": func(tx *Tx) error { return tx.tx.Bucket(bucketObject).Put(objectKey(1, "b", 1), []byte("other")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, path(t), quick)
			mustCommit(t, s, func(tx *Tx) error { return tx.PutObject(1, "b", make([]byte, 9000)) })
			mustCommit(t, s, harm)
			_, err := load(restarted(t, s))
			var damage *CorruptError
			if !errors.As(err, &damage) || damage.Bucket != "object" {
				t.Errorf("got %v, want a *CorruptError that names the bucket", err)
			}
		})
	}
}

func moveRow(tx *Tx, from, to []byte) error {
	b := tx.tx.Bucket(bucketObject)
	row := bytes.Clone(b.Get(from))
	return errors.Join(b.Delete(from), b.Put(to, row))
}
