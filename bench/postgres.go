package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall/bench/peer"
)

// postgresWord is the name of the workload.
const postgresWord = "postgres"

const (
	serverConns = 32   // connections of each of those compared, open before anything is timed
	serverBody  = 256  // bytes
	serverFill  = 2000 // messages of a batch when the queue is filled
	serverSpans = 2    // windows that one stretch lasts

	// Claims beside an open transaction are looked at so often, at first as soon as
	// it is open.
	foreignLooks                = 4
	foreignSize, foreignWorkers = 100, 4
)

// benchPostgres does on PostgreSQL what a queue does, with one server and with two of
// which the second is a synchronous standby: Recall's engine, a table by hand, and River.
// Each of them starts on an empty database and has it filled, and what follows meets what
// is left by what went before.
func benchPostgres(b *bench) error {
	if !b.Services {
		b.report.note("SKIPPED: it starts PostgreSQL, which is only done with -services")
		return nil
	}
	if err := peer.Available(peer.PostgresByHand); err != nil {
		b.report.note("SKIPPED: there is no PostgreSQL; scripts/setup.sh postgres brings it: %v", err)
		return nil
	}
	w := newOnServer(b)
	for _, standby := range []bool{false, true} {
		for range b.longReps() {
			for i, p := range w.peers {
				w.standby = standby
				if err := w.one(i, p); err != nil {
					return fmt.Errorf("%s: %s: %w", w.servers(), p.Name, err)
				}
			}
		}
	}
	w.print()
	return nil
}

// onServer collects the figures of every step.
type onServer struct {
	b       *bench
	peers   []*peer.Peer
	standby bool
	version string // of the server

	order []string // what there are figures of, as it was met
	all   map[string]figures
	units map[string]string
}

func newOnServer(b *bench) *onServer {
	return &onServer{b: b, peers: peer.OnPostgres, all: map[string]figures{}, units: map[string]string{}}
}

func (w *onServer) servers() string {
	if w.standby {
		return "with a standby"
	}
	return "one server"
}

// figure is the one of a peer about something.
func (w *onServer) figure(i int, unit, format string, args ...any) *figure {
	what := w.servers() + ": " + fmt.Sprintf(format, args...)
	if w.all[what] == nil {
		w.order = append(w.order, what)
		w.units[what] = unit
		for _, p := range w.peers {
			w.all[what] = append(w.all[what], &figure{of: p, lat: newLatencies()})
		}
	}
	return w.all[what][i]
}

func (w *onServer) print() {
	for _, what := range w.order {
		w.all[what].print(w.b.report, what, w.units[what])
	}
	note := w.b.report.note
	for _, what := range w.order {
		w.all[what].noteUnable(note, what)
	}
	note("PostgreSQL %s, a server for each on this machine, and with a standby a second one: shared_buffers 1 GB, max_wal_size 4 GB, "+
		"unix sockets, %d connections, bodies of %d bytes. Read back before the first figure and after the last, on primary and standby: fsync, "+
		"synchronous_commit and full_page_writes are on, the standby is the one that synchronous_standby_names waits for, and it is sync in "+
		"pg_stat_replication", w.version, serverConns, serverBody)
	note("publish: latencies are those of a call. Recall has calls that are made at once share a transaction, the others do not; " +
		"batches by hand are COPY, River's are InsertManyFast")
	note("room: what the database has grown by, with its indexes, without the log")
	note("claim and finish: latencies are those of both together, as one worker meets them. By hand each is one statement; Recall finishes each " +
		"message by a call of its own, and calls that are made at once share a transaction. River: " + peer.RiverClaims)
	note("cancel: Recall by %s; by hand %s; River by %s. The longest transaction is that of anybody, seen by looking each %v or so",
		peer.RecallPostgres.CancelBy, peer.PostgresByHand.CancelBy, peer.RiverPostgres.CancelBy, transactionLooks)
	note("beside an open transaction: one of somebody else that has read and does nothing, since when no dead row can be removed; " +
		"each rate is that of a quarter of the time between two of them")
}

// noteUnable says who has no figure, and why: all of them for one reason.
func (all figures) noteUnable(note func(string, ...any), what string) {
	var names []string
	var reason string
	for _, f := range all {
		if f.cannot != nil {
			names, reason = append(names, f.of.Name), f.cannot.Reason
		}
	}
	if names != nil {
		note("%s: cannot, with %s: %s", what, strings.Join(names, " and "), reason)
	}
}

// one measures a peer on new servers.
func (w *onServer) one(i int, p *peer.Peer) error {
	return w.b.withPeerDir(func(dir string) error {
		q, err := p.OpenOn(bg, dir, peer.PostgresOptions{Connections: serverConns, Standby: w.standby})
		if err != nil {
			return err
		}
		return closing(q, func() error { return w.steps(i, q) })
	})
}

// closing runs fn, looks whether what was measured was durable to the end, and closes.
func closing(q peer.PostgresQueue, fn func() error) error {
	err := fn()
	if err == nil {
		err = q.Durable(bg)
	}
	if failed := q.Close(); err == nil {
		err = failed
	}
	return err
}

