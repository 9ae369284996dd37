package recall_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// onFile is a broker on a file. At the end of the test its invariants are
// checked, it is closed, and what it left is checked once more.
type onFile struct {
	*recall.Broker
	engine recall.Engine
	path   string
	opts   recall.Options
}

func openFile(t *testing.T, opts *recall.Options) *onFile {
	t.Helper()
	f := &onFile{path: filepath.Join(t.TempDir(), "q.db")}
	if opts != nil {
		f.opts = *opts
	}
	f.opts.Durability = recall.SyncNever
	if f.opts.Logger == nil {
		f.opts.Logger = quietLogger
	}
	f.open(t)
	t.Cleanup(func() {
		f.check(t)
		if err := f.Close(context.Background()); errors.Is(err, recall.ErrClosed) {
			return
		} else if err != nil {
			t.Errorf("Close: %v", err)
		}
		engine, err := recall.OpenEngine(f.path, &f.opts)
		if err == nil {
			err = errors.Join(recall.CheckInvariants(engine, f.path), engine.Close())
		}
		if err != nil {
			t.Errorf("after the next open: %v", err)
		}
	})
	return f
}

func (f *onFile) open(t *testing.T) {
	t.Helper()
	var err error
	if f.engine, err = recall.OpenEngine(f.path, &f.opts); err != nil {
		t.Fatal(err)
	}
	if f.Broker, err = recall.New(f.engine, &f.opts); err != nil {
		t.Fatal(err)
	}
}

func (f *onFile) reopen(t *testing.T) {
	t.Helper()
	closeNow(t, f.Broker, context.Background())
	f.open(t)
}

func (f *onFile) check(t *testing.T) {
	t.Helper()
	if err := recall.CheckInvariants(f.engine, f.path); err != nil {
		t.Error(err)
	}
}

// update runs a transaction that must succeed.
func (f *onFile) update(t *testing.T, fn func(tx *recall.Tx) error) {
	t.Helper()
	if err := f.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// bodies returns the bodies of the live messages, in order.
func (f *onFile) bodies(t *testing.T) string {
	t.Helper()
	var all []string
	for m, err := range f.List(t.Context(), recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(m.Body))
	}
	return strings.Join(all, " ")
}

func (f *onFile) wantBodies(t *testing.T, want string) {
	t.Helper()
	if got := f.bodies(t); got != want {
		t.Errorf("live messages: got %q, want %q", got, want)
	}
}

