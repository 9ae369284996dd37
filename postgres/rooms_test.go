package postgres_test

import (
	"context"
	"math"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// TestRoomIsLookedIntoAgain has a claim, as another process makes it, look into a queue
// and a key that are at the front already, and find nothing that it may take. What comes
// there meanwhile, or becomes free, is not left behind: it waits for the claim, and has
// the next one look again.
func TestRoomIsLookedIntoAgain(t *testing.T) {
	limited := func(m *recall.Message) { m.FlowKey, m.Flow = "k", &recall.FlowLimit{Parallelism: 1} }
	for name, set := range map[string]func(*recall.Message){
		"queues": func(m *recall.Message) { m.Queue = "q" },
		"flows":  limited,
	} {
		for _, publishes := range []bool{true, false} {
			e, dsn := newEngine(t, postgres.Options{})
			pool, ctx := newPool(t, dsn), t.Context()
			m := message("a")
			set(&m)
			if _, err := e.Insert(ctx, []recall.Message{m, m}, base); err != nil {
				t.Fatal(err)
			}
			leases := claimOne(t, e)
			table := postgres.SchemaOf(e) + "." + name
			if _, err := pool.Exec(ctx, `UPDATE `+table+` SET look_ms = 0`); err != nil { // as of a third message
				t.Fatal(err)
			}
			tx, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if n, err := tx.Exec(ctx, `UPDATE `+table+` SET look_ms = $1`, int64(math.MaxInt64)); err != nil || n.RowsAffected() != 1 {
				t.Fatal(n, err)
			}
			done := make(chan error, 1)
			over := false
			go func() {
				if publishes {
					_, err := e.Insert(ctx, []recall.Message{m}, base)
					done <- err
					return
				}
				done <- e.Finish(ctx, leases[0], recall.Finish{Outcome: recall.Delivered, Now: base})
			}()
			awaitBlocked(t, pool, tx, func() bool {
				select {
				case err = <-done:
					over = true
				default:
				}
				return over
			})
			if over {
				t.Fatalf("%s, publishes %v: it does not wait for the claim: %v", name, publishes, err)
			}
			if err := tx.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			var look int64
			if err := pool.QueryRow(ctx, `SELECT look_ms FROM `+table).Scan(&look); err != nil || look != 0 {
				t.Errorf("%s, publishes %v: it is looked into at %d, %v", name, publishes, look, err)
			}
		}
	}
}
