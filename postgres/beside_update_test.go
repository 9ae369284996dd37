package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// atOnce fails when a call waits.
func atOnce(t *testing.T, what string, call func(ctx context.Context) error) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), soon)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-ctx.Done():
		t.Errorf("%s waits", what)
	}
}

// TestRoomsOfUpdate: while an Update has published into a queue and under a key, others end
// attempts, cancel and claim there, and a process may start. What it has published is claimed
// afterwards.
func TestRoomsOfUpdate(t *testing.T) {
	for name, put := range map[string]func(*recall.Message){
		"a queue": func(m *recall.Message) { m.Queue = "q" },
		"a key":   func(m *recall.Message) { m.FlowKey = "f" },
		"a limit": func(m *recall.Message) { m.FlowKey, m.Flow = "f", &recall.FlowLimit{Parallelism: 9} },
	} {
		t.Run(name, func(t *testing.T) {
			e, pool, schema := openPool(t)
			other := openAnother(t, pool, schema)
			b, err := recall.New(e, &recall.Options{NoDispatch: true})
			noError(t, err)
			in := func(label string) recall.Message {
				m := message(label)
				put(&m)
				return m
			}
			leases := publishAndClaim(t, e, in("first"))
			receipts, err := e.Insert(t.Context(), []recall.Message{in("x"), in("w"), in("v"), message("plain")}, base)
			noError(t, err)
			err = e.Update(t.Context(), func(tx recall.EngineTx) error {
				_, err := tx.Insert([]recall.Message{in("z")}, base)
				noError(t, err)
				besideUpdate(t, e, other, leases[0], receipts[1].ID)
				ptx, err := pool.Begin(t.Context())
				noError(t, err)
				_, err = e.CancelMatchingTx(t.Context(), b, ptx, recall.Filter{Labels: []string{"v"}})
				noError(t, err)
				noError(t, ptx.Commit(t.Context()))
				atOnce(t, "Claim", func(ctx context.Context) error { return claimsOne(ctx, e, "plain") })
				atOnce(t, "Open", func(ctx context.Context) error {
					o, err := postgres.Open(ctx, pool, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour})
					if err != nil {
						return err
					}
					return o.Close()
				})
				return nil
			})
			noError(t, err)
			atOnce(t, "Claim behind it", func(ctx context.Context) error { return claimsOne(ctx, e, "z") })
		})
	}
}

func besideUpdate(t *testing.T, e, other *postgres.Engine, l recall.Lease, id recall.MessageID) {
	t.Helper()
	atOnce(t, "Finish", func(ctx context.Context) error {
		return e.Finish(ctx, l, recall.Finish{Outcome: recall.Delivered, Now: base})
	})
	atOnce(t, "CancelMatching", func(ctx context.Context) error {
		_, err := other.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"x"}}, Now: base})
		return err
	})
	atOnce(t, "Cancel", func(ctx context.Context) error { return other.Cancel(ctx, recall.CancelRequest{ID: id, Now: base}) })
}

// claimsOne claims until a message with a label comes, and nothing else does.
func claimsOne(ctx context.Context, e *postgres.Engine, label string) error {
	for ctx.Err() == nil {
		res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 9})
		if err != nil {
			return err
		}
		for _, l := range res.Leases {
			if l.Message.Labels[0] != label {
				return errors.New("it claims " + l.Message.Labels[0])
			}
			return nil
		}
	}
	return ctx.Err()
}

// TestUpdateWaits: an Update that waits for another one looks at its context, and does not
// call its function once that has ended.
func TestUpdateWaits(t *testing.T) {
	e, pool, schema := openPool(t)
	other := openAnother(t, pool, schema)
	err := e.Update(t.Context(), func(recall.EngineTx) error {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		called := false
		err := other.Update(ctx, func(recall.EngineTx) error { called = true; return nil })
		if called || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("called %v, %v", called, err)
		}
		return nil
	})
	noError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	noError(t, other.Update(ctx, func(tx recall.EngineTx) error {
		_, err := tx.Insert([]recall.Message{message("a")}, base)
		return err
	}))
	wantCount(t, e, recall.Filter{}, 1, 0)
}

