package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// scene is a queue, and one call on it.
type scene struct {
	*testing.T
	e      *postgres.Engine
	leases []recall.Lease
	id     recall.MessageID // of one of the messages
	op     recall.OperationID
}

// act is one call that a fault may come into, and what has to hold then.
type act struct {
	name  string
	setUp func(*scene)
	// do makes the call. It reports how many messages it says to have changed.
	do func(context.Context, *scene) (int, error)
	// changed looks how many it has.
	changed func(*scene) int
	whole   int // that it changes when nothing goes wrong
	chunked bool
}

func (s *scene) count() recall.Count {
	s.Helper()
	c, err := s.e.Count(context.Background(), recall.Filter{}, base)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *scene) insert(msgs ...recall.Message) {
	s.Helper()
	receipts, err := s.e.Insert(context.Background(), msgs, base)
	if err != nil {
		s.Fatal(err)
	}
	s.id = receipts[1].ID
}

func five() []recall.Message {
	msgs := []recall.Message{message("a"), message("a", "b"), message("a"), message("a"), message("a")}
	msgs[1].Queue, msgs[2].FlowKey, msgs[3].DeduplicationID = "q", "f", "once"
	return msgs
}

func (s *scene) claimAll() {
	s.Helper()
	s.insert(five()...)
	res, err := s.e.Claim(context.Background(), recall.ClaimRequest{Now: base, Max: 9})
	if err != nil || len(res.Leases) != 5 {
		s.Fatalf("claimed %d: %v", len(res.Leases), err)
	}
	s.leases = res.Leases
}

func (s *scene) finish(ctx context.Context, f recall.Finish) (int, error) {
	f.Now, f.Due = base, base
	err := s.e.Finish(ctx, s.leases[1], f)
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (s *scene) cancelAll(ctx context.Context) (int, error) {
	res, err := s.e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"a"}}, Now: base})
	if res.Operation != "" {
		s.op = res.Operation
	}
	return res.Cancelled, err
}

func finishing(name string, f recall.Finish, changed func(*scene) int) act {
	return act{name, (*scene).claimAll, func(ctx context.Context, s *scene) (int, error) { return s.finish(ctx, f) }, changed, 1, false}
}

var acts = []act{
	{"publish", func(*scene) {}, func(ctx context.Context, s *scene) (int, error) {
		r, err := s.e.Insert(ctx, five(), base)
		return len(r), err
	}, func(s *scene) int { return s.count().Pending }, 5, false},
	{"claim", func(s *scene) { s.insert(five()...) }, func(ctx context.Context, s *scene) (int, error) {
		res, err := s.e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 9})
		return len(res.Leases), err
	}, func(s *scene) int { return s.count().InFlight }, 5, false},
	finishing("delivered", recall.Finish{Outcome: recall.Delivered}, func(s *scene) int { return 5 - s.count().InFlight }),
	finishing("retry", recall.Finish{Outcome: recall.Retry}, func(s *scene) int { return s.count().Pending }),
	finishing("dead, with a callback", recall.Finish{
		Outcome: recall.Dead, Reason: "status 500", Follow: []recall.Message{message("callback")},
	}, func(s *scene) int {
		dead, err := s.e.ListDead(context.Background(), recall.Filter{}, "", 9)
		if pending := s.count().Pending; pending != len(dead) || err != nil {
			s.Errorf("%d dead letters, %d callbacks, %v", len(dead), pending, err)
		}
		return len(dead)
	}),
	{"cancel one", func(s *scene) { s.insert(five()...) }, func(ctx context.Context, s *scene) (int, error) {
		if err := s.e.Cancel(ctx, recall.CancelRequest{ID: s.id, Now: base}); err != nil {
			return 0, err
		}
		return 1, nil
	}, func(s *scene) int { return 5 - s.count().Pending }, 1, false},
	{
		"cancel matching", func(s *scene) { s.insert(five()...) }, func(ctx context.Context, s *scene) (int, error) { return s.cancelAll(ctx) },
		func(s *scene) int { return 5 - s.count().Pending }, 5, true,
	},
	{"restore", func(s *scene) {
		s.insert(five()...)
		if _, err := s.cancelAll(context.Background()); err != nil {
			s.Fatal(err)
		}
	}, func(ctx context.Context, s *scene) (int, error) {
		res, err := s.e.Restore(ctx, s.op, base)
		return res.Restored, err
	}, func(s *scene) int { return s.count().Pending }, 5, false},
}