func (f *onFile) value(t *testing.T, bucket, key string) string {
	t.Helper()
	v, err := f.Lookup(t.Context(), bucket, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}

// note is a message that waits, with its first letter as a label.
func note(body string) recall.Message {
	return recall.Message{URL: endpoint, Body: []byte(body), Labels: []string{body[:1]}, Delay: time.Hour}
}

func notes(bodies string) (all []recall.Message) {
	for _, body := range strings.Fields(bodies) {
		all = append(all, note(body))
	}
	return all
}

func label(names ...string) recall.Filter { return recall.Filter{Labels: names} }

var waiting = &recall.Options{NoDispatch: true}

// TestCancelAndReplace is what transactions are for: the old messages of
// somebody go and the new ones come together, and the program's own data with
// them.
func TestCancelAndReplace(t *testing.T) {
	f := openFile(t, waiting)
	publishAll(t, f.Broker, notes("a1 b1 a2"))
	var fresh []recall.Receipt
	f.update(t, func(tx *recall.Tx) (err error) {
		res, err := tx.CancelMatching(label("a"), recall.Reason("replaced"), recall.ExpectExactly(2))
		if err != nil || res.Cancelled != 2 || res.Operation == "" || res.Index != "label" {
			t.Errorf("CancelMatching: got %+v, %v", res, err)
		}
		if fresh, err = tx.PublishBatch(notes("a3 a4")); err != nil {
			return err
		}
		last, err := tx.Publish(note("c1"))
		if err != nil {
			return err
		}
		fresh = append(fresh, last)
		app, err := tx.Bucket("app")
		if err != nil {
			return err
		}
		return app.Put([]byte("version"), []byte("2"))
	})
	for range 2 {
		f.wantBodies(t, "b1 a3 a4 c1")
		if got := f.value(t, "app", "version"); got != "2" {
			t.Errorf("version: got %q, want 2", got)
		}
		for i, want := range []string{"a3", "a4", "c1"} {
			if m, err := f.Get(t.Context(), fresh[i].ID); err != nil || string(m.Body) != want || m.State != recall.StateDelayed {
				t.Errorf("Get of %s: got %q in state %s, %v", want, m.Body, m.State, err)
			}
		}
		f.reopen(t)
	}
}

func publishAll(t *testing.T, b *recall.Broker, msgs []recall.Message) (ids []recall.MessageID) {
	t.Helper()
	receipts, err := b.PublishBatch(t.Context(), msgs)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range receipts {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestBucket(t *testing.T) {
	f := openFile(t, waiting)
	f.update(t, func(tx *recall.Tx) error {
		app, err := tx.Bucket("app")
		if err != nil {
			return err
		}
		for _, key := range []string{"b", "a", "c", "d"} {
			if err := app.Put([]byte(key), []byte("value of "+key)); err != nil {
				return err
			}
		}
		if got := app.Get([]byte("c")); string(got) != "value of c" {
			t.Errorf("Get before the commit: got %q", got)
		}
		if app.Get([]byte("x")) != nil {
			t.Error("Get of what is not there is not nil")
		}
		for want := range uint64(3) {
			if n, err := app.NextSequence(); err != nil || n != want+1 {
				t.Errorf("NextSequence: got %d, %v, want %d", n, err, want+1)
			}
		}
		return errors.Join(app.Delete([]byte("c")), app.Delete([]byte("x")))
	})
	f.reopen(t)
	for key, want := range map[string]string{"a": "value of a", "c": "", "x": ""} {
		if got := f.value(t, "app", key); got != want {
			t.Errorf("Lookup of %q: got %q, want %q", key, got, want)
		}
	}
	if got := f.value(t, "none", "a"); got != "" {
		t.Errorf("Lookup in no bucket: got %q", got)
	}
	f.update(t, func(tx *recall.Tx) error {
		app, err := tx.Bucket("app")
		if err != nil {
			return err
		}
		for from, want := range map[string]string{"": "a b d", "b": "b d", "bb": "d", "e": ""} {
			var keys []string
			for k, v := range app.All([]byte(from)) {
				if keys = append(keys, string(k)); string(v) != "value of "+string(k) {
					t.Errorf("value of %q: got %q", k, v)
				}
			}
			if got := strings.Join(keys, " "); got != want {
				t.Errorf("All from %q: got %q, want %q", from, got, want)
			}
		}
		for range app.All(nil) {
			break
		}
		if n, err := app.NextSequence(); err != nil || n != 4 {
			t.Errorf("NextSequence after a reopen: got %d, %v, want 4", n, err)
		}
		other, err := tx.Bucket("other")
		if err != nil {
			return err
		}
		if n, err := other.NextSequence(); err != nil || n != 1 || other.Get([]byte("a")) != nil {
			t.Errorf("the other bucket has number %d, %v, and %q", n, err, other.Get([]byte("a")))
		}
		for _, key := range [][]byte{nil, make([]byte, 32_769)} {
			if err := app.Put(key, nil); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("Put under %d bytes: got %v, want ErrInvalid", len(key), err)
			}
		}
		return app.Put(make([]byte, 32_768), nil)
	})
}

// TestBucketNames shows that a program cannot get at the broker's own buckets.
func TestBucketNames(t *testing.T) {
	f := openFile(t, waiting)
	id := publish(t, f.Broker, note("a"))
	for _, name := range []string{"meta", "record", "journal", "tombstone", "app"} {
		f.update(t, func(tx *recall.Tx) error {
			b, err := tx.Bucket(name)
			if err != nil {
				return err
			}
			for k := range b.All(nil) {
				t.Errorf("bucket %q has the key %q", name, k)
			}
			return b.Put([]byte("head"), []byte("mine"))
		})
	}
	f.reopen(t)
	if _, err := f.Get(t.Context(), id); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", strings.Repeat("x", recall.MaxName+1), "a\nb"} {
		err := f.Update(t.Context(), func(tx *recall.Tx) error {
			_, err := tx.Bucket(name)
			return err
		})
		checkInvalid(t, fmt.Sprintf("bucket %.5q", name), err, "Bucket")
		_, err = f.Lookup(t.Context(), name, nil)
		checkInvalid(t, fmt.Sprintf("lookup in %.5q", name), err, "Bucket")
	}
}

// TestCancelOwn cancels what the transaction itself has published: by id
// without a trace, by filter with a record, so that it can be undone.
func TestCancelOwn(t *testing.T) {
	f := openFile(t, waiting)
	publishAll(t, f.Broker, notes("a0 b0"))
	var ids []recall.MessageID
	var op recall.OperationID
	f.update(t, func(tx *recall.Tx) error {
		receipts, err := tx.PublishBatch(notes("a1 a2 b1 b2 c1"))
		if err != nil {
			return err
		}
		for _, r := range receipts {
			ids = append(ids, r.ID)
		}
		if err := tx.Cancel(ids[0]); err != nil {
			return err
		}
		if err := tx.Cancel(ids[0]); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Cancel again: got %v, want ErrNotFound", err)
		}
		res, err := tx.CancelMatching(label("a", "b"), recall.Limit(4))
		if err != nil || res.Cancelled != 4 {
			t.Errorf("CancelMatching: got %+v, %v, want 4", res, err)
		}
		op = res.Operation
		if res, err := tx.CancelMatching(label("b")); err != nil || res.Cancelled != 1 {
			t.Errorf("CancelMatching beyond the limit: got %+v, %v, want 1", res, err)
		}
		if err := tx.Cancel(ids[1]); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Cancel after CancelMatching: got %v, want ErrNotFound", err)
		}
		_, err = tx.Publish(note("a3"))
		return err
	})
	f.wantBodies(t, "c1 a3")
	checkCount(t, f.Broker, recall.Count{Pending: 2})
	if _, err := f.WhoCancelled(t.Context(), ids[0]); !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("who cancelled the one by id: got %v, want ErrNotFound", err)
	}
	if o, err := f.WhoCancelled(t.Context(), ids[1]); err != nil || o.ID != op || o.Count != 4 || !o.Undoable {
		t.Errorf("who cancelled the others: got %+v, %v, want %s", o, err, op)
	}
	f.check(t)
	f.reopen(t)
	f.wantBodies(t, "c1 a3")
	if r, err := f.Restore(t.Context(), op); err != nil || r.Restored != 4 {
		t.Errorf("Restore: got %+v, %v, want 4", r, err)
	}
	f.wantBodies(t, "a0 b0 a2 b1 c1 a3")
	f.check(t)
	f.reopen(t)
	f.wantBodies(t, "a0 b0 a2 b1 c1 a3")
	checkCount(t, f.Broker, recall.Count{Pending: 6})
}

