package postgres_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// foreign is a message with an id of another engine, whose last byte of the number is
// given: it may be the one of a shard.
func foreign(n int, last byte, queue, key string) recall.Message {
	m := message("foreign")
	m.Queue, m.FlowKey = queue, key
	var id ulid.ULID
	_ = id.SetTime(uint64(base.Add(-time.Hour).UnixMilli())) // fails only after the year 10889
	binary.BigEndian.PutUint64(id[8:], uint64(n)<<40|uint64(last)<<32|0xABC)
	m.ID = recall.MessageID("msg_" + id.String())
	return m
}

func imports(t *testing.T, s *postgres.Sharded, batch recall.Import, want recall.Imported) {
	t.Helper()
	batch.Now = base
	if got, err := s.Import(t.Context(), batch); err != nil || got != want {
		t.Fatalf("Import: %+v, %v, want %+v", got, err, want)
	}
}

// importOnPrimaries: imported messages are where those that are published are, and are
// found by ids that say otherwise.
func importOnPrimaries(t *testing.T, c *cluster, schema string) {
	s, other := c.open(t, schema), c.open(t, schema)
	ctx := t.Context()
	var msgs []recall.Message
	var ids []recall.MessageID
	for i := range 6 * shards {
		queue, key := "", ""
		switch i % 3 {
		case 0:
			queue = fmt.Sprint("queue-", i)
		case 1:
			key = fmt.Sprint("key-", i)
		}
		m := foreign(i, byte(i*37), queue, key)
		msgs, ids = append(msgs, m), append(ids, m.ID)
	}
	imports(t, s, recall.Import{Messages: msgs}, recall.Imported{Messages: len(msgs)})
	used, strays := map[int]int{}, 0
	for i, m := range msgs {
		home := postgres.HomeOf(other, m.ID)
		used[home]++
		if m.Queue != "" && home != postgres.HomeOfQueue(s, m.Queue) {
			t.Errorf("%s of %q is in shard %d", m.ID, m.Queue, home)
		}
		if home != int(byte(i*37))%shards {
			strays++
		}
		if got, err := other.Get(ctx, m.ID, base); err != nil || got.ID != m.ID || got.Queue != m.Queue {
			t.Errorf("Get: %+v, %v", got, err)
		}
		wantCount(t, other, recall.Filter{IDs: []recall.MessageID{m.ID}}, 1, 0)
	}
	if len(used) != shards || strays < len(msgs)/3 {
		t.Errorf("by shard: %v, %d of them strays", used, strays)
	}
	// One limit for all of a key, and an order for all of a queue, with what is published.
	next := insertAll(t, s, inQueue("queue-0"))[0]
	leases := map[recall.MessageID]recall.Lease{}
	for range 3 * shards {
		res, err := s.Claim(ctx, recall.ClaimRequest{Now: base, Max: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range res.Leases {
			leases[l.Message.ID] = l
		}
	}
	if _, ok := leases[next]; ok || len(leases) != len(msgs) {
		t.Fatalf("%d messages are claimed, want %d; what is behind one in its queue: %v", len(leases), len(msgs), ok)
	}
	outcomes := []recall.Outcome{recall.Retry, recall.Dead, recall.Delivered}
	for i, id := range ids {
		f := recall.Finish{Outcome: outcomes[i/3%3], Now: base, Due: base.Add(time.Hour)}
		if err := other.Finish(ctx, leases[id], f); !errors.Is(err, recall.ErrLeaseLost) && err != nil {
			t.Fatalf("Finish of another process: %v", err)
		} else if err == nil {
			continue // leases are of the database
		}
		if err := s.Finish(ctx, leases[id], f); err != nil {
			t.Fatalf("Finish of %s: %v", id, err)
		}
		if err := s.Finish(ctx, leases[id], f); !errors.Is(err, recall.ErrLeaseLost) {
			t.Fatalf("Finish again: %v", err)
		}
	}
	for i, id := range ids {
		dead, err := other.ListDead(ctx, recall.Filter{IDs: []recall.MessageID{id}}, "", 10)
		if want := i/3%3 == 1; err != nil || (len(dead) == 1) != want {
			t.Errorf("%s: %d dead letters, %v, want one: %v", id, len(dead), err, want)
		}
		if n, err := other.DeadIDs(ctx, recall.Filter{IDs: []recall.MessageID{id}}, "", 10); err != nil || len(n) != len(dead) {
			t.Errorf("%s: %d ids of dead letters, %v", id, len(n), err)
		}
		err = other.Cancel(ctx, recall.CancelRequest{ID: id, Now: base})
		if want := i/3%3 == 0; (err == nil) != want || !want && !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("Cancel of %s: %v, want that it is there: %v", id, err, want)
		}
	}
	imports(t, s, recall.Import{Messages: msgs[:1]}, recall.Imported{Messages: 1})
	res, err := other.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{IDs: ids[:1]}, Now: base})
	if err != nil || res.Cancelled != 1 {
		t.Fatalf("CancelMatching: %+v, %v", res, err)
	}
	if op, err := s.WhoCancelled(ctx, ids[0]); err != nil || op.ID != res.Operation {
		t.Errorf("WhoCancelled: %+v, %v", op, err)
	}
	if res, err := other.Restore(ctx, res.Operation, base); err != nil || res.Restored != 1 {
		t.Errorf("Restore: %+v, %v", res, err)
	}
	both := foreign(1, 1, "q", "k")
	_, err = s.Import(ctx, recall.Import{Messages: []recall.Message{foreign(1000, 1, "", ""), both}, Now: base})
	if !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("a queue and a key: %v", err)
	}
	_, err = s.Import(ctx, recall.Import{Dead: []recall.DeadLetter{{Message: both, DiedAt: base}}, Now: base})
	if !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("a dead letter with a queue and a key: %v", err)
	}
	wantCount(t, s, recall.Filter{IDs: []recall.MessageID{foreign(1000, 1, "", "").ID}}, 0, 0)
	importInUpdate(t, s)
	importInTx(t, c, s)
}

