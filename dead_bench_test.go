package recall_test

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// deadEngine returns an engine with n dead letters, and the ids of their
// messages in the order of the queue.
func deadEngine(t testing.TB, n int) (recall.Engine, []recall.MessageID) {
	t.Helper()
	ctx, now := context.Background(), time.Now()
	e, err := recall.OpenEngine(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	var ids []recall.MessageID
	for len(ids) < n {
		batch := make([]recall.Message, min(1000, n-len(ids)))
		for i := range batch {
			batch[i] = recall.Message{
				URL: "https://api.test/", Method: "POST", Labels: []string{strconv.Itoa(i % 7)}, Body: make([]byte, 500),
				CreatedAt: now, DueAt: now, Retries: recall.Retries(0),
			}
		}
		if _, err := e.Insert(ctx, batch, now); err != nil {
			t.Fatal(err)
		}
		res, err := e.Claim(ctx, recall.ClaimRequest{Now: now, Max: len(batch)})
		if err != nil || len(res.Leases) != len(batch) {
			t.Fatalf("Claim: got %d leases, %v, want %d", len(res.Leases), err, len(batch))
		}
		for i, l := range res.Leases {
			if err := e.Finish(ctx, l, recall.Finish{Outcome: recall.Dead, Now: now, Reason: "no", Durable: i == len(batch)-1}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, l.Message.ID)
		}
	}
	return e, ids
}

// BenchmarkListDeadByID lists the dead letters of some messages of 50,000.
func BenchmarkListDeadByID(b *testing.B) {
	const letters = 50_000
	e, ids := deadEngine(b, letters)
	for name, step := range map[string]int{"first": letters, "scattered": letters / 1000} {
		var f recall.Filter
		for i := 0; i < letters; i += step {
			f.IDs = append(f.IDs, ids[i])
		}
		for _, limit := range []int{100, 1000} {
			b.Run(name+"/limit="+strconv.Itoa(limit), func(b *testing.B) {
				for b.Loop() {
					got, err := e.ListDead(b.Context(), f, "", limit)
					if err != nil || len(got) != min(limit, len(f.IDs)) {
						b.Fatalf("got %d, %v", len(got), err)
					}
				}
			})
		}
	}
}

// TestListDeadByID takes many pages of a queue that is longer than a slice of
// a walk.
func TestListDeadByID(t *testing.T) {
	e, ids := deadEngine(t, 3000)
	last, err := e.ListDead(t.Context(), recall.Filter{IDs: ids[2999:]}, "", 50)
	if err != nil || len(last) != 1 || last[0].Message.ID != ids[2999] {
		t.Errorf("the last: got %d, %v", len(last), err)
	}
	f := recall.Filter{IDs: []recall.MessageID{"msg_x", someID}, Labels: []string{"3"}}
	want := 0
	for i := 0; i < len(ids); i += 3 {
		f.IDs = append(f.IDs, ids[i])
		if i%1000%7 == 3 {
			want++
		}
	}
	var after recall.DeadLetterID
	seen := map[recall.MessageID]bool{}
	for {
		page, err := e.ListDead(t.Context(), f, after, 50)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			seen[d.Message.ID] = true
		}
		after = page[len(page)-1].ID
	}
	if len(seen) != want {
		t.Errorf("got %d, want %d", len(seen), want)
	}
}