// TestRestoreOfATransaction undoes a cancellation of own messages before any
// reopen, and lets what it brought back run.
func TestRestoreOfATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		var mu sync.Mutex
		var got []string
		handle(t, f.Broker, "local:h", func(_ context.Context, d *recall.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(d.Body))
			return nil
		})
		var op recall.OperationID
		f.update(t, func(tx *recall.Tx) error {
			for _, body := range []string{"x1", "x2"} {
				if _, err := tx.Publish(recall.Message{URL: "local:h", Body: []byte(body), Labels: []string{"x"}}); err != nil {
					return err
				}
			}
			res, err := tx.CancelMatching(label("x"))
			op = res.Operation
			return err
		})
		sleep(time.Minute)
		if len(got) != 0 {
			t.Errorf("delivered: %q, want nothing", got)
		}
		if r, err := f.Restore(t.Context(), op); err != nil || r.Restored != 2 {
			t.Errorf("Restore: got %+v, %v, want 2", r, err)
		}
		sleep(time.Minute)
		slices.Sort(got)
		if !slices.Equal(got, []string{"x1", "x2"}) {
			t.Errorf("delivered: %q, want x1 and x2", got)
		}
	})
}

// TestGuardsInTransaction: options mean the same inside, and count the
// transaction's own messages.
func TestGuardsInTransaction(t *testing.T) {
	f := openFile(t, waiting)
	publishAll(t, f.Broker, notes("a1 a2"))
	f.update(t, func(tx *recall.Tx) error {
		if _, err := tx.Publish(note("a3")); err != nil {
			return err
		}
		for range 2 {
			if res, err := tx.CancelMatching(label("a"), recall.DryRun()); err != nil || res.Cancelled != 3 || res.Operation != "" {
				t.Errorf("DryRun: got %+v, %v, want 3", res, err)
			}
		}
		if res, err := tx.CancelMatching(label("a"), recall.Limit(1), recall.ExpectExactly(3)); err != nil || res.Cancelled != 1 {
			t.Errorf("limit: got %+v, %v, want 1", res, err)
		}
		if res, err := tx.CancelMatching(label("x")); err != nil || res.Cancelled != 0 || res.Operation != "" {
			t.Errorf("no matches: got %+v, %v", res, err)
		}
		for _, refused := range []recall.CancelOption{recall.Wait(time.Second), recall.Abort} {
			if _, err := tx.CancelMatching(label("a"), refused); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%v: got %v, want ErrInvalid", refused, err)
			}
		}
		if _, err := tx.CancelMatching(recall.Filter{}); !errors.Is(err, recall.ErrEmptyFilter) {
			t.Errorf("empty filter: got %v, want ErrEmptyFilter", err)
		}
		if _, err := tx.CancelMatching(recall.Filter{IDs: []recall.MessageID{"x"}}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("filter of no id: got %v, want ErrInvalid", err)
		}
		if err := tx.Cancel("x"); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("Cancel of no id: got %v, want ErrInvalid", err)
		}
		if err := tx.Cancel(someID); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Cancel of an unknown id: got %v, want ErrNotFound", err)
		}
		if err := tx.Cancel(someID, recall.Abort); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("Cancel with Abort: got %v, want ErrInvalid", err)
		}
		if err := tx.Cancel(someID, recall.DryRun()); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("Cancel with DryRun: got %v, want ErrInvalid", err)
		}
		if _, err := tx.Publish(recall.Message{}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("Publish of nothing: got %v, want ErrInvalid", err)
		}
		return nil
	})
	f.wantBodies(t, "a2 a3")
	f.reopen(t)
	f.wantBodies(t, "a2 a3")
}

// TestRefusedGuardInTransaction: a guard that refuses leaves the messages as
// they were, those of the transaction too.
func TestRefusedGuardInTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		publishAll(t, f.Broker, notes("a1 a2"))
		f.update(t, func(tx *recall.Tx) error {
			if _, err := tx.Publish(note("a3")); err != nil {
				return err
			}
			for _, guard := range []recall.CancelOption{recall.ExpectAtMost(2), recall.ExpectExactly(2), recall.ExpectExactly(4)} {
				for _, limit := range []recall.CancelOption{nil, recall.Limit(1)} {
					res, err := tx.CancelMatching(label("a"), guard, limit)
					var unexpected *recall.UnexpectedCountError
					if !errors.As(err, &unexpected) || unexpected.Found != 3 || res.Cancelled != 0 {
						t.Errorf("got %+v, %v, want that 3 were found", res, err)
					}
				}
			}
			return nil
		})
		f.wantBodies(t, "a1 a2 a3")
		f.check(t)
		if res, err := f.CancelMatching(t.Context(), label("a")); err != nil || res.Cancelled != 3 {
			t.Errorf("CancelMatching afterwards: got %+v, %v, want 3", res, err)
		}
	})
}

// inFlight publishes messages to a handler that keeps them until its end is
// told, and waits until all are running.
func (f *onFile) inFlight(t *testing.T, bodies string) (ids []recall.MessageID, end chan error) {
	t.Helper()
	end = make(chan error)
	handle(t, f.Broker, "local:slow", func(context.Context, *recall.Delivery) error { return <-end })
	msgs := notes(bodies)
	for i := range msgs {
		msgs[i].URL, msgs[i].Delay = "local:slow", 0
	}
	ids = publishAll(t, f.Broker, msgs)
	synctest.Wait()
	return ids, end
}

