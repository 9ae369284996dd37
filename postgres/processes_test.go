//go:build unix

package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// soak is how much longer tests of processes take at full size.
func soak(n int) int {
	if os.Getenv("RECALL_SOAK") != "" {
		return n * 20
	}
	return n
}

// TestProcesses has three processes work on one queue. Again and again one is killed with
// kill -9 and another started, or one stands still until its leases are over and taken
// back. Then what they were told is compared with what is there; see [enginetest.Case].
func TestProcesses(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	c := newCrew(t, dsn, schema, 3)
	pool := newPool(t, dsn)
	for i := range soak(6) {
		c.await(300)
		if i%3 == 2 {
			c.pause(leasesAreOver(t, pool, schema))
		} else {
			c.kill()
		}
	}
	c.await(300)
	c.retire()
	wantNoFaults(t, c, dsn, schema)
}

// leasesAreOver tells whether the leases of one that is there now have been taken back.
func leasesAreOver(t *testing.T, pool *pgxpool.Pool, schema string) func() bool {
	t.Helper()
	ask := `SELECT COALESCE(array_agg(epoch), '{}') FROM ` + schema + `.owners`
	var before []int64
	if err := pool.QueryRow(t.Context(), ask).Scan(&before); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		var left int
		err := pool.QueryRow(t.Context(), `SELECT count(*)::int FROM `+schema+`.owners WHERE epoch = ANY($1)`, before).Scan(&left)
		if err != nil {
			t.Fatal(err)
		}
		return left < len(before)
	}
}

// TestRestarts has three processes work while their server ends in a hurry and starts again.
func TestRestarts(t *testing.T) {
	s := pgtest.Private(t)
	dsn, schema := pgtest.Pooled(s.DSN()), "recall_restarts"
	c := newCrew(t, dsn, schema, 3)
	for range soak(2) {
		c.await(200)
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		c.await(100)
		c.kill()
	}
	c.await(200)
	c.retire()
	wantNoFaults(t, c, dsn, schema)
}

// TestFailover has three processes work, one of which is killed now and then, while the
// primary dies with all its processes and its synchronous standby takes its place. What was
// committed when the standby could not be reached any more was not answered.
func TestFailover(t *testing.T) {
	pair := pgtest.WithStandby(t)
	c := failover(t, pair, func(*crew) {
		if err := pair.AwaitWaiting(); err != nil {
			t.Fatal(err)
		}
	})
	wantNoFaults(t, c, pair.Standby(), failoverSchema)
}

// TestFailoverToLate is the same with a standby that nobody waits for: what it did not get
// is lost, and the test of failovers notices.
func TestFailoverToLate(t *testing.T) {
	pair := pgtest.WithStandby(t, "synchronous_standby_names=")
	c := failover(t, pair, func(c *crew) { c.await(300) })
	faults := strings.Join(investigate(t, c, pair.Standby(), failoverSchema).Faults(), "\n")
	if !strings.Contains(faults, "is lost") {
		t.Errorf("nobody notices that something was lost; faults: %s", faults)
	}
}

const failoverSchema = "recall_failover"

// failover lets processes work before and after a failover. Before it, the standby does not
// get any more what is committed until something has come about.
func failover(t *testing.T, pair *pgtest.Pair, until func(*crew)) *crew {
	t.Helper()
	c := newCrew(t, pair.DSN(), failoverSchema, 3)
	work := func() {
		t.Helper()
		for range soak(2) {
			c.await(200)
			c.kill()
		}
		c.await(200)
	}
	work()
	if err := pair.Detach(); err != nil {
		t.Fatal(err)
	}
	until(c)
	switch err := pair.KillPrimary(); {
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip("this system cannot kill a server with its processes")
	case err != nil:
		t.Fatal(err)
	}
	if err := pair.Promote(); err != nil {
		t.Fatal(err)
	}
	work()
	c.retire()
	return c
}

func wantNoFaults(t *testing.T, c *crew, dsn, schema string) {
	t.Helper()
	all := investigate(t, c, dsn, schema)
	faults := all.Faults()
	for i, f := range faults {
		if i == 20 {
			t.Fatalf("and %d more", len(faults)-i)
		}
		t.Error(f)
	}
}

// investigate reads what there is when all processes have ended.
func investigate(t *testing.T, c *crew, dsn, schema string) *enginetest.Case {
	t.Helper()
	pool := newPool(t, dsn)
	all := &enginetest.Case{Deeds: c.deeds, Found: findAll(t, pool, schema), Counts: map[recall.OperationID]int{}}
	rows, err := pool.Query(t.Context(), `SELECT id, count FROM `+schema+`.operations`)
	if err != nil {
		t.Fatal(err)
	}
	var id [16]byte
	var n int
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		all.Counts[recall.OperationID("op_"+ulid.ULID(id).String())] = n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(summary(all))
	checkTables(t, pool, schema)
	checkSums(t, all, dsn, schema)
	return all
}