// TestPublishBesideLockedAttempts: attempts that wait for a transaction of the program, and
// publications that wait for another, hold up nobody else, however many they are.
func TestPublishBesideLockedAttempts(t *testing.T) {
	e, outside := openSmall(t, 8)
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	noError(t, err)
	ctx := context.WithoutCancel(t.Context())
	leases := publishAndClaim(t, e, message("x"), message("x"), message("x"), message("x"), message("x"), message("x"), message("y")) // more than wait alone
	cancels, err := outside.Begin(ctx)
	noError(t, err)
	_, err = e.CancelMatchingTx(ctx, b, cancels, recall.Filter{Labels: []string{"x"}}, recall.Sticky)
	noError(t, err)
	reserves, err := outside.Begin(ctx)
	noError(t, err)
	_, err = e.PublishTx(ctx, b, reserves, recall.Message{URL: "https://a.test/", DeduplicationID: "d"})
	noError(t, err)
	wait := make(chan error, 100)
	finish := func(l recall.Lease) error {
		return e.Finish(ctx, l, recall.Finish{Outcome: recall.Delivered, Now: base})
	}
	for _, l := range leases[:6] {
		go func() { wait <- finish(l) }()
	}
	awaitLock(t, outside, "%messages%FOR UPDATE%")
	plain := make(chan error, 20)
	for range 20 { // together, so that some share a transaction
		go func() {
			m := message("d")
			m.DeduplicationID = "d"
			_, err := e.Insert(ctx, []recall.Message{m}, base)
			wait <- err
		}()
		go func() {
			_, err := e.Insert(ctx, []recall.Message{message("p")}, base)
			plain <- err
		}()
	}
	atOnce(t, "Insert", func(ctx context.Context) error {
		for range 20 {
			select {
			case err := <-plain:
				noError(t, err)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	lost := leases[6]
	lost.Token.Number++
	atOnce(t, "Finish of a lost lease", func(context.Context) error {
		if err := finish(lost); !errors.Is(err, recall.ErrLeaseLost) {
			return errors.New("it is not lost")
		}
		return nil
	})
	noError(t, errors.Join(cancels.Rollback(ctx), reserves.Rollback(ctx)))
	for range 26 {
		noError(t, <-wait)
	}
}

// TestWalkBesideLockedNewcomer: a bulk cancellation waits for no message that it does not
// mean, though that came with a transaction and somebody has it locked.
func TestWalkBesideLockedNewcomer(t *testing.T) {
	e, pool, _ := openPool(t)
	ctx := t.Context()
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	noError(t, err)
	tx, err := pool.Begin(ctx)
	noError(t, err)
	for _, label := range []string{"x", "y"} {
		_, err = e.PublishTx(ctx, b, tx, recall.Message{URL: "https://a.test/", Labels: []string{label}})
		noError(t, err)
	}
	noError(t, tx.Commit(ctx))
	tx, err = pool.Begin(ctx)
	noError(t, err)
	if c, err := e.CancelMatchingTx(ctx, b, tx, recall.Filter{Labels: []string{"x"}}); err != nil || c.Cancelled != 1 {
		t.Fatalf("got %+v, %v", c, err)
	}
	cancel := func(label string, want int) {
		t.Helper()
		atOnce(t, "CancelMatching", func(ctx context.Context) error {
			res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{label}}, Now: base})
			if err == nil && res.Cancelled != want {
				t.Errorf("%s: %+v", label, res)
			}
			return err
		})
	}
	cancel("y", 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel("x", 1) // which waits, and finds it again
	}()
	awaitLock(t, pool, "%messages%FOR UPDATE%")
	noError(t, tx.Rollback(ctx))
	<-done
}

// TestWalkKeepsItsBounds: a walk that waits finds what was there when it began, though others
// begin meanwhile, and give numbers to what came with transactions.
func TestWalkKeepsItsBounds(t *testing.T) {
	e, pool, _ := openPool(t)
	ctx := t.Context()
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	noError(t, err)
	_, err = e.Insert(ctx, []recall.Message{message("a")}, base.AddDate(-10, 0, 0)) // before all others
	noError(t, err)
	leases := claimSome(t, e)
	publish := func(labels ...string) {
		t.Helper()
		tx, err := pool.Begin(ctx)
		noError(t, err)
		for _, label := range labels {
			_, err = e.PublishTx(ctx, b, tx, recall.Message{URL: "https://a.test/", Labels: []string{label}})
			noError(t, err)
		}
		noError(t, tx.Commit(ctx))
	}
	publish("a", "a")
	begun, done := make(chan struct{}), make(chan recall.CancelResult)
	go atOnce(t, "CancelMatching", func(ctx context.Context) error {
		res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"a"}}, Now: base, Expired: make(chan struct{}),
			Started: func(recall.OperationID) { close(begun) },
		})
		done <- res
		return err
	})
	<-begun
	publish("a")
	_, err = e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"another"}}, Now: base})
	noError(t, err)
	noError(t, e.Finish(ctx, leases[0], recall.Finish{Outcome: recall.Delivered, Now: base}))
	if res := <-done; res.Cancelled != 2 {
		t.Errorf("got %+v", res)
	}
}