// TestBlockerInTransaction: what fn makes of a blocker decides whether the
// prefix is committed.
func TestBlockerInTransaction(t *testing.T) {
	for _, keep := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, nil)
			publishAll(t, f.Broker, notes("a1 a2"))
			ids, end := f.inFlight(t, "a3")
			publishAll(t, f.Broker, notes("a4"))
			err := f.Update(t.Context(), func(tx *recall.Tx) error {
				if _, err := tx.Publish(note("a5")); err != nil {
					return err
				}
				if err := tx.Cancel(ids[0]); !errors.Is(err, recall.ErrNotCancellable) {
					t.Errorf("Cancel: got %v, want ErrNotCancellable", err)
				}
				res, err := tx.CancelMatching(label("a"))
				var stop *recall.NotCancellableError
				if !errors.As(err, &stop) || stop.ID != ids[0] || stop.Cancelled != 2 || res.Cancelled != 2 {
					t.Errorf("CancelMatching: got %+v, %v, want it stopped by %s after 2", res, err, ids[0])
				}
				if keep {
					return nil
				}
				return err
			})
			want := "a3 a4 a5"
			if !keep {
				want = "a1 a2 a3 a4"
			}
			if keep != (err == nil) || !keep && !errors.Is(err, recall.ErrNotCancellable) {
				t.Errorf("Update: got %v", err)
			}
			f.wantBodies(t, want)
			end <- nil
			synctest.Wait()
			f.wantBodies(t, strings.Replace(want, "a3 ", "", 1))
		})
	}
}

// TestPoliciesInTransaction passes over what is in flight, or asks for it.
func TestPoliciesInTransaction(t *testing.T) {
	for _, policy := range []recall.Policy{recall.Skip, recall.Sticky} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, &recall.Options{Backoff: func(int) time.Duration { return time.Minute }})
			publishAll(t, f.Broker, notes("a1"))
			ids, end := f.inFlight(t, "a2")
			publishAll(t, f.Broker, notes("a3"))
			f.update(t, func(tx *recall.Tx) error {
				if _, err := tx.Publish(note("a4")); err != nil {
					return err
				}
				res, err := tx.CancelMatching(label("a"), policy)
				if res.Cancelled != 3 || (policy == recall.Sticky) != (res.Requested == 1) || (policy == recall.Skip) != slices.Equal(res.Skipped, ids) {
					t.Errorf("%v: got %+v", policy, res)
				}
				return err
			})
			end <- errNoRoom
			sleep(time.Second)
			if policy == recall.Sticky {
				checkCount(t, f.Broker, recall.Count{})
				return
			}
			f.wantBodies(t, "a2")
			sleep(time.Minute)
			end <- nil
			synctest.Wait()
			checkCount(t, f.Broker, recall.Count{})
		})
	}
}

// TestRequestInTransaction asks for a message in flight, whose attempt fails
// before the transaction ends: what becomes of it follows from that end.
func TestRequestInTransaction(t *testing.T) {
	for _, commits := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, &recall.Options{Backoff: func(int) time.Duration { return time.Minute }})
			ids, end := f.inFlight(t, "s1")
			err := f.Update(t.Context(), func(tx *recall.Tx) error {
				for range 2 {
					if err := tx.Cancel(ids[0], recall.Sticky); err != nil {
						t.Errorf("Cancel with Sticky: %v", err)
					}
				}
				if err := tx.Cancel(ids[0]); !errors.Is(err, recall.ErrNotCancellable) {
					t.Errorf("Cancel: got %v, want ErrNotCancellable", err)
				}
				if res, err := tx.CancelMatching(label("s")); err != nil || res.Cancelled+res.Requested != 0 {
					t.Errorf("CancelMatching: got %+v, %v, want none", res, err)
				}
				end <- errNoRoom
				synctest.Wait()
				if commits {
					return nil
				}
				return errNoRoom
			})
			if (err == nil) != commits {
				t.Errorf("Update: %v", err)
			}
			synctest.Wait()
			if commits {
				checkCount(t, f.Broker, recall.Count{})
				return
			}
			checkCount(t, f.Broker, recall.Count{Pending: 1})
			sleep(time.Minute)
			end <- nil
			synctest.Wait()
			checkCount(t, f.Broker, recall.Count{})
		})
	}
}

// TestEndedDuringTransaction cancels a message whose attempt has just ended, and
// whose end waits for the transaction.
func TestEndedDuringTransaction(t *testing.T) {
	for _, sticky := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, nil)
			ids, end := f.inFlight(t, "s1 s2")
			var opts []recall.CancelOption
			if sticky {
				opts = append(opts, recall.Sticky)
			}
			f.update(t, func(tx *recall.Tx) error {
				end <- nil
				end <- recall.RetryAfter(time.Hour, errNoRoom)
				synctest.Wait()
				got := []error{tx.Cancel(ids[0], opts...), tx.Cancel(ids[1], opts...)}
				if got[0] != nil {
					got[0], got[1] = got[1], got[0]
				}
				if got[0] != nil || !errors.Is(got[1], recall.ErrNotFound) {
					t.Errorf("Cancel: got %v, want one to be pending and one to be gone", got)
				}
				return nil
			})
			checkCount(t, f.Broker, recall.Count{})
		})
	}
}

func TestStandingInTransaction(t *testing.T) {
	f := openFile(t, waiting)
	op, err := f.CancelFuture(t.Context(), label("a"), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var ids []recall.MessageID
	publishBoth := func(tx *recall.Tx) {
		receipts, err := tx.PublishBatch(notes("a1 b1"))
		if err != nil || receipts[0].CancelledBy != op || receipts[1].CancelledBy != "" {
			t.Fatalf("PublishBatch: got %+v, %v, want the first cancelled by %s", receipts, err, op)
		}
		ids = append(ids, receipts[0].ID)
		if err := tx.Cancel(receipts[0].ID); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Cancel of what is cancelled: got %v, want ErrNotFound", err)
		}
		if res, err := tx.CancelMatching(label("a")); err != nil || res.Cancelled != 0 {
			t.Errorf("CancelMatching: got %+v, %v, want none", res, err)
		}
	}
	f.update(t, func(tx *recall.Tx) error { publishBoth(tx); return nil })
	if err := f.Update(t.Context(), func(tx *recall.Tx) error { publishBoth(tx); return errNoRoom }); !errors.Is(err, errNoRoom) {
		t.Fatal(err)
	}
	for range 2 {
		f.wantBodies(t, "b1")
		if o, err := f.WhoCancelled(t.Context(), ids[0]); err != nil || o.ID != op || o.Count != 1 {
			t.Errorf("who cancelled it: got %+v, %v, want %s, which has taken one", o, err, op)
		}
		f.reopen(t)
	}
}

