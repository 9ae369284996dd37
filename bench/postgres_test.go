package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/bench/peer"
	"github.com/recallmq/recall/internal/parttest"
)

// postgresBench is a run with a PostgreSQL.
func postgresBench(t *testing.T) (*bench, *bytes.Buffer) {
	t.Helper()
	if err := peer.Available(peer.PostgresByHand); err != nil {
		parttest.Missing(t, err.Error())
	}
	sz := tiny
	sz.Services, sz.OnServer = true, 8000 // River's queues have a tenth each
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // a server may run as another user
		t.Fatal(err)
	}
	var out bytes.Buffer
	b, err := newBench(dir, sz, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b, &out
}

// postgresFigures are those that each has, without a standby and with one.
var postgresFigures = []string{
	"publish 1 at a time, 16 connections", "publish 100 at a time, 4 connections", "fill with 8.00k, 2000 at a time, 4 connections", "room of 8.00k",
	"cancel a tenth of 8.00k", "cancel a tenth of 8.00k, messages a second", "cancel a tenth of 8.00k, longest transaction", "cancel a tenth of 8.00k, longest publish",
	"claim 1 and finish, 16 connections", "claim 100 and finish, 4 connections", "claim 100 and finish, 8 connections",
	"claim 100 and finish, 4 connections, a transaction open for 0s", "claim 100 and finish, 4 connections, a transaction open for 20ms",
	"claim 100 and finish, 4 connections, a transaction open for 40ms", "claim 100 and finish, 4 connections, a transaction open for 60ms",
}

// TestPostgres: everybody has each figure, and latencies where a call is one.
func TestPostgres(t *testing.T) {
	b, out := postgresBench(t)
	if err := b.runAll([]workload{{postgresWord, "", benchPostgres}}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows := map[string]*row{}
	for _, r := range b.report.current().Rows {
		checkRow(t, r)
		rows[r.What] = r
	}
	for _, servers := range []string{"one server", "with a standby"} {
		for _, p := range peer.OnPostgres {
			for _, figure := range postgresFigures {
				what := servers + ": " + figure + ", " + p.Name
				r := rows[what]
				if r == nil || len(r.Values) != 1 && r.Cannot != nothingLeft.Reason {
					t.Errorf("there is no figure for %q: %+v", what, r)
					continue
				}
				delete(rows, what)
				latencies := strings.HasPrefix(figure, "publish") ||
					strings.HasPrefix(figure, "claim") && !strings.Contains(figure, "open for") && p != peer.RiverPostgres
				if r.Cannot == "" && (r.Latency != nil) != latencies {
					t.Errorf("%q has latencies: %v, want %v", what, r.Latency, latencies)
				}
				if !strings.Contains(figure, "longest") && r.Cannot == "" && r.Values[0] <= 0 {
					t.Errorf("%q is %v", what, r.Values)
				}
			}
		}
	}
	for what := range rows {
		t.Errorf("nobody asked for %q", what)
	}
	if left := strings.Count(out.String(), nothingLeft.Reason); left > len(postgresFigures) {
		t.Errorf("%d figures were not measured:\n%s", left, out)
	}
}

// TestPostgresAsked: nothing is started unless that was asked for.
func TestPostgresAsked(t *testing.T) {
	var out bytes.Buffer
	b, err := newBench(t.TempDir(), tiny, &out)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if err := b.runAll([]workload{{postgresWord, "", benchPostgres}}); err != nil {
		t.Fatal(err)
	}
	if len(b.report.current().Rows) > 0 || !strings.Contains(out.String(), "SKIPPED") {
		t.Errorf("the report does not say that it was left out:\n%s", &out)
	}
}

// lossyOnServer cancels one less than it says, is empty at once, or is not durable any more
// when somebody looks.
type lossyOnServer struct {
	peer.PostgresQueue
	durable error
}

func (q *lossyOnServer) Cancel(ctx context.Context, label string) (int, error) {
	n, err := q.PostgresQueue.Cancel(ctx, label)
	return n - 1, err
}

func (q *lossyOnServer) Durable(context.Context) error { return q.durable }

func (q *lossyOnServer) Claim(int, int, peer.Claimed) (peer.Claims, error) { return emptyClaims{}, nil }

type emptyClaims struct{}

func (emptyClaims) Dry(context.Context) (bool, error) { return true, nil }
func (emptyClaims) Stop() error                       { return nil }

// TestPostgresChecked: a wrong answer ends the run, as do servers that are not durable at
// its end, and claims of nothing are no figure.
func TestPostgresChecked(t *testing.T) {
	b, _ := postgresBench(t)
	b.OnServer = 1000
	w := newOnServer(b)
	err := b.withPeerDir(func(dir string) error {
		q, err := peer.PostgresByHand.OpenOn(bg, dir, peer.PostgresOptions{Connections: 8})
		if err != nil {
			return err
		}
		lossy := &lossyOnServer{q, &peer.NotDurableError{}}
		err = closing(lossy, func() error {
			if err := w.fill(0, lossy); err != nil {
				return err
			}
			if err := w.cancel(0, lossy); err == nil || !strings.Contains(err.Error(), "took") {
				t.Errorf("a cancellation with a wrong number: got %v", err)
			}
			return errors.Join(w.claim(0, lossy, 1, 1), w.foreign(0, lossy))
		})
		if quiet := (*peer.NotDurableError)(nil); !errors.As(err, &quiet) {
			t.Errorf("servers that were not durable at the end: got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if f := w.figure(0, "", "claim 1 and finish, 1 connections"); f.cannot != nothingLeft || len(f.values) > 0 {
		t.Errorf("claims of nothing are %v a second", f.values)
	}
	if f := w.figure(0, "", "claim 100 and finish, 4 connections, a transaction open for 0s"); f.cannot != nothingLeft || len(f.values) > 0 {
		t.Errorf("claims of nothing are %v a second", f.values)
	}
}

// TestTransactionLooker sees how long somebody else's transaction takes.
func TestTransactionLooker(t *testing.T) {
	b, _ := postgresBench(t)
	const least = 60 * time.Millisecond
	err := b.withPeerDir(func(dir string) error {
		q, err := peer.PostgresByHand.OpenOn(bg, dir, peer.PostgresOptions{Connections: 8})
		if err != nil {
			return err
		}
		defer q.Close()
		l, err := lookAtTransactions(q.Address())
		if err != nil {
			return err
		}
		var slept string
		err = newOnServer(b).ask(q, "SELECT pg_sleep(0.1)::text", &slept)
		longest, failed := l.stop()
		if longest < least {
			t.Errorf("a transaction of 100 ms took %v", longest)
		}
		return errors.Join(err, failed)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOnServerSize: it is that of the big file, or that of the other queues where only they
// have one.
func TestOnServerSize(t *testing.T) {
	for _, c := range []struct {
		f    flags
		want int
	}{
		{flags{}, fullSizes.N},
		{flags{quick: true}, quickSizes.N},
		{flags{n: 5000}, 5000},
		{flags{peers: 6000}, 6000},
		{flags{n: 5000, peers: 6000}, 5000},
	} {
		if got := c.f.sizes().OnServer; got != c.want {
			t.Errorf("%+v: got %d, want %d", c.f, got, c.want)
		}
	}
}
