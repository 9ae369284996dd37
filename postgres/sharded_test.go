package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

const (
	primaries = 3
	shards    = 12
)

// primary is a database that tests use together, each in a schema of its own.
type cluster struct {
	servers []*pgtest.Server
	dsns    []string
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{}
	for range primaries {
		s := pgtest.Private(t)
		c.servers, c.dsns = append(c.servers, s), append(c.dsns, pgtest.Pooled(s.DSN()))
	}
	return c
}

func (c *cluster) open(t *testing.T, schema string) *postgres.Sharded {
	t.Helper()
	s, err := postgres.OpenShards(t.Context(), c.dsns, &postgres.Options{
		AllowUnsafe: true,
		Schema:      schema, Shards: shards, LeaseTime: time.Hour, PollInterval: 5 * time.Millisecond, ChunkSize: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// TestPrimaries spreads twelve shards over three servers.
func TestPrimaries(t *testing.T) {
	c := newCluster(t)
	for name, test := range map[string]func(*testing.T, *cluster, string){
		"publish": publishOnPrimaries, "brokers": brokersOnPrimaries, "schedule": scheduleOnPrimaries, "flow": flowOnPrimaries,
		"cancel": cancelOnPrimaries, "guard": guardOnPrimaries, "events": eventsOnPrimaries, "dead": deadOnPrimaries,
		"import": importOnPrimaries, "importAgain": importAgainOnPrimaries, "tidy": tidyOnPrimaries,
		"standing": standingOnPrimaries, "update": updateOnPrimaries, "publishTx": publishTxOnPrimaries, "open": openPrimaries,
	} {
		t.Run(name, func(t *testing.T) { test(t, c, "recall_"+name) })
	}
	t.Run("importCut", func(t *testing.T) { importCutOnPrimaries(t, c, "recall_import_cut") })
	t.Run("stuck", func(t *testing.T) { stuckPrimary(t, c, "recall_stuck") })
	t.Run("killed", func(t *testing.T) { killPrimary(t, c, "recall_killed") }) // the others have no use for that
}

func insertAll(t *testing.T, s recall.Engine, msgs ...recall.Message) (ids []recall.MessageID) {
	t.Helper()
	receipts, err := s.Insert(t.Context(), msgs, base)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range receipts {
		ids = append(ids, r.ID)
	}
	return ids
}

func inQueue(name string) recall.Message {
	m := message("queued")
	m.Queue = name
	return m
}

// queueIn returns the name of a queue in a shard.
func queueIn(s *postgres.Sharded, shard int) string {
	for i := 0; ; i++ {
		if name := fmt.Sprint("queue-", i); postgres.HomeOfQueue(s, name) == shard {
			return name
		}
	}
}

func wantCount(t *testing.T, s recall.Engine, f recall.Filter, pending, inFlight int) {
	t.Helper()
	if c, err := s.Count(t.Context(), f, base); err != nil || c != (recall.Count{Pending: pending, InFlight: inFlight}) {
		t.Fatalf("Count of %s: %+v, %v, want %d pending and %d in flight", f, c, err, pending, inFlight)
	}
}

// publishOnPrimaries: what may be anywhere is everywhere, what has a queue is with it,
// and what one call publishes without any stays together.
func publishOnPrimaries(t *testing.T, c *cluster, schema string) {
	s, other := c.open(t, schema), c.open(t, schema)
	used := map[int]int{}
	var want []recall.MessageID
	for range 3 * shards {
		ids := insertAll(t, s, message("a"), message("b"))
		if postgres.HomeOf(s, ids[0]) != postgres.HomeOf(s, ids[1]) {
			t.Fatalf("one call has published to %d and %d", postgres.HomeOf(s, ids[0]), postgres.HomeOf(s, ids[1]))
		}
		used[postgres.HomeOf(s, ids[0])]++
		want = append(want, ids...)
	}
	if len(used) != shards {
		t.Errorf("only the shards of %v are used", used)
	}
	list, err := other.List(t.Context(), recall.Filter{}, "", 1000, base)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range list {
		if m.ID != want[i] {
			t.Fatalf("List: %d is %s, want %s", i, m.ID, want[i])
		}
	}
	// Pages, the last of which is empty.
	paged, after := 0, recall.MessageID("")
	for {
		page, err := other.List(t.Context(), recall.Filter{Labels: []string{"a"}}, after, 5, base)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged, after = paged+len(page), page[len(page)-1].ID
	}
	if paged != 3*shards {
		t.Errorf("pages have %d messages, want %d", paged, 3*shards)
	}
	ids := insertAll(t, s, inQueue("q"), message("c"), inQueue("q"))
	for _, id := range ids {
		if got, want := postgres.HomeOf(s, id), postgres.HomeOfQueue(s, "q"); got != want {
			t.Errorf("%s is in shard %d, want %d", id, got, want)
		}
	}
	both := inQueue("q")
	both.FlowKey = "k"
	if _, err := s.Insert(t.Context(), []recall.Message{both}, base); !errors.Is(err, recall.ErrUnsupported) || !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("a queue and a key: %v", err)
	}
	spread := insertAll(t, s, inQueue(queueIn(s, 5)), inQueue(queueIn(s, 1)))
	if postgres.HomeOf(s, spread[0]) != 5 || postgres.HomeOf(s, spread[1]) != 1 {
		t.Errorf("messages of two queues are in %d and %d", postgres.HomeOf(s, spread[0]), postgres.HomeOf(s, spread[1]))
	}
}

// brokersOnPrimaries delivers everything once, and queues in their order.
func brokersOnPrimaries(t *testing.T, c *cluster, schema string) {
	var brokers []*recall.Broker
	for range 2 {
		b, err := recall.New(c.open(t, schema), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		brokers = append(brokers, b)
	}
	const n = 60
	got := make(chan recall.Message, 10*n)
	for _, b := range brokers {
		if err := b.Handle("local:job", func(_ context.Context, d *recall.Delivery) error {
			got <- d.Message
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]recall.MessageID{}
	for i := range n {
		m := recall.Message{URL: "local:job"}
		if i%2 == 0 {
			m.Queue = fmt.Sprint("q", i%3)
		}
		r, err := brokers[i%2].Publish(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		want[m.Queue] = append(want[m.Queue], r.ID)
	}
	have := map[string][]recall.MessageID{}
	for range n {
		select {
		case m := <-got:
			have[m.Queue] = append(have[m.Queue], m.ID)
		case <-time.After(patience):
			t.Fatal("not everything was delivered")
		}
	}
	slices.Sort(have[""])
	slices.Sort(want[""])
	for q := range want {
		if !slices.Equal(have[q], want[q]) {
			t.Errorf("queue %q: got %v, want %v", q, have[q], want[q])
		}
	}
}

func scheduleChange(queue string, have []byte, met int) recall.Change {
	m := inQueue(queue)
	m.ScheduleID = "nightly"
	return recall.Change{
		Objects:  []recall.Object{{Kind: recall.ObjectScheduleTime, Name: "nightly", Value: fmt.Appendf(nil, `{"last":%d}`, met)}},
		If:       []recall.Object{{Kind: recall.ObjectScheduleTime, Name: "nightly", Value: have}},
		Messages: []recall.Message{m}, Now: base,
	}
}

// scheduleOnPrimaries: a time is met once, by whomever, and also if the one who had
// begun with it is gone; the message is on another server than the schedule.
func scheduleOnPrimaries(t *testing.T, c *cluster, schema string) {
	s, other := c.open(t, schema), c.open(t, schema)
	queue, ctx := queueIn(s, 7), t.Context()
	nightly := recall.Filter{Schedules: []string{"nightly"}}
	if _, err := s.Apply(ctx, scheduleChange(queue, nil, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Apply(ctx, scheduleChange(queue, nil, 1)); !errors.Is(err, recall.ErrObjectChanged) {
		t.Errorf("the same time again: %v", err)
	}
	wantCount(t, s, nightly, 1, 0)
	second := scheduleChange(queue, []byte(`{"last":1}`), 2)
	if err := postgres.PublishOf(ctx, s, second); err != nil { // and it is gone
		t.Fatal(err)
	}
	wantCount(t, s, nightly, 2, 0)
	receipts, err := other.Apply(ctx, scheduleChange(queue, []byte(`{"last":1}`), 2))
	if err != nil || len(receipts) != 1 || !receipts[0].Deduplicated {
		t.Errorf("who comes after it: %+v, %v, want a duplicate", receipts, err)
	}
	wantCount(t, s, nightly, 2, 0)
	if _, err := other.Apply(ctx, scheduleChange(queue, []byte(`{"last":2}`), 3)); err != nil {
		t.Fatal(err)
	}
	wantCount(t, s, nightly, 3, 0)
	list, err := s.Objects(ctx, recall.ObjectScheduleTime)
	if err != nil || len(list) != 1 || string(list[0].Value) != `{"last":3}` {
		t.Errorf("Objects: %v, %v", list, err)
	}
	two := recall.Change{Now: base, Objects: []recall.Object{
		{Kind: recall.ObjectQueue, Name: queueIn(s, 1), Value: []byte(`{}`)}, {Kind: recall.ObjectQueue, Name: queueIn(s, 2), Value: []byte(`{}`)},
	}}
	if _, err := s.Apply(ctx, two); !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("objects of two shards: %v", err)
	}
}

// flowOnPrimaries: limits of keys and of queues hold whoever claims.
func flowOnPrimaries(t *testing.T, c *cluster, schema string) {
	s, other := c.open(t, schema), c.open(t, schema)
	for i := range 30 {
		m := message("flow")
		m.FlowKey, m.Flow = fmt.Sprint("key-", i%3), &recall.FlowLimit{Parallelism: 1}
		insertAll(t, []recall.Engine{s, other}[i%2], m)
	}
	out := map[string]int{}
	for _, e := range []*postgres.Sharded{s, other, s} {
		res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range res.Leases {
			out[l.Message.FlowKey]++
		}
	}
	if len(out) != 3 || out["key-0"] != 1 || out["key-1"] != 1 || out["key-2"] != 1 {
		t.Errorf("claimed by key: %v, want 1 each", out)
	}
	states, err := s.FlowStates(t.Context(), base)
	if err != nil || len(states) != 3 || states[0].Key != "key-0" || states[0].InFlight != 1 {
		t.Errorf("FlowStates: %+v, %v", states, err)
	}
}

// cancelOnPrimaries: the walk goes from shard to shard, stops at what is in flight, and
// one operation is all that it has taken.
func cancelOnPrimaries(t *testing.T, c *cluster, schema string) {
	s, other := c.open(t, schema), c.open(t, schema)
	ctx := t.Context()
	const each = 10
	label := recall.Filter{Labels: []string{"queued"}}
	blocking := queueIn(s, 5)
	for i := range shards {
		var msgs []recall.Message
		for range each {
			msgs = append(msgs, inQueue(queueIn(s, i)))
		}
		insertAll(t, s, msgs...)
	}
	leases := claimOnly(t, s, blocking, 5)
	var started recall.OperationID
	req := recall.CancelMatchingRequest{Filter: label, Now: base, Started: func(id recall.OperationID) { started = id }}
	res, err := other.CancelMatching(ctx, req)
	var stop *recall.NotCancellableError
	if !errors.As(err, &stop) || stop.ID != leases[0].Message.ID || stop.Cancelled != 5*each || res.Cancelled != 5*each || res.Operation != started {
		t.Fatalf("CancelMatching: %+v, %v, want to stop at %s after %d", res, err, leases[0].Message.ID, 5*each)
	}
	wantCount(t, s, label, 7*each-1, 1)
	ops, err := s.Operations(ctx, "", 10)
	if err != nil || len(ops) != 1 || ops[0].Count != 5*each || ops[0].Blocker != stop.ID || !ops[0].Undoable {
		t.Fatalf("Operations: %+v, %v", ops, err)
	}
	if back, err := other.Restore(ctx, res.Operation, base); err != nil || back.Restored != 5*each {
		t.Fatalf("Restore: %+v, %v", back, err)
	}
	if back, err := s.Restore(ctx, res.Operation, base); err != nil || back.Restored != 5*each {
		t.Fatalf("Restore again: %+v, %v", back, err)
	}
	wantCount(t, s, label, 12*each-1, 1)
	req.Limit, req.Policy = 3*each+1, recall.Sticky
	res, err = s.CancelMatching(ctx, req)
	if err != nil || res.Cancelled != 3*each+1 {
		t.Fatalf("with a limit: %+v, %v", res, err)
	}
	req.Limit = 0
	res, err = s.CancelMatching(ctx, req)
	if err != nil || res.Cancelled != 9*each-2 || res.Requested != 1 {
		t.Fatalf("the rest: %+v, %v", res, err)
	}
	op, err := s.WhoCancelled(ctx, insertedFirst(t, s, res.Operation))
	if err != nil || op.ID != res.Operation || op.Count != 9*each-2 || op.Requested != 1 {
		t.Errorf("WhoCancelled: %+v, %v", op, err)
	}
	if _, err := s.Restore(ctx, res.Operation, base.Add(48*time.Hour)); !errors.Is(err, recall.ErrUndoExpired) {
		t.Errorf("Restore, late: %v", err)
	}
	wantCount(t, s, label, 0, 0)
}

// claimOnly claims the first of one queue: all others are held meanwhile.
func claimOnly(t *testing.T, s *postgres.Sharded, queue string, shard int) []recall.Lease {
	t.Helper()
	res, err := s.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 100})
	if err != nil || len(res.Leases) != shards {
		t.Fatalf("Claim: %d leases, %v", len(res.Leases), err)
	}
	var kept []recall.Lease
	for _, l := range res.Leases {
		if l.Message.Queue == queue {
			kept = append(kept, l)
			continue
		}
		if err := s.Finish(t.Context(), l, recall.Finish{Outcome: recall.Release, Now: base}); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) != 1 || postgres.HomeOf(s, kept[0].Message.ID) != shard {
		t.Fatalf("nothing was claimed of %s", queue)
	}
	return kept
}

// insertedFirst returns a message that an operation has taken.
func insertedFirst(t *testing.T, s *postgres.Sharded, op recall.OperationID) recall.MessageID {
	t.Helper()
	page, err := s.Events(t.Context(), recall.EventFilter{States: []recall.EventState{recall.EventCreated}}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range page.Events {
		if got, err := s.WhoCancelled(t.Context(), ev.Message); err == nil && got.ID == op {
			return ev.Message
		}
	}
	t.Fatalf("nobody was cancelled by %s", op)
	return ""
}

// guardOnPrimaries counts over all shards before anything is changed.
func guardOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	for range 2 * shards {
		insertAll(t, s, message("g"))
	}
	f := recall.Filter{Labels: []string{"g"}}
	req := recall.CancelMatchingRequest{Filter: f, Now: base, Guard: recall.Guard{Set: true, Least: 1, Most: 2*shards - 1}}
	var count *recall.UnexpectedCountError
	if res, err := s.CancelMatching(t.Context(), req); !errors.As(err, &count) || count.Found != 2*shards || res.Cancelled != 0 {
		t.Fatalf("too many: %+v, %v", res, err)
	}
	wantCount(t, s, f, 2*shards, 0)
	req.Guard = recall.Guard{Set: true, Least: 2 * shards, Most: 2 * shards}
	res, err := s.CancelMatching(t.Context(), req)
	if err != nil || res.Cancelled != 2*shards {
		t.Fatalf("as many as expected: %+v, %v", res, err)
	}
	if back, err := s.Restore(t.Context(), res.Operation, base); err != nil || back.Restored != 2*shards {
		t.Fatalf("Restore: %+v, %v", back, err)
	}
	wantCount(t, s, f, 2*shards, 0)
	ops, err := s.Operations(t.Context(), "", 10)
	if err != nil || len(ops) != 1 || ops[0].Count != 2*shards {
		t.Errorf("Operations: %+v, %v", ops, err)
	}
	page, err := s.Events(t.Context(), recall.EventFilter{States: []recall.EventState{recall.EventCancelled}}, "", 10)
	if err != nil || len(page.Events) != 1 || page.Events[0].Count != 2*shards {
		t.Errorf("Events of the cancellation: %+v, %v, want one", page.Events, err)
	}
}

// eventsOnPrimaries reads the log in pages while it grows, and misses nothing.
func eventsOnPrimaries(t *testing.T, c *cluster, schema string) {
	s, other := c.open(t, schema), c.open(t, schema)
	var want, got []recall.MessageID
	f := recall.EventFilter{OldestFirst: true, States: []recall.EventState{recall.EventCreated}}
	cursor := recall.EventID("")
	for round := range 10 {
		for range 7 {
			want = append(want, insertAll(t, s, message("e"))...)
		}
		if round == 0 { // the clock of one server is ahead
			_, err := newPool(t, c.dsns[2]).Exec(t.Context(), `UPDATE `+schema+`.events SET stamp = stamp + 3600000000`)
			if err != nil {
				t.Fatal(err)
			}
		}
		for {
			page, err := []*postgres.Sharded{s, other}[round%2].Events(t.Context(), f, cursor, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range page.Events {
				got, cursor = append(got, ev.Message), ev.ID
			}
			if page.Next == "" {
				break
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("events oldest first:\n%v, want\n%v", got, want)
	}
	f.OldestFirst = false
	page, err := other.Events(t.Context(), f, "", 1000)
	if err != nil || len(page.Events) != len(want) || page.Events[0].Message != want[len(want)-1] {
		t.Errorf("newest first: %d events, %v", len(page.Events), err)
	}
}

// deadOnPrimaries: dead letters of all shards are one queue.
func deadOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	var want []recall.MessageID
	for range 2 * shards {
		want = append(want, insertAll(t, s, message("d"))...)
		res, err := s.Claim(ctx, recall.ClaimRequest{Now: base, Max: 1})
		if err != nil || len(res.Leases) != 1 {
			t.Fatal(res, err)
		}
		if err := s.Finish(ctx, res.Leases[0], recall.Finish{Outcome: recall.Dead, Now: base, Reason: "no"}); err != nil {
			t.Fatal(err)
		}
	}
	var got []recall.MessageID
	var ids []recall.DeadLetterID
	for after := recall.DeadLetterID(""); ; {
		page, err := s.ListDead(ctx, recall.Filter{}, after, 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			got, ids, after = append(got, d.Message.ID), append(ids, d.ID), d.ID
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("ListDead: got %v, want %v", got, want)
	}
	receipts, err := s.RetryDead(ctx, []recall.DeadLetterID{ids[7], ids[2], "1-99"}, base)
	if err != nil || len(receipts) != 2 || postgres.HomeOf(s, receipts[0].ID) != postgres.HomeOf(s, want[7]) {
		t.Fatalf("RetryDead: %+v, %v", receipts, err)
	}
	guard := recall.Guard{Set: true, Least: 0, Most: 3}
	if n, err := s.DeleteDeadMatching(ctx, recall.DeadMatchingRequest{Guard: guard, Now: base}); !errors.As(err, new(*recall.UnexpectedCountError)) || n != 0 {
		t.Errorf("a guard: %d, %v", n, err)
	}
	guard.Most = 2 * shards
	if n, err := s.RetryDeadMatching(ctx, recall.DeadMatchingRequest{Guard: guard, Limit: 4, Now: base}); err != nil || n != 4 {
		t.Errorf("a guard and a limit: %d, %v", n, err)
	}
	if n, err := s.DeleteDeadMatching(ctx, recall.DeadMatchingRequest{Now: base}); err != nil || n != 2*shards-6 {
		t.Errorf("the rest: %d, %v", n, err)
	}
	wantCount(t, s, recall.Filter{}, 6, 0)
}

// standingOnPrimaries: what arrives anywhere is taken.
func standingOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	op, err := s.CancelFuture(ctx, recall.Filter{Labels: []string{"x"}}, base.Add(time.Hour), "", base)
	if err != nil {
		t.Fatal(err)
	}
	for range shards {
		insertAll(t, s, message("x"))
	}
	list, err := s.StandingCancellations(ctx, base)
	if err != nil || len(list) != 1 || list[0].ID != op || list[0].Count != shards {
		t.Errorf("StandingCancellations: %+v, %v", list, err)
	}
	if err := s.LiftCancellation(ctx, op, base); err != nil {
		t.Fatal(err)
	}
	for range shards {
		insertAll(t, s, message("x"))
	}
	wantCount(t, s, recall.Filter{}, shards, 0)
}

// updateOnPrimaries: a transaction belongs to the shard of what it does first.
func updateOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	seventh, third := queueIn(s, 7), queueIn(s, 3)
	there := insertAll(t, s, inQueue(third))[0]
	err := s.Update(ctx, func(tx recall.EngineTx) error {
		if _, err := tx.Insert([]recall.Message{inQueue(seventh)}, base); err != nil {
			return err
		}
		if r, err := tx.Insert([]recall.Message{message("free")}, base); err != nil || postgres.HomeOf(s, r[0].ID) != 7 {
			return fmt.Errorf("a message that may be anywhere: %v, %w", r, err)
		}
		for what, err := range map[string]error{
			"another queue":  second(tx.Insert([]recall.Message{inQueue(third)}, base)),
			"a bucket":       second(tx.Bucket("b")),
			"a cancellation": tx.Cancel(recall.CancelRequest{ID: there, Now: base}),
			"a filter":       second(tx.CancelMatching(recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"queued"}}, Now: base})),
		} {
			if !errors.Is(err, recall.ErrUnsupported) {
				t.Errorf("%s: %v", what, err)
			}
		}
		res, err := tx.CancelMatching(recall.CancelMatchingRequest{Filter: recall.Filter{Queues: []string{seventh}}, Now: base})
		if err != nil || res.Cancelled != 1 {
			t.Errorf("a filter for its queue: %+v, %v", res, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCount(t, s, recall.Filter{}, 2, 0)
	refused := errors.New("no")
	err = s.Update(ctx, func(tx recall.EngineTx) error {
		b, err := tx.Bucket("b")
		if err == nil {
			err = b.Put([]byte("k"), []byte("v"))
		}
		return errors.Join(err, refused)
	})
	if value, lookup := s.Lookup(ctx, "b", []byte("k")); !errors.Is(err, refused) || lookup != nil || value != nil {
		t.Errorf("a transaction that failed: %v; %q, %v", err, value, lookup)
	}
}

func second[T any](_ T, err error) error { return err }

// publishTxOnPrimaries takes part in transactions of the program, each on one server.
func publishTxOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	b, err := recall.New(s, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, c.dsns[1])
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if r, err := s.PublishTx(ctx, b, tx, recall.Message{URL: "https://a.test/"}); err != nil || postgres.HomeOf(s, r.ID) != 1 {
			t.Errorf("a message that may be anywhere: %+v, %v", r, err)
		}
		for _, shard := range []int{0, 4} { // one on another server, and one on this
			_, err := s.PublishTx(ctx, b, tx, recall.Message{URL: "https://a.test/", Queue: queueIn(s, shard)})
			if !errors.Is(err, recall.ErrUnsupported) {
				t.Errorf("a queue in shard %d: %v", shard, err)
			}
		}
		r, err := s.PublishTx(ctx, b, tx, recall.Message{URL: "https://a.test/", Queue: queueIn(s, 1)})
		if err == nil && postgres.HomeOf(s, r.ID) != 1 {
			t.Errorf("its own queue: %+v", r)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := s.PublishTx(ctx, b, tx, recall.Message{URL: "https://a.test/", Queue: queueIn(s, 4)}); err != nil {
			t.Errorf("a queue in shard 4, first: %v", err)
		}
		return pgx.ErrTxClosed
	})
	if !errors.Is(err, pgx.ErrTxClosed) {
		t.Fatal(err)
	}
	wantCount(t, s, recall.Filter{}, 2, 0)
	if err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// openPrimaries: what does not belong together is not served.
func openPrimaries(t *testing.T, c *cluster, schema string) {
	open := func(n int, schema string, dsns ...string) error {
		s, err := postgres.OpenShards(t.Context(), dsns, &postgres.Options{AllowUnsafe: true, Schema: schema, Shards: n})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := open(shards, schema, c.dsns...); err != nil {
		t.Fatal(err)
	}
	if err := open(shards, schema, c.dsns...); err != nil {
		t.Fatal(err)
	}
	other := schema + "_other"
	if err := open(shards, other, c.dsns...); err != nil {
		t.Fatal(err)
	}
	named := func(schema ...string) (dsns []string) {
		for i, dsn := range c.dsns {
			dsns = append(dsns, dsn+"&schema="+schema[i%len(schema)])
		}
		return dsns
	}
	if err := open(shards, "", named(schema)...); err != nil {
		t.Errorf("the schema is named by the DSNs: %v", err)
	}
	extra := newPool(t, c.dsns[0])
	for what, err := range map[string]error{
		"swapped":             open(shards, schema, c.dsns[1], c.dsns[0], c.dsns[2]),
		"another S":           open(shards+1, schema, c.dsns...),
		"fewer databases":     open(shards, schema, c.dsns[:2]...),
		"one database twice":  open(shards, schema, c.dsns[0], c.dsns[0], c.dsns[2]),
		"more than shards":    open(2, schema+"_few", c.dsns...),
		"none":                open(1, schema),
		"too many":            open(257, schema+"_many", c.dsns...),
		"twice, of a new one": open(2, schema+"_twice", c.dsns[0], c.dsns[0]),
		"another schema":      open(shards, schema, named(other)...),
		"several schemas":     open(shards, "", named(schema, other)...),
		"one schema missing":  open(shards, "", append(named(schema)[:2], c.dsns[2])...),
		"by itself":           openOne(t, c.dsns[0], schema),
	} {
		if !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	replace := func(statement string) {
		t.Helper()
		if _, err := extra.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	replace(`ALTER SCHEMA ` + schema + ` RENAME TO ` + schema + `_away`)
	if err := open(shards, schema, c.dsns...); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("a database that is empty: %v", err)
	}
	replace(`DROP SCHEMA ` + schema + ` CASCADE`)
	replace(`ALTER SCHEMA ` + other + ` RENAME TO ` + schema)
	if err := open(shards, schema, c.dsns...); !errors.Is(err, recall.ErrInvalid) {
		t.Errorf("a database of another queue: %v", err)
	}
	replace(`DROP SCHEMA ` + schema + ` CASCADE`)
	replace(`ALTER SCHEMA ` + schema + `_away RENAME TO ` + schema)
	if err := open(shards, schema, c.dsns...); err != nil {
		t.Errorf("as it was: %v", err)
	}
}

func openOne(t *testing.T, dsn, schema string) error {
	e, err := postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema})
	if err == nil {
		err = e.Close()
	}
	return err
}

// killPrimary kills a server. What does not need it goes on, what does says so, and when
// it is back nothing is lost.
func killPrimary(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	const dead = 1
	for i := range shards {
		insertAll(t, s, inQueue(queueIn(s, i)))
	}
	c.servers[dead].Kill()
	free := 0
	for range 2 * shards {
		id := insertAll(t, s, message("free"))[0]
		if postgres.HomeOf(s, id)%primaries == dead {
			t.Fatalf("%s was published on a server that is dead", id)
		}
		free++
	}
	if _, err := s.Insert(ctx, []recall.Message{inQueue(queueIn(s, dead))}, base); err == nil || errors.Is(err, recall.ErrFailed) {
		t.Errorf("a queue of a server that is dead: %v", err)
	}
	_, err := s.Insert(ctx, []recall.Message{inQueue(queueIn(s, 0)), inQueue(queueIn(s, dead))}, base)
	if !errors.Is(err, recall.ErrFailed) {
		t.Errorf("two queues, one of them of a server that is dead: %v", err)
	}
	claimed := map[int]int{}
	for range shards {
		res, err := s.Claim(ctx, recall.ClaimRequest{Now: base, Max: 5})
		if err != nil {
			t.Fatalf("Claim: %v", err)
		}
		for _, l := range res.Leases {
			claimed[postgres.HomeOf(s, l.Message.ID)%primaries]++
			if err := s.Finish(ctx, l, recall.Finish{Outcome: recall.Delivered, Now: base}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Those of the queues that live, one more, and those without a queue.
	if want := 2*shards/3 + 1 + free; claimed[0]+claimed[2] != want || claimed[dead] != 0 {
		t.Errorf("claimed by server: %v, want %d", claimed, want)
	}
	for what, err := range map[string]error{
		"List":           second(s.List(ctx, recall.Filter{}, "", 10, base)),
		"Count":          second(s.Count(ctx, recall.Filter{}, base)),
		"CancelMatching": second(s.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Now: base})),
		"Maintain":       second(s.Maintain(ctx, base)),
	} {
		if err == nil || errors.Is(err, recall.ErrFailed) {
			t.Errorf("%s without a server: %v", what, err)
		}
	}
	if err := s.Ping(ctx); err != nil {
		t.Errorf("Ping without one server: %v", err)
	}
	if n, err := s.Count(ctx, recall.Filter{Queues: []string{queueIn(s, 0)}}, base); err != nil || n.Pending != 0 {
		t.Errorf("Count of a queue that lives: %+v, %v", n, err)
	}
	if err := c.servers[dead].Restart(); err != nil {
		t.Fatal(err)
	}
	back := 0 // a connection from before may fail once more
	for until := time.Now().Add(patience); back < shards/primaries; {
		res, err := s.Claim(ctx, recall.ClaimRequest{Now: base, Max: 100})
		if back += len(res.Leases); time.Now().After(until) {
			t.Fatalf("%d messages are claimed of the server that is back, want %d: %v", back, shards/primaries, err)
		}
	}
	wantCount(t, s, recall.Filter{}, 0, shards/primaries)
	for _, server := range c.servers {
		server.Kill()
	}
	if err := s.Ping(ctx); err == nil {
		t.Error("Ping without any server: no error")
	}
	for _, server := range c.servers { // an engine ends with a word to each
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}

// stuckPrimary has a server not answer for a while. Claims go on with the others, and
// what it has handed out to nobody is pending again.
func stuckPrimary(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	postgres.SetPatience(s, 50*time.Millisecond)
	for i := range shards {
		insertAll(t, s, inQueue(queueIn(s, i)))
	}
	tx, err := newPool(t, c.dsns[1]).Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, `LOCK TABLE `+schema+`.messages`)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }() // it is over, or the test has failed
	leases := 0
	for until := time.Now().Add(patience); leases < 2*shards/primaries; {
		res, err := s.Claim(ctx, recall.ClaimRequest{Now: base, Max: 100})
		if err != nil && time.Now().Before(until) { // on a busy machine the others may be late, too
			continue
		}
		for _, l := range res.Leases {
			if postgres.HomeOf(s, l.Message.ID)%primaries == 1 {
				t.Fatalf("%s was claimed of a server that does not answer", l.Message.ID)
			}
		}
		if leases += len(res.Leases); time.Now().After(until) {
			t.Fatalf("%d leases of the others", leases)
		}
	}
	postgres.SetPatience(s, patience)
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(patience); leases < shards; {
		res, err := s.Claim(ctx, recall.ClaimRequest{Now: base, Max: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range res.Leases {
			if l.Message.Attempts != 1 {
				t.Errorf("an attempt that nobody made was counted: %d", l.Message.Attempts)
			}
		}
		if leases += len(res.Leases); time.Now().After(until) {
			t.Fatalf("%d leases, want %d", leases, shards)
		}
	}
	wantCount(t, s, recall.Filter{}, 0, shards)
}

// TestDeadlineIsNoTrouble: that a caller has run out of time is not held against the
// database, from which claims go on.
func TestDeadlineIsNoTrouble(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	s, err := postgres.OpenShards(t.Context(), []string{dsn}, &postgres.Options{AllowUnsafe: true, Schema: schema, Shards: 2, LeaseTime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Insert(t.Context(), []recall.Message{message("a")}, base); err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if _, err := s.Insert(late, []recall.Message{message("a")}, base); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if res, err := s.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 9}); err != nil || len(res.Leases) != 1 {
		t.Errorf("claimed %d, %v", len(res.Leases), err)
	}
}
