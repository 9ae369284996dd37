package postgres_test

import (
	"context"
	"math"
	"strconv"
	"testing"
	"time"

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

// TestRoomsOfOthers: what others have to claim, in more queues or under more keys than one
// claim looks into, does not keep this process from what is its own for ever.
func TestRoomsOfOthers(t *testing.T) {
	for name, set := range map[string]func(*recall.Message, string){
		"queues": func(m *recall.Message, name string) { m.Queue = name },
		"keys":   func(m *recall.Message, name string) { m.FlowKey = name },
	} {
		e, _ := newEngine(t, postgres.Options{NoEvents: true})
		var msgs []recall.Message
		for i := range 1500 { // a claim looks into 1,000
			m := message("a")
			m.URL = "pull:others"
			set(&m, strconv.Itoa(i))
			msgs = append(msgs, m)
		}
		mine := message("a")
		mine.DueAt = base.Add(time.Second)
		set(&mine, "mine")
		if _, err := e.Insert(t.Context(), append(msgs, mine), base); err != nil {
			t.Fatal(err)
		}
		for range 2 { // theirs are at the front, and then mine
			if _, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 9}); err != nil {
				t.Fatal(err)
			}
		}
		claimed := 0
		for i := range 4 { // as a broker does with every poll
			res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base.Add(time.Second + time.Duration(i)*time.Millisecond), Max: 9})
			if err != nil {
				t.Fatal(err)
			}
			claimed += len(res.Leases)
		}
		if claimed != 1 {
			t.Errorf("%s: claimed %d, want 1", name, claimed)
		}
	}
}
