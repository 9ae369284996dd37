package postgres_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// absentStandby is a server that waits, with each commit, for a standby that is not
// there, from the call of wait until that of go on.
type absentStandby struct {
	t    *testing.T
	pool *pgxpool.Pool // whose commits do not wait
	dsn  string
}

func startAbsent(t *testing.T) *absentStandby {
	t.Helper()
	if os.Getenv("RECALL_TEST_PG_DSN") != "" {
		t.Skip("it takes a server whose settings can be changed")
	}
	pgtest.Schema(t) // skips the test where there is no PostgreSQL
	server, err := pgtest.Start("wal_level=replica", "max_wal_senders=2")
	noError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	s := &absentStandby{t: t, dsn: server.DSN()}
	s.pool = newPool(t, s.dsn+"&options=-c%20synchronous_commit%3Dlocal")
	return s
}

// set changes the names of the standbys, and returns when commits go by it.
func (s *absentStandby) set(names string) {
	s.t.Helper()
	ctx := s.t.Context()
	_, err := s.pool.Exec(ctx, `ALTER SYSTEM SET synchronous_standby_names = '`+names+`'`)
	noError(s.t, err)
	_, err = s.pool.Exec(ctx, `SELECT pg_reload_conf()`)
	noError(s.t, err)
	eventually(s.t, "the new setting", func() bool {
		var now string
		noError(s.t, s.pool.QueryRow(ctx, `SHOW synchronous_standby_names`).Scan(&now))
		return now == names
	})
}

// stop ends the wait of a commit that waits, by a function of PostgreSQL.
func (s *absentStandby) stop(by string) {
	s.t.Helper()
	eventually(s.t, "a commit that waits", func() bool { return s.stopSome(by) > 0 })
}

func (s *absentStandby) stopSome(by string) (n int) {
	s.t.Helper()
	noError(s.t, s.pool.QueryRow(s.t.Context(), `SELECT count(*) FILTER (WHERE `+by+`(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n))
	return n
}

// TestAbandonedCommit ends the waiting of commits for a standby. PostgreSQL answers as if
// they were done, with a warning; what was to be acknowledged is not.
func TestAbandonedCommit(t *testing.T) {
	s := startAbsent(t)
	ctx := t.Context()
	e, err := postgres.Open(ctx, s.dsn, &postgres.Options{LeaseTime: time.Hour})
	noError(t, err)
	s.set("nobody")
	for n, by := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
		done := make(chan error)
		go func() {
			_, err := e.Insert(ctx, []recall.Message{message("a")}, base)
			done <- err
		}()
		s.stop(by)
		var err error
		eventually(t, "an answer", func() bool { // whoever asks what has become of a commit waits, too
			s.stopSome("pg_cancel_backend")
			select {
			case err = <-done:
				return true
			default:
				return false
			}
		})
		var unknown *recall.UnknownError
		if !errors.Is(err, recall.ErrFailed) || !errors.As(err, &unknown) {
			t.Errorf("Insert, after %s: %v, want an *UnknownError", by, err)
		}
		if c, err := e.Count(ctx, recall.Filter{}, base); err != nil || c.Pending != n+1 {
			t.Errorf("Count: %+v, %v, want %d: it was committed", c, err, n+1)
		}
	}

	// A lease was promised to nobody: who has it may go on.
	claimed := make(chan recall.ClaimResult)
	go func() {
		res, err := e.Claim(ctx, recall.ClaimRequest{Now: base, Max: 1})
		if err != nil {
			t.Errorf("Claim: %v", err)
		}
		claimed <- res
	}()
	s.stop("pg_cancel_backend")
	if res := <-claimed; len(res.Leases) != 1 {
		t.Errorf("Claim: %+v, want a lease", res)
	}
	s.set("")
	if _, err := e.Insert(ctx, []recall.Message{message("a")}, base); err != nil {
		t.Errorf("Insert, without a standby: %v", err)
	}
	noError(t, e.Close())
}

// TestAbandonedInBackground has a broker go on after a commit whose outcome is unknown.
func TestAbandonedInBackground(t *testing.T) {
	s := startAbsent(t)
	p := newProcess(t, s.dsn, &postgres.Options{LeaseTime: time.Hour, PollInterval: 5 * time.Millisecond}, nil)
	n := handled(t, p)
	ctx := t.Context()
	s.set("nobody")
	done := make(chan error)
	go func() {
		_, err := p.Publish(ctx, recall.Message{URL: "local:job"})
		done <- err
	}()
	var err error
	waiting := true
	eventually(t, "the message", func() bool { // the publication, the claim, the end, and what else is there
		s.stopSome("pg_cancel_backend")
		select {
		case err = <-done:
			waiting = false
		default:
		}
		return !waiting && n.Load() == 1
	})
	if !errors.Is(err, recall.ErrFailed) {
		t.Errorf("Publish: %v, want ErrFailed", err)
	}
	s.set("")
	_, err = p.Publish(ctx, recall.Message{URL: "local:job"})
	noError(t, err)
	eventually(t, "another message", func() bool { return n.Load() == 2 })
}

// TestPoolWithoutConfigure is warned of where there is a standby.
func TestPoolWithoutConfigure(t *testing.T) {
	s := startAbsent(t)
	s.set("nobody")
	dsn := s.dsn + "&options=-c%20synchronous_commit%3Dlocal"
	configured, err := pgxpool.ParseConfig(dsn)
	noError(t, err)
	postgres.Configure(configured)
	watched, err := pgxpool.NewWithConfig(t.Context(), configured)
	noError(t, err)
	defer watched.Close()
	for pool, want := range map[*pgxpool.Pool]int{s.pool: 1, watched: 0} {
		var said said
		e, err := postgres.Open(context.Background(), pool, &postgres.Options{Logger: said.logger()})
		noError(t, err)
		noError(t, e.Close())
		if n := said.lines("level=WARN", "postgres.Configure"); n != want {
			t.Errorf("%d warnings, want %d:\n%s", n, want, said.text.String())
		}
		if said.lines("level=WARN", "synchronous_commit", "local") != 1 {
			t.Errorf("no warning of a commit that does not wait:\n%s", said.text.String())
		}
	}
}