// findAll reads the messages, wherever they are.
func findAll(t *testing.T, pool *pgxpool.Pool, schema string) (all []enginetest.Found) {
	t.Helper()
	rows, err := pool.Query(t.Context(), strings.ReplaceAll(`SELECT m.id, m.state, m.attempts, m.epoch, m.number, m.op, p.body
			FROM @messages m JOIN @payloads p ON p.shard = m.shard AND p.id = m.id
		UNION ALL SELECT id, 3, attempts, 0, 0, NULL, body FROM @dead`, "@", schema+"."))
	if err != nil {
		t.Fatal(err)
	}
	places := []enginetest.Place{enginetest.FoundPending, enginetest.FoundInFlight, enginetest.FoundCancelled, enginetest.FoundDead}
	var id [16]byte
	var state int
	var f enginetest.Found
	var op *[16]byte
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &state, &f.Attempts, &f.Lease.Epoch, &f.Lease.Number, &op, &body}, func() error {
		f.ID, f.Name, f.Place, f.Operation = recall.MessageID("msg_"+ulid.ULID(id).String()), string(body), places[state], ""
		if op != nil {
			f.Operation = recall.OperationID("op_" + ulid.ULID(*op).String())
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func summary(c *enginetest.Case) string {
	found, verbs, answered := map[enginetest.Place]int{}, map[string]int{}, map[int64]bool{}
	for _, f := range c.Found {
		found[f.Place]++
	}
	for _, d := range c.Deeds {
		if d.Ended > 0 && d.Answer != enginetest.AnswerNothing {
			verbs[fmt.Sprintf("%s: %s", d.Verb, d.Answer)]++
		}
		answered[d.Began] = answered[d.Began] || d.Answer != enginetest.AnswerNothing || d.Verb == enginetest.DeedEnd
	}
	unknown := 0
	for _, is := range answered {
		if !is {
			unknown++
		}
	}
	return fmt.Sprintf("%v; not answered: %d; found %v", verbs, unknown, found)
}

// checkTables finds rows that have nothing to do with any message, and messages that lack
// some.
func checkTables(t *testing.T, pool *pgxpool.Pool, schema string) {
	t.Helper()
	for name, question := range map[string]string{
		"bodies without a message":     `SELECT count(*)::int FROM @payloads p WHERE NOT EXISTS (SELECT 1 FROM @messages m WHERE m.id = p.id)`,
		"messages without a body":      `SELECT count(*)::int FROM @messages m WHERE NOT EXISTS (SELECT 1 FROM @payloads p WHERE m.id = p.id)`,
		"labels of nothing":            `SELECT count(*)::int FROM (SELECT label, id FROM @labels EXCEPT SELECT unnest(labels), id FROM @messages WHERE state < 2) x`,
		"messages without their label": `SELECT count(*)::int FROM (SELECT unnest(labels), id FROM @messages WHERE state < 2 EXCEPT SELECT label, id FROM @labels) x`,
		"leases of what is not out":    `SELECT count(*)::int FROM @messages WHERE (state = 1) <> (epoch <> 0)`,
		"operations of nothing":        `SELECT count(*)::int FROM @messages WHERE (state = 2) <> (op IS NOT NULL)`,
	} {
		var n int
		if err := pool.QueryRow(t.Context(), strings.ReplaceAll(question, "@", schema+".")).Scan(&n); err != nil || n > 0 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// checkSums compares what an engine says that is opened now.
func checkSums(t *testing.T, c *enginetest.Case, dsn, schema string) {
	t.Helper()
	ctx := t.Context()
	e, err := postgres.Open(ctx, dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: workerLease})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	live, dead := 0, 0
	for _, f := range c.Found {
		switch f.Place {
		case enginetest.FoundDead:
			dead++
		case enginetest.FoundCancelled:
			if op, err := e.WhoCancelled(ctx, f.ID); err != nil || op.ID != f.Operation {
				t.Errorf("WhoCancelled %s: got %+v, %v, want %s", f.ID, op, err, f.Operation)
			}
		default:
			live++
		}
	}
	n, err := e.Count(ctx, recall.Filter{}, time.Now())
	if s := e.Stats(); err != nil || n.Pending+n.InFlight != live || s.Pending+s.InFlight != live || s.DeadLetters != dead {
		t.Errorf("counted %+v, %v, and %d and %d with %d dead letters; there are %d with %d", n, err, s.Pending, s.InFlight, s.DeadLetters, live, dead)
	}
}
