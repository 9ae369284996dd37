package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// patience bounds how long a test waits for what should happen at once. A busy machine
// may be slow.
const patience = 10 * time.Minute

// newBroker is a broker of a process of its own, as far as the database can tell.
func newBroker(t *testing.T, dsn, schema string) *recall.Broker {
	t.Helper()
	e, err := postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, PollInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(e, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestBrokers has two brokers deliver what one of them publishes: each message once,
// those of a queue in their order whoever gets them.
func TestBrokers(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	ctx := t.Context()
	brokers := []*recall.Broker{newBroker(t, dsn, schema), newBroker(t, dsn, schema)}
	const queued, loose = 20, 40
	var mu sync.Mutex
	seen, order := map[recall.MessageID]int{}, []recall.MessageID{}
	arrived := make(chan struct{}, 10*(queued+loose))
	for _, b := range brokers {
		err := b.Handle("local:job", func(_ context.Context, d *recall.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if seen[d.ID]++; d.Queue != "" {
				order = append(order, d.ID)
			}
			arrived <- struct{}{}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var want []recall.MessageID
	for i := range queued + loose {
		m := recall.Message{URL: "local:job"}
		if i%3 == 0 {
			m.Queue = "q"
		}
		r, err := brokers[0].Publish(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		if m.Queue != "" {
			want = append(want, r.ID)
		}
	}
	for range queued + loose {
		select {
		case <-arrived:
		case <-time.After(patience):
			t.Fatal("not everything was delivered")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != queued+loose {
		t.Errorf("%d messages were delivered, want %d", len(seen), queued+loose)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("the queue went out of order: %v, want %v", order, want)
		}
	}
}