// TestTransactionLeavesNothing ends fn in every bad way: nothing has happened,
// and everything goes on.
func TestTransactionLeavesNothing(t *testing.T) {
	ends := map[string]func() error{
		"error":  func() error { return errNoRoom },
		"panic":  func() error { panic("out of order") },
		"goexit": func() error { runtime.Goexit(); return nil },
	}
	for name, end := range ends {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, nil)
			ids := publishAll(t, f.Broker, notes("a1 a2 b1"))
			running, finish := f.inFlight(t, "s1")
			f.update(t, func(tx *recall.Tx) error {
				b, err := tx.Bucket("app")
				return errors.Join(err, b.Put([]byte("k"), []byte("before")))
			})
			ended := make(chan error)
			go func() {
				err := errInjected // unless Update returns
				defer func() {
					if p := recover(); p != nil && p != "out of order" {
						t.Errorf("panic: %v", p)
					}
					ended <- err
				}()
				err = f.Update(t.Context(), func(tx *recall.Tx) error {
					everything(t, tx, ids[2], running[0])
					return end()
				})
			}()
			if err := <-ended; (name == "error") != errors.Is(err, errNoRoom) || name != "error" && !errors.Is(err, errInjected) {
				t.Errorf("%s: Update returned %v", name, err)
			}
			f.wantBodies(t, "a1 a2 b1 s1")
			checkCount(t, f.Broker, recall.Count{Pending: 3, InFlight: 1})
			if got := f.value(t, "app", "k"); got != "before" {
				t.Errorf("%s: the bucket has %q", name, got)
			}
			finish <- recall.RetryAfter(time.Minute, errNoRoom)
			synctest.Wait()
			checkCount(t, f.Broker, recall.Count{Pending: 4})

			f.update(t, func(tx *recall.Tx) error {
				if res, err := tx.CancelMatching(label("a")); err != nil || res.Cancelled != 2 {
					t.Errorf("%s: CancelMatching afterwards: got %+v, %v, want 2", name, res, err)
				}
				return tx.Cancel(ids[2])
			})
			publish(t, f.Broker, note("z"))
			if res, err := f.CancelAll(t.Context()); err != nil || res.Cancelled != 2 {
				t.Errorf("%s: CancelAll afterwards: got %+v, %v, want 2", name, res, err)
			}
		})
	}
}

// everything makes use of all that a transaction can do.
func everything(t *testing.T, tx *recall.Tx, pending, running recall.MessageID) {
	t.Helper()
	own, err := tx.PublishBatch(notes("a8 a9 c9"))
	if err != nil {
		t.Fatal(err)
	}
	_, all := tx.CancelMatching(label("a"))
	_, sticky := tx.CancelMatching(recall.Filter{IDs: []recall.MessageID{running}}, recall.Sticky)
	b, made := tx.Bucket("app")
	fresh, other := tx.Bucket("fresh")
	if err := errors.Join(all, sticky, made, other, tx.Cancel(own[2].ID), tx.Cancel(pending),
		b.Put([]byte("k"), []byte("after")), fresh.Put([]byte("k"), nil)); err != nil {
		t.Error(err)
	}
}

// TestIDsOfNothing: the ids that fn was given before it failed name no message,
// not even when the next one is published in the same millisecond.
func TestIDsOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, waiting)
		var lost []recall.MessageID
		for range 2 {
			err := f.Update(t.Context(), func(tx *recall.Tx) error {
				r, err := tx.PublishBatch(notes("a1 a2"))
				lost = append(lost, r[0].ID, r[1].ID)
				return errors.Join(err, errNoRoom)
			})
			if !errors.Is(err, errNoRoom) {
				t.Fatal(err)
			}
		}
		f.update(t, func(tx *recall.Tx) error {
			if _, err := tx.PublishBatch(notes("b1 b2")); err != nil {
				return err
			}
			for _, id := range lost {
				if err := tx.Cancel(id); !errors.Is(err, recall.ErrNotFound) {
					t.Errorf("Cancel in a transaction: got %v, want ErrNotFound", err)
				}
			}
			return nil
		})
		publish(t, f.Broker, note("b3"))
		for _, id := range lost {
			if err := f.Cancel(t.Context(), id); !errors.Is(err, recall.ErrNotFound) {
				t.Errorf("Cancel: got %v, want ErrNotFound", err)
			}
		}
		for range 2 {
			f.wantBodies(t, "b1 b2 b3")
			f.check(t)
			f.reopen(t)
		}
	})
}

