package recall_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// bounded is an embedded engine with options about what it keeps of operations.
type bounded struct {
	t    *testing.T
	path string
	opts recall.Options
	recall.Engine
}

// epoch is when these tests begin.
var epoch = time.UnixMilli(1_800_000_000_000)

func newBounded(t *testing.T, o recall.Options) *bounded {
	t.Helper()
	o.Durability, o.Logger = recall.SyncNever, slog.New(slog.DiscardHandler)
	b := &bounded{t: t, path: filepath.Join(t.TempDir(), "q.db"), opts: o}
	b.open(epoch)
	t.Cleanup(func() {
		if err := recall.CheckInvariants(b.Engine, b.path); err != nil {
			t.Errorf("invariants: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func (b *bounded) open(now time.Time) {
	b.t.Helper()
	b.opts.Clock = stopped(now)
	e, err := recall.OpenEngine(b.path, &b.opts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Engine = e
}

func (b *bounded) reopen(now time.Time) {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open(now)
}

// publish inserts n messages with a label, due late.
func (b *bounded) publish(n int, label string, now time.Time) (ids []recall.MessageID) {
	b.t.Helper()
	msgs := make([]recall.Message, n)
	for i := range msgs {
		msgs[i] = recall.Message{
			URL: "https://a.test/", Method: "POST", Labels: []string{label}, Retries: recall.Retries(3),
			Timeout: time.Second, DueAt: now.Add(24 * 365 * time.Hour), CreatedAt: now,
		}
	}
	receipts, err := b.Insert(context.Background(), msgs, now)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range receipts {
		ids = append(ids, r.ID)
	}
	return ids
}

func (b *bounded) cancel(label string, now time.Time) recall.OperationID {
	b.t.Helper()
	req := recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{label}}, Now: now}
	res, err := b.CancelMatching(context.Background(), req)
	if err != nil || res.Cancelled == 0 {
		b.t.Fatalf("CancelMatching: got %+v, %v", res, err)
	}
	return res.Operation
}

func (b *bounded) restore(op recall.OperationID, now time.Time) (int, error) {
	res, err := b.Engine.(recall.Restorer).Restore(context.Background(), op, now)
	return res.Restored, err
}

func (b *bounded) wantRestored(op recall.OperationID, want int, now time.Time) {
	b.t.Helper()
	if n, err := b.restore(op, now); n != want || err != nil {
		b.t.Fatalf("Restore: got %d, %v, want %d", n, err, want)
	}
}

func (b *bounded) wantExpired(op recall.OperationID, now time.Time) {
	b.t.Helper()
	if n, err := b.restore(op, now); n != 0 || !errors.Is(err, recall.ErrUndoExpired) {
		b.t.Fatalf("Restore: got %d, %v, want ErrUndoExpired", n, err)
	}
}

// wantUnknown checks that nothing is known of an operation any more.
func (b *bounded) wantUnknown(op recall.OperationID) {
	b.t.Helper()
	if _, err := b.restore(op, epoch); !errors.Is(err, recall.ErrNotFound) {
		b.t.Errorf("Restore: got %v, want ErrNotFound", err)
	}
}

// maintain does the background work that is waiting at a time.
func (b *bounded) maintain(now time.Time) {
	b.t.Helper()
	for range 200 {
		next, err := b.Maintain(context.Background(), now)
		if err != nil {
			b.t.Fatal(err)
		}
		if next.IsZero() || next.After(now) {
			return
		}
	}
	b.t.Fatal("there is no end to Maintain")
}

func (b *bounded) records() (ids []recall.OperationID) {
	b.t.Helper()
	ops, err := b.Engine.(recall.Auditor).Operations(context.Background(), "", 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, o := range ops {
		ids = append(ids, o.ID)
	}
	return ids
}

func (b *bounded) wantRecords(want ...recall.OperationID) {
	b.t.Helper()
	if got := b.records(); !slices.Equal(got, want) {
		b.t.Fatalf("records: got %v, want %v", got, want)
	}
}

// TestUndoBytes: the oldest operations give way, and only they.
func TestUndoBytes(t *testing.T) {
	b := newBounded(t, recall.Options{UndoBytes: 400 << 10})
	var ops []recall.OperationID
	for _, label := range []string{"a", "b", "c", "d", "e", "f"} {
		b.publish(500, label, epoch)
		ops = append(ops, b.cancel(label, epoch))
	}
	kept := b.Stats().Undoable
	if s := b.Stats(); s.UndoBytes > 400<<10 || kept == 0 || kept == len(ops) {
		t.Fatalf("%d can be undone, with %d bytes", kept, s.UndoBytes)
	}
	gone := len(ops) - kept
	for _, op := range ops[:gone] {
		b.wantExpired(op, epoch)
	}
	b.reopen(epoch)
	if n := b.Stats().Undoable; n == 0 || n > kept+1 { // what a message takes is measured anew
		t.Errorf("after a restart %d can be undone, before it was %d", n, kept)
	}
	b.wantRestored(ops[len(ops)-1], 500, epoch)
	if n, err := b.Count(context.Background(), recall.Filter{}, epoch); err != nil || n.Pending != 500 {
		t.Errorf("Count: got %+v, %v", n, err)
	}
	b.maintain(epoch)
	b.wantRestored(ops[len(ops)-1], 500, epoch)
	b.wantExpired(ops[0], epoch)
}

// TestUndoBytesOfOne: an operation that is too large alone cannot be undone,
// and takes nothing from those that could.
func TestUndoBytesOfOne(t *testing.T) {
	b := newBounded(t, recall.Options{UndoBytes: 1})
	b.publish(10, "a", epoch)
	op := b.cancel("a", epoch)
	if s := b.Stats(); s.Undoable != 0 || s.UndoBytes != 0 {
		t.Errorf("%d can be undone, with %d bytes", s.Undoable, s.UndoBytes)
	}
	b.wantExpired(op, epoch)
}

// TestUndoWindow: the window is that of the options, or none.
func TestUndoWindow(t *testing.T) {
	b := newBounded(t, recall.Options{UndoWindow: time.Hour})
	b.publish(10, "a", epoch)
	op := b.cancel("a", epoch)
	late := epoch.Add(time.Hour - time.Millisecond)
	b.maintain(late)
	b.reopen(late)
	b.wantRestored(op, 10, late)
	op = b.cancel("a", epoch)
	b.reopen(epoch.Add(time.Hour))
	b.wantExpired(op, epoch.Add(time.Hour))

	b = newBounded(t, recall.Options{UndoWindow: -1})
	ids := b.publish(10, "a", epoch)
	op = b.cancel("a", epoch)
	b.wantExpired(op, epoch)
	b.reopen(epoch)
	b.wantExpired(op, epoch)
	b.maintain(epoch)
	b.wantExpired(op, epoch)
	if got, err := b.Engine.(recall.Auditor).WhoCancelled(context.Background(), ids[3]); err != nil || got.ID != op || got.Undoable {
		t.Errorf("WhoCancelled: got %+v, %v", got, err)
	}
}

// TestAuditRetention: records go when they are old enough, and nothing else
// does.
func TestAuditRetention(t *testing.T) {
	ctx := context.Background()
	b := newBounded(t, recall.Options{AuditRetention: time.Hour, UndoWindow: 10 * time.Minute})
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	gone := b.publish(100, "a", epoch)
	left := b.publish(10, "kept", epoch)
	first := b.cancel("a", epoch)
	standing, err := b.Engine.(recall.Stander).CancelFuture(ctx, recall.Filter{Labels: []string{"s"}}, at(2*time.Hour), "", at(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	taken := b.publish(1, "s", at(time.Minute))
	b.publish(5, "b", at(30*time.Minute))
	second := b.cancel("b", at(30*time.Minute))
	who := func(id recall.MessageID) recall.OperationID {
		o, _ := b.Engine.(recall.Auditor).WhoCancelled(ctx, id)
		return o.ID
	}

	b.maintain(at(time.Hour - time.Millisecond))
	b.wantRecords(first, standing, second)
	b.maintain(at(time.Hour + time.Minute))
	b.wantRecords(standing, second)
	b.wantUnknown(first)
	if who(gone[0]) != "" || who(taken[0]) != standing {
		t.Errorf("WhoCancelled: got %q and %q", who(gone[0]), who(taken[0]))
	}
	b.reopen(at(time.Hour + time.Minute))
	b.maintain(at(90*time.Minute + time.Minute))
	b.wantRecords(standing)
	b.reopen(at(91 * time.Minute))
	b.maintain(at(3*time.Hour - time.Millisecond))
	b.wantRecords(standing)
	b.maintain(at(3*time.Hour + time.Minute))
	b.wantRecords()
	// The clock goes back to when it was active. It is gone all the same.
	back := b.publish(1, "s", at(90*time.Minute))
	want := append(left, back...)
	for range 2 {
		msgs, err := b.List(ctx, recall.Filter{}, "", 1000, at(0))
		if err != nil || len(msgs) != len(want) {
			t.Fatalf("List: got %d messages, %v, want %d", len(msgs), err, len(want))
		}
		for i, m := range msgs {
			if m.ID != want[i] {
				t.Errorf("message %d is %s, want %s", i, m.ID, want[i])
			}
		}
		b.reopen(at(4 * time.Hour))
	}
	if after := b.publish(1, "t", at(4*time.Hour)); after[0] <= back[0] {
		t.Errorf("%s was given out after %s", after[0], back[0])
	}
}

// TestAuditRetentionKeepsWhatCounts: a record without which messages would come
// back, or could not, is kept until they are folded.
func TestAuditRetentionKeepsWhatCounts(t *testing.T) {
	b := newBounded(t, recall.Options{AuditRetention: time.Minute, UndoWindow: time.Hour})
	b.publish(10, "a", epoch)
	op := b.cancel("a", epoch)
	late := epoch.Add(59 * time.Minute)
	b.maintain(late)
	b.wantRecords(op)
	b.wantRestored(op, 10, late)
	b.maintain(late.Add(2 * time.Minute))
	b.wantRecords()
	if n, err := b.Count(context.Background(), recall.Filter{}, late); err != nil || n.Pending != 10 {
		t.Errorf("Count: got %+v, %v", n, err)
	}
}

// TestStandingLimit: each standing cancellation costs every message that comes,
// so there is an end.
func TestStandingLimit(t *testing.T) {
	b := newBounded(t, recall.Options{})
	future := func(now time.Time) error {
		_, err := b.Engine.(recall.Stander).CancelFuture(t.Context(), recall.Filter{Labels: []string{"s"}}, epoch.Add(time.Hour), "", now)
		return err
	}
	for range 1000 {
		if err := future(epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := future(epoch); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("one more: got %v, want ErrInvalid", err)
	}
	b.reopen(epoch)
	if err := future(epoch.Add(59 * time.Minute)); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("after a restart: got %v, want ErrInvalid", err)
	}
	if err := future(epoch.Add(2 * time.Hour)); err != nil {
		t.Errorf("when they have expired: %v", err)
	}
}