// stage is a database behind a proxy, and an engine on it.
type stage struct {
	e      *postgres.Engine
	proxy  *pgtest.Proxy
	pool   *pgxpool.Pool
	schema string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	e, err := postgres.Open(t.Context(), through, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Hour, ChunkSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return &stage{e, proxy, newPool(t, dsn), schema}
}

// clear takes away what the last act has left.
func (st *stage) clear(t *testing.T) {
	t.Helper()
	text := "TRUNCATE @messages, @payloads, @labels, @dead, @operations, @members, @asks, @dedup, @events, @queues, @flows, @objects"
	if _, err := st.pool.Exec(t.Context(), strings.ReplaceAll(text, "@", st.schema+".")); err != nil {
		t.Fatal(err)
	}
}

// play sets a scene, makes the call with a fault at its n-th request, and checks what
// holds. It reports whether there was such a request.
func (a *act) play(t *testing.T, st *stage, n int, fault func(stop func()) pgtest.Cut) bool {
	t.Helper()
	st.clear(t)
	s, proxy := &scene{T: t, e: st.e}, st.proxy
	a.setUp(s)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	proxy.At(n, func() pgtest.Cut { return fault(stop) })
	said, err := a.do(ctx, s)
	happened := !proxy.Pending()
	proxy.At(0, nil)
	has := a.changed(s)
	switch {
	case said != has:
		t.Errorf("the fault at request %d: it says to have changed %d, and has %d: %v", n, said, has, err)
	case err == nil && has != a.whole:
		t.Errorf("the fault at request %d: changed %d, want %d", n, has, a.whole)
	case err != nil && has > 0 && !a.chunked:
		t.Errorf("the fault at request %d: changed %d with %v", n, has, err)
	case errors.Is(err, recall.ErrFailed):
		t.Errorf("the fault at request %d: the server answers again, and yet %v", n, err)
	}
	if err != nil { // then it can be made again, for the rest
		a.again(s, n)
	}
	if a.chunked {
		a.undo(s, n)
	}
	return happened
}

// again makes the call until all is changed: the server may still have locked what the
// connection had that was lost, and claims pass over that.
func (a *act) again(s *scene, n int) {
	s.Helper()
	ctx, stop := context.WithTimeout(s.Context(), patience)
	defer stop()
	for a.changed(s) != a.whole && !s.Failed() {
		if _, err := a.do(ctx, s); err != nil {
			s.Errorf("after the fault at request %d: again %v, changed %d, want %d", n, err, a.changed(s), a.whole)
		}
	}
}

// undo: a cancellation that has failed on the way can be undone like any other.
func (a *act) undo(s *scene, n int) {
	s.Helper()
	ops, err := s.e.Operations(s.Context(), "", 9)
	if err != nil {
		s.Fatal(err)
	}
	ctx, stop := context.WithTimeout(s.Context(), 5*time.Second)
	defer stop()
	total := 0
	for _, o := range ops {
		res, err := s.e.Restore(ctx, o.ID, base)
		if err != nil || res.Restored != o.Count {
			s.Errorf("after the fault at request %d: restored %d of %d: %v", n, res.Restored, o.Count, err)
		}
		total += res.Restored
	}
	if total != a.whole {
		s.Errorf("after the fault at request %d: restored %d, want %d", n, total, a.whole)
	}
}

// TestCutEverywhere loses the connection at every request of a call in turn – at small size,
// at every third – before the server gets it and after it has answered.
func TestCutEverywhere(t *testing.T) {
	for name, where := range map[string]pgtest.Cut{"before": pgtest.CutBefore, "after": pgtest.CutAfter} {
		everywhere(t, name, func(func()) pgtest.Cut { return where })
	}
}

// TestContextEndsEverywhere has the context of a call end at every request of it in turn:
// what the call says is what has happened.
func TestContextEndsEverywhere(t *testing.T) {
	everywhere(t, "", func(stop func()) pgtest.Cut {
		stop()
		return pgtest.CutNever
	})
}

func everywhere(t *testing.T, name string, fault func(stop func()) pgtest.Cut) {
	t.Helper()
	for _, a := range acts {
		t.Run(fmt.Sprint(name, " ", a.name), func(t *testing.T) {
			st, n, step := newStage(t), 1+rand.IntN(3), 3
			if os.Getenv("RECALL_SOAK") != "" {
				n, step = 1, 1
			}
			for a.play(t, st, n, fault) && !t.Failed() {
				if n += step; n > 200 {
					t.Fatal("the call never ends")
				}
			}
			if n < 4 {
				t.Fatalf("the call has %d requests only", n-1)
			}
		})
	}
}

// TestStandsStill has a process stand still in the middle of a publication, with what it
// has locked. The others wait for it no longer than its leases hold; when it goes on, it
// says what has happened.
func TestStandsStill(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	proxy, through := pgtest.NewProxy(t, dsn)
	open := func(dsn string) *postgres.Engine {
		e, err := postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	one, two := open(through), open(dsn)
	if _, err := one.Insert(t.Context(), []recall.Message{message("a")}, base); err != nil { // so that all is prepared
		t.Fatal(err)
	}
	stands, goOn, said := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	pool := newPool(t, dsn)
	var halt func(n int)
	halt = func(n int) { // at the first request within a transaction that holds the row
		proxy.At(n, func() pgtest.Cut {
			var open bool
			err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xid IS NOT NULL AND query LIKE '%'||$1||'%')`, schema).Scan(&open)
			if err != nil || !open {
				halt(1)
				return pgtest.CutNever
			}
			close(stands)
			<-goOn
			return pgtest.CutNever
		})
	}
	halt(1)
	go func() {
		_, err := one.Insert(t.Context(), []recall.Message{message("a")}, base)
		said <- err
	}()
	<-stands
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	others := make(chan error, 1)
	go func() {
		_, err := two.Insert(ctx, []recall.Message{message("b")}, base)
		others <- err
	}()
	select {
	case err := <-others:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("nobody can publish while one process stands still")
	}
	close(goOn)
	want := 3
	if err := <-said; err != nil {
		t.Log(err)
		want--
	}
	if c, err := two.Count(t.Context(), recall.Filter{}, base); err != nil || c.Pending != want {
		t.Errorf("%d messages, %v, want %d", c.Pending, err, want)
	}
}