// TestTransactionIsOver uses a Tx after fn has returned.
func TestTransactionIsOver(t *testing.T) {
	f := openFile(t, waiting)
	var late *recall.Tx
	var bucket recall.Bucket
	f.update(t, func(tx *recall.Tx) (err error) {
		late = tx
		bucket, err = tx.Bucket("app")
		return errors.Join(err, bucket.Put([]byte("k"), []byte("v")))
	})
	calls := map[string]func() error{
		"Publish":        func() error { _, err := late.Publish(note("a")); return err },
		"PublishBatch":   func() error { _, err := late.PublishBatch(notes("a b")); return err },
		"Cancel":         func() error { return late.Cancel(someID) },
		"CancelMatching": func() error { _, err := late.CancelMatching(label("a")); return err },
		"Bucket":         func() error { _, err := late.Bucket("app"); return err },
		"Put":            func() error { return bucket.Put([]byte("k"), nil) },
		"Delete":         func() error { return bucket.Delete([]byte("k")) },
		"NextSequence":   func() error { _, err := bucket.NextSequence(); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, recall.ErrClosed) {
			t.Errorf("%s after the end: got %v, want ErrClosed", name, err)
		}
	}
	if got := bucket.Get([]byte("k")); got != nil {
		t.Errorf("Get after the end: got %q", got)
	}
	for k := range bucket.All(nil) {
		t.Errorf("All after the end: got %q", k)
	}
	checkCount(t, f.Broker, recall.Count{})
}

// TestBrokerInTransaction calls the broker with the context of a transaction,
// which would wait for ever.
func TestBrokerInTransaction(t *testing.T) {
	f := openFile(t, waiting)
	other := openFile(t, waiting)
	f.update(t, func(tx *recall.Tx) error {
		ctx := tx.Context()
		for name, call := range brokerCalls(f.Broker) {
			if err := call(ctx); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%s: got %v, want ErrInvalid", name, err)
			}
		}
		return other.Update(ctx, func(within *recall.Tx) error {
			if _, err := f.Publish(within.Context(), note("a")); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("Publish within another's transaction: got %v, want ErrInvalid", err)
			}
			return nil
		})
	})
	checkCount(t, f.Broker, recall.Count{})
}

// brokerCalls are the calls that need a context.
func brokerCalls(b *recall.Broker) map[string]func(context.Context) error {
	last := func(seq func(func(recall.Message, error) bool)) (err error) {
		for _, e := range seq {
			err = e
		}
		return err
	}
	return map[string]func(context.Context) error{
		"Close":        b.Close,
		"Update":       func(ctx context.Context) error { return b.Update(ctx, func(*recall.Tx) error { return nil }) },
		"Lookup":       func(ctx context.Context) error { _, err := b.Lookup(ctx, "app", nil); return err },
		"Publish":      func(ctx context.Context) error { _, err := b.Publish(ctx, note("a")); return err },
		"PublishBatch": func(ctx context.Context) error { _, err := b.PublishBatch(ctx, notes("a")); return err },
		"Get":          func(ctx context.Context) error { _, err := b.Get(ctx, someID); return err },
		"List":         func(ctx context.Context) error { return last(b.List(ctx, recall.Filter{})) },
		"Count":        func(ctx context.Context) error { _, err := b.Count(ctx, recall.Filter{}); return err },
		"Explain":      func(ctx context.Context) error { _, err := b.Explain(ctx, recall.Filter{}); return err },
		"Cancel":       func(ctx context.Context) error { return b.Cancel(ctx, someID) },
		"CancelMatching": func(ctx context.Context) error {
			_, err := b.CancelMatching(ctx, label("a"))
			return err
		},
		"CancelAll": func(ctx context.Context) error { _, err := b.CancelAll(ctx); return err },
		"Restore":   func(ctx context.Context) error { _, err := b.Restore(ctx, someOperation); return err },
		"CancelFuture": func(ctx context.Context) error {
			_, err := b.CancelFuture(ctx, label("a"), time.Now().Add(time.Hour))
			return err
		},
		"LiftCancellation":  func(ctx context.Context) error { return b.LiftCancellation(ctx, someOperation) },
		"Hold":              func(ctx context.Context) error { _, err := b.Hold(ctx, label("a")); return err },
		"Release":           func(ctx context.Context) error { _, err := b.Release(ctx, label("a")); return err },
		"Reschedule":        func(ctx context.Context) error { _, err := b.Reschedule(ctx, label("a"), time.Now()); return err },
		"RetryNow":          func(ctx context.Context) error { _, err := b.RetryNow(ctx, label("a")); return err },
		"Receive":           func(ctx context.Context) error { _, err := b.Receive(ctx, "q", 1, recall.PollFor(0)); return err },
		"DeleteDeadLetters": func(ctx context.Context) error { _, err := b.DeleteDeadLetters(ctx, "1-1"); return err },
		"RetryDeadLetters":  func(ctx context.Context) error { _, err := b.RetryDeadLetters(ctx, "1-1"); return err },
	}
}

const someOperation = recall.OperationID("op_01J00000000000000000000000")

// TestLargeTransaction writes too much, in every way; nothing of it happens.
func TestLargeTransaction(t *testing.T) {
	f := openFile(t, &recall.Options{NoDispatch: true, MaxBody: 16 << 20})
	publishAll(t, f.Broker, notes("a1"))
	half := note("large")
	half.Body = make([]byte, recall.MaxTransaction/2)
	for name, fn := range map[string]func(tx *recall.Tx) error{
		"messages": func(tx *recall.Tx) error {
			_, err := tx.PublishBatch([]recall.Message{half, half})
			return err
		},
		"one message after another": func(tx *recall.Tx) error {
			_, first := tx.Publish(half)
			_, second := tx.Publish(half)
			return errors.Join(first, second)
		},
		"a value": func(tx *recall.Tx) error {
			b, err := tx.Bucket("app")
			return errors.Join(err, b.Put([]byte("k"), make([]byte, recall.MaxTransaction)))
		},
		"small values": func(tx *recall.Tx) error {
			b, err := tx.Bucket("app")
			for i := 0; err == nil; i++ {
				err = b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), nil)
				if i > recall.MaxTransaction/4096 {
					return nil
				}
			}
			return err
		},
	} {
		err := f.Update(t.Context(), func(tx *recall.Tx) error {
			if _, err := tx.CancelMatching(label("a")); err != nil {
				return err
			}
			return fn(tx)
		})
		if !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		f.wantBodies(t, "a1")
	}
	f.update(t, func(tx *recall.Tx) error {
		b, err := tx.Bucket("app")
		return errors.Join(err, b.Put([]byte("k"), make([]byte, recall.MaxTransaction-64<<10)))
	})
	if got := len(f.value(t, "app", "k")); got != recall.MaxTransaction-64<<10 {
		t.Errorf("the value has %d bytes", got)
	}
}