// straying is a message in the queue of a shard, under an id of another shard.
func straying(s *postgres.Sharded, n, home, shard int) recall.Message {
	return foreign(n, byte(home), queueIn(s, shard), "")
}

// importInUpdate: a transaction belongs to one shard, whatever ids say.
func importInUpdate(t *testing.T, s *postgres.Sharded) {
	t.Helper()
	m, near, far := straying(s, 2000, 1, 2), straying(s, 2001, 1, 2+primaries), straying(s, 2002, 3, 2)
	here := foreign(2003, 1, "", "")
	imports(t, s, recall.Import{Messages: []recall.Message{m, near, far, here}}, recall.Imported{Messages: 4})
	cancel := func(m recall.Message) recall.CancelRequest { return recall.CancelRequest{ID: m.ID, Now: base} }
	matching := func(m recall.Message, queues ...string) recall.CancelMatchingRequest {
		return recall.CancelMatchingRequest{Filter: recall.Filter{IDs: []recall.MessageID{m.ID}, Queues: queues}, Now: base}
	}
	err := s.Update(t.Context(), func(tx recall.EngineTx) error {
		if _, err := tx.CancelMatching(matching(m)); !errors.Is(err, recall.ErrUnsupported) {
			t.Errorf("ids of a stray, in no shard yet: %v", err)
		}
		if err := tx.Cancel(cancel(m)); err != nil { // from here on shard 2
			t.Errorf("Cancel: %v", err)
		}
		if err := tx.Cancel(cancel(m)); !errors.Is(err, recall.ErrNotFound) && !errors.Is(err, recall.ErrUnsupported) {
			t.Errorf("Cancel again: %v", err)
		}
		for what, other := range map[string]recall.Message{"a stray of another shard": near, "one of another shard": here} {
			if err := tx.Cancel(cancel(other)); !errors.Is(err, recall.ErrUnsupported) {
				t.Errorf("Cancel of %s: %v", what, err)
			}
		}
		// Shard 3 is on another database, which is not asked; the queue says enough.
		if res, err := tx.CancelMatching(matching(far, far.Queue)); err != nil || res.Cancelled != 1 {
			t.Errorf("ids of a stray, and its queue: %+v, %v", res, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantCount(t, s, recall.Filter{IDs: []recall.MessageID{m.ID, near.ID, far.ID, here.ID}}, 2, 0)
}

// importInTx: the same in a transaction of the program.
func importInTx(t *testing.T, c *cluster, s *postgres.Sharded) {
	t.Helper()
	b, err := recall.New(s, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	m := straying(s, 3000, 1+primaries, 1) // both on database 1
	imports(t, s, recall.Import{Messages: []recall.Message{m}}, recall.Imported{Messages: 1})
	pool := newPool(t, c.dsns[1])
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		f := recall.Filter{IDs: []recall.MessageID{m.ID}}
		if _, err := s.CancelMatchingTx(t.Context(), b, tx, f); !errors.Is(err, recall.ErrUnsupported) {
			t.Errorf("ids of a stray: %v", err)
		}
		f.Queues = []string{m.Queue}
		res, err := s.CancelMatchingTx(t.Context(), b, tx, f)
		if err == nil && res.Cancelled != 1 {
			t.Errorf("ids of a stray, and its queue: %+v", res)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// importAgainOnPrimaries: an id is there once, also if another dump has it in another
// queue.
func importAgainOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	m := straying(s, 1, 1, 2)
	imports(t, s, recall.Import{Messages: []recall.Message{m}}, recall.Imported{Messages: 1})
	for what, shard := range map[string]int{"the shard of its id": 1, "a third": 4} {
		moved := straying(s, 1, 1, shard)
		imports(t, s, recall.Import{Messages: []recall.Message{moved}}, recall.Imported{})
		if got, err := s.Get(t.Context(), m.ID, base); err != nil || got.Queue != m.Queue {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	own := insertAll(t, s, inQueue(queueIn(s, 3)))[0]
	m = straying(s, 1, 1, 5)
	m.ID = own
	imports(t, s, recall.Import{Messages: []recall.Message{m}}, recall.Imported{})
	wantCount(t, s, recall.Filter{}, 2, 0)
	list, err := s.List(t.Context(), recall.Filter{}, "", 10, base)
	if err != nil || len(list) != 2 {
		t.Errorf("%d messages, %v", len(list), err)
	}
}

// tidyOnPrimaries: where a stray is stays known as long as anything of it is.
func tidyOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	ctx := t.Context()
	var msgs []recall.Message
	for i := range 2500 { // some pages
		msgs = append(msgs, straying(s, i, 1, 2))
	}
	imports(t, s, recall.Import{Messages: msgs}, recall.Imported{Messages: len(msgs)})
	imports(t, s, recall.Import{Dead: []recall.DeadLetter{{Message: straying(s, 9000, 1, 2), DiedAt: base}}}, recall.Imported{Dead: 1})
	rows := func() (n int) {
		t.Helper()
		err := newPool(t, c.dsns[1]).QueryRow(ctx, "SELECT count(*) FROM "+schema+".strays").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	maintain := func(now time.Time) {
		t.Helper()
		for range 20 {
			next, err := s.Maintain(ctx, now)
			if err != nil {
				t.Fatal(err)
			}
			if next.IsZero() || next.After(now) {
				return
			}
		}
		t.Fatal("Maintain comes to no end")
	}
	one, two := msgs[0].ID, msgs[1].ID
	if err := s.Cancel(ctx, recall.CancelRequest{ID: one, Now: base}); err != nil {
		t.Fatal(err)
	}
	res, err := s.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{IDs: []recall.MessageID{two}}, Now: base})
	if err != nil || res.Cancelled != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	maintain(base)
	if n := rows(); n != 2501 {
		t.Errorf("%d rows, want all: the import may not be over", n)
	}
	now := base.Add(2 * time.Hour)
	maintain(now)
	if n := rows(); n != 2500 {
		t.Errorf("%d rows, want all but one", n)
	}
	if op, err := s.WhoCancelled(ctx, two); err != nil || op.ID != res.Operation {
		t.Errorf("WhoCancelled: %+v, %v", op, err)
	}
	if _, err := s.CancelMatching(ctx, recall.CancelMatchingRequest{All: true, Now: now}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.DeleteDeadMatching(ctx, recall.DeadMatchingRequest{Now: now}); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	now = now.Add(365 * 24 * time.Hour) // nobody knows of cancellations any more
	maintain(now)
	maintain(now.Add(2 * time.Hour))
	if n := rows(); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// importCutOnPrimaries: an import that one database has failed in is made again, and all
// is there once.
func importCutOnPrimaries(t *testing.T, c *cluster, schema string) {
	s := c.open(t, schema)
	const dead = 1
	var batch recall.Import
	for i := range 5 * shards {
		m := foreign(i, byte(i), queueIn(s, i%shards), "")
		if i%5 == 0 {
			batch.Dead = append(batch.Dead, recall.DeadLetter{Message: m, DiedAt: base})
			continue
		}
		batch.Messages = append(batch.Messages, m)
	}
	batch.Now = base
	batch.Mark.Bucket, batch.Mark.Key, batch.Mark.Value = "b", []byte("k"), []byte("v")
	imports(t, s, recall.Import{Messages: []recall.Message{foreign(9999, 0, "", "")}}, recall.Imported{Messages: 1})
	if _, err := newPool(t, c.dsns[dead]).Exec(t.Context(), `ALTER TABLE `+schema+`.payloads RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), batch); !errors.Is(err, recall.ErrFailed) {
		t.Fatalf("Import without a database: %v", err)
	}
	if v, err := s.Lookup(t.Context(), "b", []byte("k")); err != nil || v != nil {
		t.Errorf("the mark is there: %q, %v", v, err)
	}
	res, err := s.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 3})
	if err != nil || len(res.Leases) == 0 {
		t.Fatalf("nothing can be claimed: %v", err)
	}
	for _, l := range res.Leases { // and so must not come again
		if err := s.Finish(t.Context(), l, recall.Finish{Outcome: recall.Delivered, Now: base}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newPool(t, c.dsns[dead]).Exec(t.Context(), `ALTER TABLE `+schema+`.away RENAME TO payloads`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Import(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := s.Lookup(t.Context(), "b", []byte("k")); err != nil || string(v) != "v" {
		t.Errorf("the mark: %q, %v", v, err)
	}
	wantCount(t, s, recall.Filter{}, 1+len(batch.Messages)-len(res.Leases), 0)
	got, err := s.ListDead(t.Context(), recall.Filter{}, "", 1000)
	if err != nil || len(got) != len(batch.Dead) {
		t.Errorf("%d dead letters, %v, want %d", len(got), err, len(batch.Dead))
	}
	if !slices.IsSortedFunc(got, func(a, b recall.DeadLetter) int { return a.DiedAt.Compare(b.DiedAt) }) {
		t.Error("they are in no order")
	}
}
