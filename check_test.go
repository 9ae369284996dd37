package recall_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	bolt "go.etcd.io/bbolt"
)

// TestCheck counts what is in a sound file, also in one that may not be written,
// and changes nothing.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	before := readBytes(t, path)
	steps := &progressCheck{t: t}
	r, err := recall.Check(t.Context(), path, steps.tell)
	if err != nil || !r.OK() {
		t.Fatalf("got %v, %v", r, err)
	}
	steps.end()
	if !bytes.Equal(before, readBytes(t, path)) {
		t.Error("the file was changed")
	}
	if r.Live() != len(full.messages) || r.Messages[recall.StateQueueBlocked] == 0 || r.Messages[recall.StateDelayed] == 0 {
		t.Errorf("messages: got %v, want %d", r.Messages, len(full.messages))
	}
	if r.DeadLetters != len(full.dead) || r.Undoable != full.cancelled || r.Operations != 1 || r.Segments != 2 || r.Events == 0 {
		t.Errorf("got %+v", r)
	}
	if r.FileBytes != int64(len(before)) || r.FreeBytes != r.FreePages*int64(os.Getpagesize()) || r.UsedBytes <= r.FreeBytes {
		t.Errorf("sizes: got %+v", r)
	}
	for _, want := range []string{"dead letters: 3\n", "delayed ", "nothing is wrong\n"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("%q is not in\n%s", want, r)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	check := func() error {
		_, err := recall.Check(t.Context(), path, nil)
		return err
	}
	if err := check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("text "), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check(); !errors.Is(err, recall.ErrForeign) {
		t.Errorf("a text: got %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := recall.Check(t.Context(), path, nil); err != nil || !r.OK() || r.Format != 0 {
		t.Errorf("a file with nothing in it: got %+v, %v", r, err)
	}
	b := openQuiet(t, path)
	publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
	if err := check(); !errors.Is(err, recall.ErrInUse) {
		t.Errorf("a file in use: got %v", err)
	}
	closeNow(t, b, t.Context())
	if _, err := recall.Check(done(), path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: got %v", err)
	}
	editFile(t, path, func(tx *bolt.Tx) error { // as a newer Recall would
		return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte{99, 0, 0, 0, 0})
	})
	if r, err := recall.Check(t.Context(), path, nil); err != nil || r.OK() { // the checksum is wrong
		t.Errorf("a damaged version: got %+v, %v", r, err)
	}
}