// TestTransactionInFullFile: without room for it a transaction is refused, and
// one that only cancels goes on as long as other cancellations do.
func TestTransactionInFullFile(t *testing.T) { synctest.Test(t, transactionInFullFile) }

func transactionInFullFile(t *testing.T) {
	f := openFile(t, &recall.Options{NoDispatch: true, MaxFileSize: 20 << 20})
	ids := publishAll(t, f.Broker, notes("a1 a2 b1"))
	full := &story{e: f.engine, ids: map[string]recall.MessageID{}}
	filled := full.fill(t)
	for more := 1; more > 0; filled += more {
		synctest.Wait() // background work makes some room, until there is nothing left to do
		more = full.fill(t)
	}
	for name, write := range map[string]func(tx *recall.Tx) error{
		"messages": func(tx *recall.Tx) error { _, err := tx.Publish(note("a3")); return err },
		"data": func(tx *recall.Tx) error {
			b, err := tx.Bucket("app")
			return errors.Join(err, b.Put([]byte("k"), make([]byte, 1<<20)))
		},
	} {
		err := f.Update(t.Context(), func(tx *recall.Tx) error {
			if _, err := tx.CancelMatching(label("a")); err != nil {
				return err
			}
			return errors.Join(tx.Cancel(ids[2]), write(tx))
		})
		if !errors.Is(err, recall.ErrFull) || errors.Is(err, recall.ErrFailed) {
			t.Errorf("%s: got %v, want ErrFull", name, err)
		}
		full.wantPending(t, filled+3)
	}
	f.update(t, func(tx *recall.Tx) error {
		res, err := tx.CancelMatching(label("a"))
		if res.Cancelled != 2 {
			t.Errorf("CancelMatching: got %+v, want 2", res)
		}
		return errors.Join(err, tx.Cancel(ids[2]))
	})
	full.wantPending(t, filled)
}

// TestTransactionTakesLittleRoom: a file does not grow by what a transaction
// might have written.
func TestTransactionTakesLittleRoom(t *testing.T) {
	f := openFile(t, waiting)
	publish(t, f.Broker, note("a"))
	before := f.Stats().FileBytes
	f.update(t, func(tx *recall.Tx) error {
		b, err := tx.Bucket("app")
		return errors.Join(err, b.Put([]byte("k"), []byte("v")))
	})
	if after := f.Stats().FileBytes; after > before+2<<20 {
		t.Errorf("the file has grown from %d to %d bytes", before, after)
	}
}

func TestTransactionIsRefused(t *testing.T) {
	f := openFile(t, waiting)
	never := func(*recall.Tx) error {
		t.Error("fn was called")
		return nil
	}
	if err := f.Update(done(), never); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: got %v", err)
	}
	if _, err := f.Lookup(done(), "app", []byte("k")); !errors.Is(err, context.Canceled) {
		t.Errorf("Lookup with a context that is done: got %v", err)
	}
	closeNow(t, f.Broker, t.Context())
	if err := f.Update(t.Context(), never); !errors.Is(err, recall.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
	if _, err := f.Lookup(t.Context(), "app", []byte("k")); !errors.Is(err, recall.ErrClosed) {
		t.Errorf("Lookup after Close: got %v, want ErrClosed", err)
	}
	b := newBroker(t, waiting)
	if err := b.Update(t.Context(), never); !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("on another engine: got %v, want ErrUnsupported", err)
	}
}

// TestTransactionIsLate waits for a commit, and is given up before its turn.
func TestTransactionIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commit := make(chan struct{})
		f := &onFile{path: filepath.Join(t.TempDir(), "q.db")}
		opts := &recall.Options{Durability: recall.SyncNever, Logger: quietLogger, NoDispatch: true}
		var err error
		if f.engine, err = recall.OpenFaulty(f.path, opts, func() error { <-commit; return nil }, nil); err != nil {
			t.Fatal(err)
		}
		if f.Broker, err = recall.New(f.engine, opts); err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		calls.Go(func() { publish(t, f.Broker, note("a")) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		calls.Go(func() {
			err := f.Update(ctx, func(*recall.Tx) error {
				t.Error("fn was called")
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Update: got %v, want it cancelled", err)
			}
		})
		synctest.Wait()
		cancel()
		close(commit)
		calls.Wait()
		f.wantBodies(t, "a")
		closeNow(t, f.Broker, context.Background())
	})
}

