package recall_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/store"
	bolt "go.etcd.io/bbolt"
)

// damageBody flips a bit of the body row of the n-th message of a file.
func damageBody(t *testing.T, path string, n uint64) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		segment := binary.BigEndian.AppendUint64(nil, n>>12)
		b := tx.Bucket([]byte("body")).Bucket(segment)
		key, row := b.Cursor().Seek(binary.BigEndian.AppendUint32(nil, uint32(n)<<16))
		row = slices.Clone(row)
		row[len(row)/2] ^= 4
		return b.Put(slices.Clone(key), row)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// damagedFile returns a file with messages 1, 2 and 3, of which the first is
// damaged, and its id.
func damagedFile(t *testing.T) (path string, bad recall.MessageID) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "q.db")
	b, err := recall.Open(path, &recall.Options{NoDispatch: true, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"1", "2", "3"} {
		if id := publish(t, b, recall.Message{URL: "local:x", Body: []byte(body), Retries: recall.Retries(0)}); bad == "" {
			bad = id
		}
	}
	closeNow(t, b, t.Context())
	damageBody(t, path, 1)
	return path, bad
}

// TestDamagedMessage is about a message that cannot be read: it holds nothing
// else up, people are told which it is, and it can be taken back.
func TestDamagedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, bad := damagedFile(t)
		var log logs
		opts := &recall.Options{Logger: log.logger(), Durability: recall.SyncNever}
		e, err := recall.OpenEngine(path, opts)
		if err != nil {
			t.Fatal(err)
		}
		b, err := recall.New(e, opts)
		if err != nil {
			t.Fatal(err)
		}
		bodies := make(chan string, 10)
		handle(t, b, "local:x", func(_ context.Context, d *recall.Delivery) error {
			bodies <- string(d.Body)
			return nil
		})
		publish(t, b, recall.Message{URL: "local:x", Body: []byte("4")})
		sleep(time.Hour)
		var got []string
		for len(bodies) > 0 {
			got = append(got, <-bodies)
		}
		slices.Sort(got)
		if want := []string{"2", "3", "4"}; !slices.Equal(got, want) {
			t.Errorf("delivered: got %q, want %q", got, want)
		}
		for _, text := range []string{"is not delivered", string(bad), `bucket \"body\", key 0000000000000001`} {
			if n := log.count(text); n != 1 {
				t.Errorf("%q is in the log %d times:\n%s", text, n, log.String())
			}
		}
		_, err = b.Get(t.Context(), bad)
		var damage *store.CorruptError
		if !errors.As(err, &damage) || damage.Bucket != "body" || damage.Key != "0000000000000001" {
			t.Errorf("Get: got %v", err)
		}
		checkCount(t, b, recall.Count{Pending: 1})
		if err := recall.CheckInvariants(e, path); err != nil {
			t.Error(err)
		}
		if r, err := b.CancelAll(t.Context()); err != nil || r.Cancelled != 1 {
			t.Errorf("CancelAll: got %+v, %v", r, err)
		}
		closeNow(t, b, t.Context())
	})
}

// TestDamagedMessageAfterCrash is about one whose last attempt was under way
// when its process died: there is no body to make a dead letter of.
func TestDamagedMessageAfterCrash(t *testing.T) {
	path, bad := damagedFile(t)
	damageBody(t, path, 1) // as it was
	opts := &recall.Options{Logger: quietLogger}
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: now, Max: 1, Handlers: []string{"local:x"}})
	if err != nil || len(res.Leases) != 1 || res.Leases[0].Message.ID != bad {
		t.Fatalf("Claim: got %+v, %v", res, err)
	}
	if _, err := e.Maintain(t.Context(), now.Add(time.Minute)); err != nil { // notes the claim
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	damageBody(t, path, 1)
	if e, err = recall.OpenEngine(path, opts); err != nil {
		t.Fatal(err)
	}
	res, err = e.Claim(t.Context(), recall.ClaimRequest{Now: now, Max: 9, Handlers: []string{"local:x"}})
	if err != nil || len(res.Leases) != 2 {
		t.Errorf("Claim: got %+v, %v", res, err)
	}
	if err := errors.Join(recall.CheckInvariants(e, path), e.Close()); err != nil {
		t.Error(err)
	}
}

// TestRefusedFileStaysAsItIs opens a file that a crash has left and that has a
// damaged record: it is refused and not written to, since whoever repairs it
// needs it as it was.
func TestRefusedFileStaysAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	opts := &recall.Options{Logger: quietLogger, Durability: recall.SyncNever}
	e, err := recall.OpenEngine(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{e: e, ids: map[string]recall.MessageID{}}
	if err := s.insert("a1", "a2"); err != nil {
		t.Fatal(err)
	}
	crashed, err := os.ReadFile(path)
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	bad := bytes.ReplaceAll(crashed, []byte("http://host/a1"), []byte("http://host/b1"))
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recall.OpenEngine(path, opts); !errors.Is(err, recall.ErrCorrupt) {
		t.Fatalf("OpenEngine: got %v, want ErrCorrupt", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, bad) {
		t.Errorf("the refused file was changed (%v)", err)
	}
	if err := os.WriteFile(path, crashed, 0o600); err != nil { // and nobody holds it
		t.Fatal(err)
	}
	if got := bodiesAfterReopen(t, path, opts); !slices.Equal(got, []string{"a1", "a2"}) {
		t.Errorf("got %v", got)
	}
}

// zeroPages overwrites the header of every page of a file that is open.
func zeroPages(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	for at := int64(2 * os.Getpagesize()); err == nil && at < info.Size(); at += int64(os.Getpagesize()) {
		_, err = f.WriteAt(make([]byte, 16), at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamagedPage has the committer, and a transaction in its place, meet pages
// that were damaged while the file was open: the change fails, and not the
// process.
func TestDamagedPage(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(*story) error{
		"publish": func(s *story) error { return s.insert("b1") },
		"cancel":  func(s *story) error { return s.cancelLabel("a") },
		"transaction": func(s *story) error {
			return s.e.(recall.Transactor).Update(ctx, func(tx recall.EngineTx) error {
				b, err := tx.Bucket("app")
				if err != nil {
					return err
				}
				return b.Put([]byte("k"), []byte("v"))
			})
		},
		"transaction that does not look": func(s *story) error {
			return s.e.(recall.Transactor).Update(ctx, func(tx recall.EngineTx) error {
				_, _ = tx.Insert([]recall.Message{storyMessage("b1", storyBase)}, storyBase)
				return nil
			})
		},
	} {
		path := filepath.Join(t.TempDir(), "q.db")
		e, err := recall.OpenEngine(path, &recall.Options{Logger: quietLogger, Durability: recall.SyncNever})
		if err != nil {
			t.Fatal(err)
		}
		s := &story{e: e, ids: map[string]recall.MessageID{}, lease: map[string]recall.Lease{}}
		if err := s.insert("a1", "a2"); err != nil {
			t.Fatal(err)
		}
		zeroPages(t, path)
		if err := change(s); !errors.Is(err, recall.ErrFailed) || !errors.Is(err, recall.ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrFailed and ErrCorrupt", name, err)
		}
		if !e.Stats().Broken {
			t.Errorf("%s: the failure is not told", name)
		}
		if err := s.insert("c1"); !errors.Is(err, recall.ErrFailed) {
			t.Errorf("%s: publishing after it: %v", name, err)
		}
		if err := e.Close(); !errors.Is(err, recall.ErrFailed) {
			t.Errorf("%s: Close: got %v", name, err)
		}
	}
}