// editFile changes a file behind Recall's back.
func editFile(t *testing.T, path string, edit func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(edit), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// firstRow returns the first row of a bucket, or of the first bucket in it.
func firstRow(b *bolt.Bucket) (in *bolt.Bucket, k, v []byte) {
	k, v = b.Cursor().First()
	if v == nil && k != nil {
		return firstRow(b.Bucket(k))
	}
	return b, slices.Clone(k), slices.Clone(v)
}

// TestCheckFinds damages a file in every way that a bucket allows, and looks for
// the finding.
func TestCheckFinds(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base.db")
	fillFile(t, base)
	flip := func(bucket string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b, k, v := firstRow(tx.Bucket([]byte(bucket)))
			if len(v) == 0 {
				return errors.New("there is no row in " + bucket)
			}
			v[len(v)/2] ^= 8
			return b.Put(k, v)
		}
	}
	remove := func(bucket string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b, k, _ := firstRow(tx.Bucket([]byte(bucket)))
			return b.Delete(k)
		}
	}
	for name, c := range map[string]struct {
		edit func(*bolt.Tx) error
		kind recall.FindingKind
		want string
	}{
		"record":             {flip("record"), recall.FindingRow, `bucket "record"`},
		"body":               {flip("body"), recall.FindingRow, `bucket "body"`},
		"record of a letter": {flip("dead.record"), recall.FindingRow, `bucket "dead.record"`},
		"body of a letter":   {flip("dead.body"), recall.FindingRow, `bucket "dead.body"`},
		"journal":            {flip("journal"), recall.FindingRow, `bucket "journal"`},
		"operation":          {flip("tombstone"), recall.FindingRow, `bucket "tombstone"`},
		"object":             {flip("object"), recall.FindingRow, `bucket "object"`},
		"event":              {flip("event"), recall.FindingRow, `bucket "event"`},
		"head": {func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("meta"))
			v := slices.Clone(b.Get([]byte("head")))
			v[0] ^= 1
			return b.Put([]byte("head"), v)
		}, recall.FindingRow, "key 68656164"},
		"no record":   {remove("record"), recall.FindingLink, "a body without its record"},
		"no body":     {remove("body"), recall.FindingLink, "a record without its body"},
		"no event":    {remove("event"), "", ""}, // as if it had been dropped
		"no header":   {remove("tombstone"), recall.FindingLink, "a set without its operation"},
		"another row": {func(tx *bolt.Tx) error { return tx.Bucket([]byte("journal")).Put([]byte{77}, []byte{1}) }, recall.FindingRow, "unknown kind"},
		"strange bucket": {func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("recorf"))
			return err
		}, recall.FindingLink, "nobody knows it"},
		"no bucket":       {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("overlay")) }, recall.FindingRow, "bucket is missing"},
		"events counted":  {func(tx *bolt.Tx) error { return tx.Bucket([]byte("event")).SetSequence(1 << 20) }, recall.FindingNumber, "are counted"},
		"commits counted": {func(tx *bolt.Tx) error { return tx.Bucket([]byte("journal")).SetSequence(1) }, recall.FindingNumber, "only 1 are counted"},
		"ids counted": {func(tx *bolt.Tx) error {
			parts := tx.Bucket([]byte("dedup"))
			return parts.ForEach(func(k, _ []byte) error { return parts.Bucket(k).SetSequence(0) })
		}, recall.FindingNumber, "its last row is 1, and 0 are counted"},
		"no set": {func(tx *bolt.Tx) error {
			c := tx.Bucket([]byte("tombstone")).Cursor()
			for k, _ := c.First(); k != nil; k, _ = c.Next() {
				if len(k) > 17 {
					if err := c.Delete(); err != nil {
						return err
					}
				}
			}
			return nil
		}, recall.FindingNumber, "it has taken 100 messages, and its sets have 0"},
		"a segment moved": {func(tx *bolt.Tx) error {
			records := tx.Bucket([]byte("record"))
			to, err := records.CreateBucket(binary.BigEndian.AppendUint64(nil, 9))
			if err != nil {
				return err
			}
			return records.Bucket(make([]byte, 8)).ForEach(to.Put)
		}, recall.FindingRow, "checksum"},
	} {
		path := filepath.Join(t.TempDir(), "q.db")
		copyFile(t, base, path)
		editFile(t, path, c.edit)
		before := readBytes(t, path)
		r, err := recall.Check(t.Context(), path, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := slices.ContainsFunc(r.Findings, func(f recall.Finding) bool {
			return f.Kind == c.kind && strings.Contains(f.String(), c.want)
		})
		if found != (c.want != "") || found == r.OK() {
			t.Errorf("%s: got\n%s", name, r)
		}
		if !bytes.Equal(before, readBytes(t, path)) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// TestCheckFlippedBits flips a bit in each page that is in use. A finding is all
// that may come of it; and where the file opens and reads as before, none is needed.
func TestCheckFlippedBits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	fillFile(t, path)
	image := readBytes(t, path)
	size := os.Getpagesize()
	missed, pages := 0, 0
	for at := 0; at+size <= len(image); at += size {
		if bytes.Equal(image[at:at+size], make([]byte, size)) || at > 60*size && at/size%9 != 0 {
			continue
		}
		bad := bytes.Clone(image)
		bad[at+size/3] ^= 16
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		pages++
		r, err := recall.Check(t.Context(), path, nil)
		if err != nil {
			t.Errorf("page %d: %v", at/size, err)
		}
		if !r.OK() {
			continue
		}
		missed++
		b, err := recall.Open(path, &recall.Options{NoDispatch: true, Logger: quietLogger, Durability: recall.SyncNever})
		if err != nil {
			t.Errorf("page %d: nothing was found, and yet: %v", at/size, err)
			continue
		}
		for _, err := range b.List(t.Context(), recall.Filter{}) {
			if err != nil {
				t.Errorf("page %d: nothing was found, and yet: %v", at/size, err)
			}
		}
		closeNow(t, b, t.Context())
	}
	if missed > pages/2 { // free pages, the meta pages' unused part, the program's own rows
		t.Errorf("nothing was found in %d of %d pages", missed, pages)
	}
}

// TestCheckTruncated cuts a file short.
func TestCheckTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	fillFile(t, path)
	r := checkSound(t, path)
	if err := os.Truncate(path, r.UsedBytes-1); err != nil {
		t.Fatal(err)
	}
	r, err := recall.Check(t.Context(), path, nil)
	if err != nil || r.OK() || !strings.Contains(r.String(), "missing at the end") {
		t.Errorf("got %v, %v", r, err)
	}
}