func (w *onServer) steps(i int, q peer.PostgresQueue) error {
	if err := w.ask(q, "SHOW server_version", &w.version); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"publish 1 by 16", func() error { return w.publish(i, q, 1, 16) }},
		{"publish 100 by 4", func() error { return w.publish(i, q, 100, 4) }},
		{"fill", func() error { return w.fill(i, q) }},
		{"cancel", func() error { return w.cancel(i, q) }},
		{"claim 1 by 16", func() error { return w.claim(i, q, 1, 16) }},
		{"claim 100 by 4", func() error { return w.claim(i, q, 100, 4) }},
		{"claim 100 by 8", func() error { return w.claim(i, q, 100, 8) }},
		{"claim beside an open transaction", func() error { return w.foreign(i, q) }},
	} {
		w.b.progress("%s, %s: %s", w.servers(), w.peers[i].Name, step.what)
		w.b.settle()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// ask reads one value on a connection of its own.
func (w *onServer) ask(q peer.PostgresQueue, question string, into any) error {
	conn, err := pgx.Connect(bg, q.Address())
	if err != nil {
		return err
	}
	defer conn.Close(bg)
	return conn.QueryRow(bg, question).Scan(into)
}

// serverMessage is message n of the peers, with a shorter body and for a receiver over HTTP.
func serverMessage(n int) peer.Message {
	m := peerMessage(n, time.Time{})
	m.Body = m.Body[:serverBody]
	m.URL = fmt.Sprintf("https://hook-%02d.example", n%len(peer.URLs))
	return m
}

// cancelled is the label that is taken back.
var cancelled = peer.Labels[0]

// spared is a message that the cancellation does not mean.
func spared(n int) peer.Message {
	m := serverMessage(n)
	if m.Label == cancelled {
		m.Label = peer.Aside
	}
	return m
}

func several(from, to int, message func(int) peer.Message) []peer.Message {
	msgs := make([]peer.Message, 0, to-from)
	for n := from; n < to; n++ {
		msgs = append(msgs, message(n))
	}
	return msgs
}

func (w *onServer) publish(i int, q peer.PostgresQueue, size, publishers int) error {
	f := w.figure(i, "msg/s", "publish %d at a time, %d connections", size, publishers)
	rate, err := parallel(publishers, serverSpans*w.b.Window, f.lat, func(n int) error {
		if size == 1 {
			return q.Publish(bg, spared(n))
		}
		return q.PublishBatch(bg, several(n*size, (n+1)*size, spared))
	})
	if err != nil {
		return f.unlessCannot(err)
	}
	f.add(rate * float64(size))
	return nil
}

// room is what a database takes.
const room = "SELECT pg_database_size(current_database())"

// fill brings the messages that the following steps meet, and has them counted for the
// planner.
func (w *onServer) fill(i int, q peer.PostgresQueue) error {
	var before, after int64
	if err := w.ask(q, room, &before); err != nil {
		return err
	}
	took, err := timed(func() error {
		return spreadOver(peerBatches, w.b.OnServer, serverFill, func(from, to int) error {
			return q.PublishBatch(bg, several(from, to, serverMessage))
		})
	})
	if err != nil {
		return err
	}
	if err := w.ask(q, room, &after); err != nil {
		return err
	}
	of := short(float64(w.b.OnServer))
	w.figure(i, "msg/s", "fill with %s, %d at a time, %d connections", of, serverFill, peerBatches).add(float64(w.b.OnServer) / took.Seconds())
	w.figure(i, "MB", "room of %s", of).add(float64(after-before) / 1e6)
	conn, err := pgx.Connect(bg, q.Address())
	if err != nil {
		return err
	}
	defer conn.Close(bg)
	_, err = conn.Exec(bg, "ANALYZE")
	return err
}

// cancel takes a label back beside a publisher of messages that are not meant.
func (w *onServer) cancel(i int, q peer.PostgresQueue) error {
	t := newTraffic()
	t.publisher(func(n int) error { return q.Publish(bg, spared(n)) })
	time.Sleep(w.b.Gap)
	looker, err := lookAtTransactions(q.Address())
	var s span
	var n int
	if err == nil {
		s.from = t.now()
		n, err = q.Cancel(bg, cancelled)
		s.to = t.now()
	}
	longest, failed := looker.stop()
	time.Sleep(w.b.Gap)
	for _, e := range []error{failed, t.finish()} {
		if err == nil {
			err = e
		}
	}
	of := fmt.Sprintf("cancel a tenth of %s", short(float64(w.b.OnServer)))
	f := w.figure(i, "ms", "%s", of)
	if err := f.unlessCannot(err); err != nil || f.cannot != nil {
		return err
	}
	if want := labelled(w.b.OnServer, cancelled); n != want {
		return fmt.Errorf("cancelling %s took %d messages, not %d", cancelled, n, want)
	}
	left, err := q.Count(bg, cancelled)
	if err != nil {
		return err
	}
	if left != 0 {
		return fmt.Errorf("%d messages with %s are left", left, cancelled)
	}
	publish, _ := t.longest(s)
	f.add(ms(s.length()))
	w.figure(i, "msg/s", "%s, messages a second", of).add(float64(n) / s.length().Seconds())
	w.figure(i, "ms", "%s, longest transaction", of).add(ms(longest))
	w.figure(i, "ms", "%s, longest publish", of).add(ms(publish))
	return nil
}

// claimed counts what is claimed, and keeps how long it took while it is told to.
type claimed struct {
	n    atomic.Int64
	lat  *latencies
	keep atomic.Bool
}

func (c *claimed) done(n int, took time.Duration) {
	if took > 0 && c.keep.Load() {
		s := sampler{to: c.lat}
		s.add(took)
		s.flush()
	}
	c.n.Add(int64(n))
}

// addRate counts for a while, and on a machine that is so slow until there is something
// to count. If there was not always something to claim there is no rate.
func (c *claimed) addRate(f *figure, claims peer.Claims, during time.Duration) error {
	before, start := c.n.Load(), time.Now()
	time.Sleep(during)
	for {
		n, took := c.n.Load()-before, time.Since(start)
		dry, err := claims.Dry(bg)
		switch {
		case err != nil:
			return err
		case dry:
			f.cannot = nothingLeft
			return nil
		case n > 0:
			f.add(float64(n) / took.Seconds())
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// nothingLeft is why there is no rate of claims.
var nothingLeft = &peer.CannotError{Reason: "all messages that could be claimed were before the time was over: try with more"}

func (w *onServer) claim(i int, q peer.PostgresQueue, size, workers int) error {
	f := w.figure(i, "msg/s", "claim %d and finish, %d connections", size, workers)
	c := &claimed{lat: f.lat}
	claims, err := q.Claim(workers, size, c.done)
	if err != nil {
		return f.unlessCannot(err)
	}
	window := serverSpans * w.b.Window
	time.Sleep(window / 4)
	c.keep.Store(true)
	err = c.addRate(f, claims, window)
	c.keep.Store(false)
	return finish(claims, err)
}

// finish stops claims, and returns the first error.
func finish(claims peer.Claims, err error) error {
	if failed := claims.Stop(); err == nil {
		err = failed
	}
	return err
}

// foreign claims while somebody else's transaction stays open.
func (w *onServer) foreign(i int, q peer.PostgresQueue) error {
	c := &claimed{lat: newLatencies()}
	claims, err := q.Claim(foreignWorkers, foreignSize, c.done)
	if err != nil {
		return err
	}
	time.Sleep(w.b.Foreign / foreignLooks)
	return finish(claims, w.besideForeign(i, q, claims, c))
}

func (w *onServer) besideForeign(i int, q peer.PostgresQueue, claims peer.Claims, c *claimed) error {
	conn, err := pgx.Connect(bg, q.Address())
	if err != nil {
		return err
	}
	defer conn.Close(bg)
	tx, err := conn.BeginTx(bg, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return err
	}
	// What it has read once it could read again until it ends.
	if _, err := tx.Exec(bg, "SELECT count(*) FROM pg_class"); err != nil {
		return err
	}
	start := time.Now()
	dry := false
	for k := range foreignLooks {
		after := time.Duration(k) * w.b.Foreign
		f := w.figure(i, "msg/s", "claim %d and finish, %d connections, a transaction open for %v", foreignSize, foreignWorkers, after)
		if dry {
			f.cannot = nothingLeft
			continue
		}
		time.Sleep(time.Until(start.Add(after)))
		if err := c.addRate(f, claims, w.b.Foreign/foreignLooks); err != nil {
			return err
		}
		dry = f.cannot != nil
	}
	return tx.Rollback(bg)
}

// transactionLooks is how often it is looked how long transactions take.
const transactionLooks = 5 * time.Millisecond

// transactionLooker looks for the transaction that takes longest.
type transactionLooker struct {
	conn    *pgx.Conn
	cancel  context.CancelFunc
	ended   chan struct{}
	longest float64 // seconds
	err     error
}

func lookAtTransactions(address string) (*transactionLooker, error) {
	conn, err := pgx.Connect(bg, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(bg)
	l := &transactionLooker{conn: conn, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		for ctx.Err() == nil && l.err == nil {
			l.look()
			time.Sleep(transactionLooks)
		}
	}()
	return l, nil
}

func (l *transactionLooker) look() {
	var seconds float64
	l.err = l.conn.QueryRow(bg, `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'`).Scan(&seconds)
	l.longest = max(l.longest, seconds)
}

// stop returns how long the longest took, as far as it was seen. Of nobody it is nothing.
func (l *transactionLooker) stop() (time.Duration, error) {
	if l == nil {
		return 0, nil
	}
	l.cancel()
	<-l.ended
	l.conn.Close(bg)
	return time.Duration(l.longest * float64(time.Second)), l.err
}
