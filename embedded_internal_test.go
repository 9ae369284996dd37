package recall

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall/store"
)

// openInternal returns an engine that is closed with the test.
func openInternal(t *testing.T) *embedded {
	t.Helper()
	engine, err := OpenEngine(filepath.Join(t.TempDir(), "q.db"), &Options{Durability: SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine.(*embedded)
}

// TestAwaitEnds waits for an end that is decided and not yet queued: a flush
// finds nothing to wait for.
func TestAwaitEnds(t *testing.T) {
	e, now := openInternal(t), time.Now()
	m := Message{URL: "https://api.test/", Method: "POST", Retries: Retries(0), CreatedAt: now, DueAt: now}
	if _, err := e.Insert(t.Context(), []Message{m}, now); err != nil {
		t.Fatal(err)
	}
	const seq = 1
	e.mu.Lock()
	p, en := e.live.lookup(seq)
	e.live.move(p, en, phaseFinishing)
	e.mu.Unlock()
	ctx := &countingContext{Context: t.Context(), looks: 5}
	if err := e.awaitEnds(ctx, []uint64{seq}); !errors.Is(err, context.Canceled) {
		t.Errorf("it did not wait: %v", err)
	}
	if err := e.finishGone(seq); err != nil {
		t.Fatal(err)
	}
	if err := e.awaitEnds(t.Context(), []uint64{seq}); err != nil {
		t.Error(err)
	}
	if n := e.Stats().Pending; n != 0 {
		t.Errorf("%d are pending", n)
	}
}

// countingContext ends when it was looked at a number of times.
type countingContext struct {
	context.Context
	looks int
}

func (c *countingContext) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestCulprit has work in one commit that cannot be written: it fails alone.
func TestCulprit(t *testing.T) {
	e, now, bad := openInternal(t), time.Now(), errors.New("it cannot be written")
	release, err := Occupy(e)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan error, 4)
	for i := range cap(outcomes) {
		w := new(insertWork)
		m := Message{URL: "https://api.test/", Method: "POST", Retries: Retries(0), CreatedAt: now, DueAt: now}
		if err := w.encode([]Message{m}, now.UnixMilli()); err != nil {
			t.Fatal(err)
		}
		var part work = w
		if i%2 == 1 {
			part = &maintWork{step: func(*store.Tx) error { return bad }}
		}
		r, err := e.send(t.Context(), part, true)
		if err != nil {
			t.Fatal(err)
		}
		go func() { outcomes <- <-r.ack }()
	}
	release()
	failed := 0
	for range cap(outcomes) {
		if err := <-outcomes; errors.Is(err, bad) {
			failed++
		} else if err != nil {
			t.Error(err)
		}
	}
	if n := e.Stats(); n.Pending != 2 || failed != 2 {
		t.Errorf("%d of 2 have failed, %d of 2 are pending", failed, n.Pending)
	}
}

// TestPagesLeftBehind publishes one message after the other, each gone before
// the next: no page stays.
func TestPagesLeftBehind(t *testing.T) {
	ix := markIndex(1)
	rec := recordOf(&Message{URL: "https://api.test/", Retries: Retries(0)}, 0, new(texts))
	for seq := uint64(2); seq < 5*pageSize; seq++ {
		p, e := ix.lookup(seq - 1)
		ix.move(p, e, phaseMarked)
		ix.unlink(p, e, seq-1)
		ix.insert(seq, &rec, times{})
	}
	if len(ix.pages) != 1 || ix.timeline.Len() != 1 {
		t.Errorf("%d pages are kept, %d in order of time", len(ix.pages), ix.timeline.Len())
	}
}

// TestRestoreAfterTheEnd undoes a request whose message has ended by it, which
// is not to be seen yet: the undo waits, and lifts nothing.
func TestRestoreAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, now := openInternal(t), time.Now()
		m := Message{URL: "https://api.test/", Method: "POST", Retries: Retries(3), CreatedAt: now, DueAt: now}
		if _, err := e.Insert(t.Context(), []Message{m}, now); err != nil {
			t.Fatal(err)
		}
		claimed, err := e.Claim(t.Context(), ClaimRequest{Now: now, Max: 1})
		if err != nil {
			t.Fatal(err)
		}
		asked, err := e.CancelMatching(t.Context(), CancelMatchingRequest{All: true, Policy: Sticky, Now: now})
		if err != nil || asked.Requested != 1 {
			t.Fatalf("got %+v, %v", asked, err)
		}
		d, _, err := e.decide(claimed.Leases[0], &Finish{Outcome: Retry, Due: now, Now: now})
		if err != nil || d.end != endGone {
			t.Fatalf("got %+v, %v", d, err)
		}
		restored := make(chan RestoreResult, 1)
		go func() {
			r, err := e.Restore(context.Background(), asked.Operation, now)
			if err != nil {
				t.Error(err)
			}
			restored <- r
		}()
		synctest.Wait()
		select {
		case r := <-restored:
			t.Errorf("it has not waited: %+v", r)
		default:
		}
		e.leave(d, nil)
		if err := e.finishGone(d.seq); err != nil {
			t.Fatal(err)
		}
		if r := <-restored; r != (RestoreResult{}) {
			t.Errorf("got %+v, want nothing", r)
		}
	})
}

// The records of operations are in the order of their calls, whatever the clock
// does, and after an open.
func TestOperationIDsAscend(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	before := opIDs{random: rand.Reader}
	last := before.next(now)
	for range 300 {
		id := before.next(now)
		if id.Compare(last) <= 0 {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
	after := opIDs{random: rand.Reader}
	after.begin(last)
	for _, at := range []time.Time{now, now.Add(-time.Hour), now.Add(time.Millisecond), now} {
		id := after.next(at)
		if id.Compare(last) <= 0 {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}