// awaitLock waits until a statement of that form waits for a lock.
func awaitLock(t *testing.T, pool *pgxpool.Pool, like string) {
	t.Helper()
	for waits := false; !waits; {
		noError(t, pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE $1)`, like).Scan(&waits))
	}
}

// TestRestoreAfterDoubt: a cancellation of which it is not known whether it has taken
// anything is undone all the same.
func TestRestoreAfterDoubt(t *testing.T) {
	s := startAbsent(t)
	ctx := t.Context()
	e, err := postgres.Open(ctx, s.dsn, &postgres.Options{LeaseTime: time.Hour})
	noError(t, err)
	_, err = e.Insert(ctx, []recall.Message{message("a"), message("a")}, base)
	noError(t, err)
	s.set("nobody")
	done := make(chan error)
	var op recall.OperationID
	go func() {
		_, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
			Filter: recall.Filter{Labels: []string{"a"}}, Now: base, Started: func(id recall.OperationID) { op = id },
		})
		done <- err
	}()
	s.stop("pg_cancel_backend")
	var unknown *recall.UnknownError
	if err := <-done; !errors.As(err, &unknown) {
		t.Fatalf("got %v", err)
	}
	s.set("")
	noError(t, postgres.Renew(ctx, e))
	atOnce(t, "Restore", func(ctx context.Context) error {
		res, err := e.Restore(ctx, op, base)
		if err == nil && res.Restored != 2 {
			t.Errorf("got %+v", res)
		}
		return err
	})
	noError(t, e.Close())
}

// TestEndWrittenLater: a cancellation whose end could not be written can be undone once it
// was.
func TestEndWrittenLater(t *testing.T) {
	e, pool, schema := openPool(t)
	ctx := t.Context()
	_, err := e.Insert(ctx, []recall.Message{message("a"), message("a")}, base)
	noError(t, err)
	_, err = pool.Exec(ctx, `CREATE FUNCTION `+schema+`.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END';
		CREATE TRIGGER refuse BEFORE UPDATE ON `+schema+`.operations FOR EACH ROW WHEN (NEW.running = 0) EXECUTE FUNCTION `+schema+`.refuse()`)
	noError(t, err)
	var op recall.OperationID
	_, err = e.CancelMatching(ctx, recall.CancelMatchingRequest{
		Filter: recall.Filter{Labels: []string{"a"}}, Now: base, Started: func(id recall.OperationID) { op = id },
	})
	if err == nil {
		t.Error("its end was written")
	}
	_, err = pool.Exec(ctx, "DROP TRIGGER refuse ON "+schema+".operations")
	noError(t, err)
	noError(t, postgres.Renew(ctx, e))
	atOnce(t, "Restore", func(ctx context.Context) error {
		res, err := e.Restore(ctx, op, base)
		if err == nil && res.Restored != 2 {
			t.Errorf("got %+v", res)
		}
		return err
	})
}

// TestClaimOfLockedHead: while an open transaction has the head of a queue, claims do not ask
// for it again and again.
func TestClaimOfLockedHead(t *testing.T) {
	e, pool, _ := openPool(t)
	ctx := t.Context()
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	noError(t, err)
	m := message("x")
	m.Queue = "q"
	_, err = e.Insert(ctx, []recall.Message{m}, base)
	noError(t, err)
	tx, err := pool.Begin(ctx)
	noError(t, err)
	_, err = e.CancelMatchingTx(ctx, b, tx, recall.Filter{Labels: []string{"x"}})
	noError(t, err)
	res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 9})
	noError(t, err)
	if pause := res.Next.Sub(base); len(res.Leases) > 0 || pause < 10*time.Millisecond || pause > time.Second {
		t.Errorf("%d leases, and the next look after %v", len(res.Leases), pause)
	}
	noError(t, tx.Rollback(ctx))
	atOnce(t, "Claim", func(ctx context.Context) error { return claimsOne(ctx, e, "x") })
}