// TestTransactionKeepsOthersWaiting ends the patience of who waits for a slow
// fn, and shows how long it was in Stats.
func TestTransactionKeepsOthersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, waiting)
		ids := publishAll(t, f.Broker, notes("a1 a2"))
		var others sync.WaitGroup
		f.update(t, func(tx *recall.Tx) error {
			if err := tx.Cancel(ids[0]); err != nil {
				return err
			}
			others.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := f.Update(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("another Update: got %v, want it to give up", err)
				}
				if res, err := f.CancelMatching(ctx, label("a")); !errors.Is(err, context.DeadlineExceeded) || res.Cancelled != 0 {
					t.Errorf("CancelMatching: got %+v, %v, want it to give up", res, err)
				}
				if err := f.Cancel(ctx, ids[1]); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Cancel: got %v, want it to give up", err)
				}
			})
			others.Go(func() {
				if _, err := f.Get(t.Context(), ids[0]); !errors.Is(err, recall.ErrNotFound) {
					t.Errorf("Get of what is being cancelled: got %v, want ErrNotFound", err)
				}
				if f.Stats().LongestUpdate != time.Hour {
					t.Error("Get did not wait for the transaction")
				}
			})
			others.Go(func() {
				start := time.Now()
				publish(t, f.Broker, note("b"))
				if waited := time.Since(start); waited != time.Hour {
					t.Errorf("Publish waited %v, want 1h", waited)
				}
			})
			time.Sleep(time.Hour)
			return nil
		})
		others.Wait()
		if got := f.Stats().LongestUpdate; got != time.Hour {
			t.Errorf("LongestUpdate: got %v, want 1h", got)
		}
		f.wantBodies(t, "a2 b")
	})
}

// TestTransactionsAtOnce moves messages between two labels in transactions, and
// counts them in a bucket, while others publish, cancel, deliver and look.
// Nobody sees what comes beside what goes.
func TestTransactionsAtOnce(t *testing.T) {
	rounds := 60
	if os.Getenv("RECALL_SOAK") != "" {
		rounds = 300
	}
	f := openFile(t, &recall.Options{Slots: 8, Backoff: func(int) time.Duration { return time.Millisecond }})
	var delivered atomic.Int64
	handle(t, f.Broker, "local:h", func(_ context.Context, d *recall.Delivery) error {
		if d.Attempt == 1 && len(d.Body)%2 == 0 {
			return errNoRoom
		}
		delivered.Add(1)
		return nil
	})
	const pairs = 3 // messages that are replaced together
	replace := func(tx *recall.Tx, who, round int) error {
		name := fmt.Sprint("set", who)
		if round > 0 {
			if res, err := tx.CancelMatching(label(name), recall.ExpectExactly(pairs)); err != nil || res.Cancelled != pairs {
				return fmt.Errorf("round %d: %d cancelled, %w", round, res.Cancelled, err)
			}
		}
		for range pairs {
			m := recall.Message{URL: endpoint, Delay: time.Hour, Labels: []string{name, fmt.Sprint(name, ".", round)}}
			if _, err := tx.Publish(m); err != nil {
				return err
			}
		}
		b, err := tx.Bucket("app")
		if err != nil {
			return err
		}
		return b.Put([]byte(name), []byte(fmt.Sprint(round)))
	}
	var writers, readers sync.WaitGroup
	var published, cancelled atomic.Int64
	over := make(chan struct{})
	for who := range 2 {
		writers.Go(func() {
			for round := range rounds {
				if err := f.Update(t.Context(), func(tx *recall.Tx) error { return replace(tx, who, round) }); err != nil {
					t.Error(err)
					return
				}
				err := f.Update(t.Context(), func(tx *recall.Tx) error {
					return errors.Join(replace(tx, who, round+1), errNoRoom)
				})
				if !errors.Is(err, errNoRoom) {
					t.Error(err)
				}
			}
		})
		readers.Go(func() { // sees the messages of one round, and not before its number
			name := fmt.Sprint("set", who)
			for {
				select {
				case <-over:
					return
				default:
				}
				before, _ := strconv.Atoi(f.value(t, "app", name))
				seen := map[string]int{}
				page, err := f.engine.List(t.Context(), label(name), "", 100, time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				for _, m := range page {
					seen[m.Labels[1]]++
				}
				after, _ := strconv.Atoi(f.value(t, "app", name))
				if len(seen) > 1 {
					t.Errorf("messages of several rounds at once: %v", seen)
				}
				for l, n := range seen {
					_, text, _ := strings.Cut(l, ".")
					if round, _ := strconv.Atoi(text); round < before || round > after+1 || n > pairs {
						t.Errorf("%d messages of round %d; the bucket had %d before and %d after", n, round, before, after)
					}
				}
			}
		})
	}
	for who := range 2 {
		writers.Go(func() {
			for i := range rounds {
				publish(t, f.Broker, recall.Message{URL: "local:h", Body: make([]byte, i), Labels: []string{"job"}, Delay: time.Duration(i%3) * time.Millisecond})
				published.Add(1)
				if i%5 != who {
					continue
				}
				res, err := f.CancelMatching(t.Context(), label("job"), []recall.Policy{recall.Skip, recall.Stop}[who])
				if err != nil && !errors.Is(err, recall.ErrNotCancellable) {
					t.Error(err)
				}
				cancelled.Add(int64(res.Cancelled))
			}
		})
	}
	writers.Wait()
	close(over)
	readers.Wait()
	for f.Stats().Pending > 2*pairs || f.Stats().InFlight > 0 { // real time of a real file
		runtime.Gosched()
	}
	if got := delivered.Load() + cancelled.Load(); got != published.Load() {
		t.Errorf("%d delivered and %d cancelled are not the %d published", delivered.Load(), cancelled.Load(), published.Load())
	}
	for who := range 2 {
		if got := f.value(t, "app", fmt.Sprint("set", who)); got != fmt.Sprint(rounds-1) {
			t.Errorf("the bucket has %s, want %d", got, rounds-1)
		}
		if c, err := f.Count(t.Context(), label(fmt.Sprint("set", who, ".", rounds-1))); err != nil || c.Pending != pairs {
			t.Errorf("the last round: %+v, %v", c, err)
		}
	}
}
