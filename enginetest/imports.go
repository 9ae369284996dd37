package enginetest

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
)

// foreign is the n-th message of another engine, published an hour before the test.
func (x *fixture) foreign(n int, set ...func(*recall.Message)) recall.Message {
	m := x.message(set...)
	m.CreatedAt = base.Add(-time.Hour + time.Duration(n)*time.Millisecond)
	var id ulid.ULID
	_ = id.SetTime(uint64(m.CreatedAt.UnixMilli())) // fails only after the year 10889
	spread := uint64(uint8(n * 37))                 // low bits of a counter, or what another engine has there
	binary.BigEndian.PutUint64(id[8:], uint64(n)<<40|spread<<32|0xABCD)
	m.ID = recall.MessageID("msg_" + id.String())
	return m
}

// foreigners are n of them.
func (x *fixture) foreigners(n int, set ...func(*recall.Message)) (list []recall.Message) {
	for i := range n {
		list = append(list, x.foreign(i, set...))
	}
	return list
}

// imports stores a batch and checks what that has stored.
func (x *fixture) imports(batch recall.Import, want recall.Imported) {
	x.Helper()
	batch.Now = x.now
	got, err := can[recall.Importer](x).Import(x.ctx, batch)
	x.check(err, "Import")
	if got != want {
		x.Fatalf("Import: got %+v, want %+v", got, want)
	}
}

// imported stores messages and returns their ids.
func (x *fixture) imported(msgs ...recall.Message) []recall.MessageID {
	x.Helper()
	x.imports(recall.Import{Messages: msgs}, recall.Imported{Messages: len(msgs)})
	return messageIDs(msgs)
}

var importTests = slices.Concat([]contractTest{
	{"an imported message keeps its id and all that it has", func(x *fixture) {
		var ids []recall.MessageID
		for i, where := range []func(*recall.Message){queue("q"), flow("k", &recall.FlowLimit{Parallelism: 7})} {
			m := x.foreign(i, where, label("a", "b"), url("https://api.test/p?x=1"), due(at(60)))
			m.Body, m.Topic, m.CallerIP, m.Attempts, m.Priority = []byte("body"), "topic", "10.0.0.1", 2, 3
			m.Header = map[string][]string{"X-A": {"1", "2"}}
			id := x.imported(m)[0]
			wantWhole(x, x.get(id), m)
			if got := x.get(id).Attempts; got != 2 {
				x.Errorf("got %d attempts, want 2", got)
			}
			x.wantList(byID(id, unknownID), id)
			ids = append(ids, id)
		}
		x.wantList(byID(ids...), ids...)
		x.wantList(recall.Filter{To: base.Add(-time.Minute)}, ids...)
		x.wantList(recall.Filter{From: base.Add(-time.Minute)})
		x.wantCount(recall.Filter{MinAttempts: 2}, 2, 0)
	}},
	{"imported messages are walked in order, before what is published later", func(x *fixture) {
		before := x.imported(x.foreigners(100, label("x"))...)
		ids := append(before, x.publishMany(10, label("x"))...)
		x.wantList(byLabel("x"), ids...)
		page, err := x.e.List(x.ctx, byLabel("x"), before[49], 20, x.now)
		x.check(err, "List")
		if got := messageIDs(page); !slices.Equal(got, ids[50:70]) {
			x.Errorf("behind %s: got %q", before[49], got)
		}
	}},
	{"a message that is there is passed over", func(x *fixture) {
		msgs := x.foreigners(10, label("x"))
		x.imported(msgs[:5]...)
		x.imports(recall.Import{Messages: msgs}, recall.Imported{Messages: 5})
		x.imports(recall.Import{Messages: slices.Concat(msgs, msgs)}, recall.Imported{})
		x.imports(recall.Import{Messages: []recall.Message{x.foreign(10), x.foreign(10)}}, recall.Imported{Messages: 1})
		x.wantCount(byLabel("x"), 10, 0)
	}},
	{"an imported message is claimed, retried and delivered under its id", func(x *fixture) {
		for i, where := range []func(*recall.Message){label("x"), queue("q"), flow("k", nil)} {
			id := x.imported(x.foreign(i, where))[0]
			l := x.claimOne(id)
			if l.Message.ID != id || l.Message.Attempts != 1 {
				x.Fatalf("got %s with %d attempts", l.Message.ID, l.Message.Attempts)
			}
			x.end(l, recall.Retry)
			x.advance(time.Hour)
			l = x.claimOne(id)
			x.end(l, recall.Delivered)
			x.wantGone(id)
			x.wantError(x.e.Finish(x.ctx, l, x.ending(recall.Delivered)), recall.ErrLeaseLost, "Finish")
		}
	}},
	{"an imported message is cancelled by its id", func(x *fixture) {
		ids := x.imported(x.foreigners(3, queue("q"))...)
		x.check(x.e.Cancel(x.ctx, recall.CancelRequest{ID: ids[1], Now: x.now}), "Cancel")
		x.wantGone(ids[1])
		x.wantError(x.e.Cancel(x.ctx, recall.CancelRequest{ID: ids[1], Now: x.now}), recall.ErrNotFound, "Cancel")
		x.wantList(recall.Filter{}, ids[0], ids[2])
	}},
	{"a blocker that was imported is named", func(x *fixture) {
		later := due(at(60))
		ids := x.imported(x.foreign(0, label("x"), queue("q")), x.foreign(1, label("x"), later), x.foreign(2, label("x"), later))
		x.claimOne(ids[0])
		_, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byLabel("x")})
		var blocked *recall.NotCancellableError
		if !errors.As(err, &blocked) || blocked.ID != ids[0] {
			x.Fatalf("got %v, want %s as the blocker", err, ids[0])
		}
	}},
	{"a cancellation of imported messages is undone, and known", func(x *fixture) {
		msgs := x.foreigners(20, label("x"))
		for i := range msgs {
			if i%3 == 0 {
				msgs[i].Queue = "q"
			}
		}
		ids := x.imported(msgs...)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byID(ids[3:15]...)})
		x.check(err, "CancelMatching")
		if res.Cancelled != 12 {
			x.Fatalf("got %+v", res)
		}
		x.wantTaker(res.Operation, ids[3:15]...)
		x.wantGone(ids[3:15]...)
		x.imports(recall.Import{Messages: x.foreigners(20)}, recall.Imported{}) // what can come back is there
		x.wantRestored(res.Operation, 12, 0)
		x.wantList(byLabel("x"), ids...)
	}},
	{"a held message stays held", func(x *fixture) {
		m := x.foreign(1, label("x"))
		m.State = recall.StateHeld
		id := x.imported(m, x.foreign(2))[0]
		x.wantState(id, recall.StateHeld)
		x.claimOne(x.foreign(2).ID)
		x.release(byLabel("x"), 1)
		x.claimOne(id)
	}},
	{"a queue keeps its order", func(x *fixture) {
		ids := x.imported(x.foreigners(3, queue("q"))...)
		last := x.publish(queue("q"))
		for _, id := range append(ids, last) {
			x.end(x.claimOne(id), recall.Delivered)
		}
		queues, err := can[recall.Keeper](x).Objects(x.ctx, recall.ObjectQueue)
		if x.check(err, "Objects"); len(queues) != 1 || queues[0].Name != "q" {
			x.Errorf("got %v, want the queue", queues)
		}
	}},
	{"a queue waits for a callback that was imported", func(x *fixture) {
		call := x.foreign(2, label("callback"))
		call.Blocks, call.Source = "q", x.foreign(0).ID
		ids := x.imported(x.foreign(1, queue("q")), call)
		x.wantState(ids[0], recall.StateQueueBlocked)
		x.end(x.claimOne(ids[1]), recall.Delivered)
		x.claimOne(ids[0])
	}},
	{"dead letters are imported with the ids of their messages", func(x *fixture) {
		d := recall.DeadLetter{
			Message: x.foreign(1, label("x"), queue("q")), DiedAt: base.Add(-time.Minute), Attempts: 4, Reason: "no",
			Response: &recall.HTTPResponse{Status: 503, Header: map[string][]string{"X-A": {"1"}}, Body: []byte("later")},
		}
		x.imports(recall.Import{Dead: []recall.DeadLetter{d}}, recall.Imported{Dead: 1})
		got, err := x.e.ListDead(x.ctx, byID(d.Message.ID), "", 10)
		x.check(err, "ListDead")
		if len(got) != 1 {
			x.Fatalf("got %d dead letters", len(got))
		}
		wantWhole(x, got[0].Message, d.Message)
		if g := got[0]; g.Attempts != 4 || g.Reason != "no" || !g.DiedAt.Equal(d.DiedAt) || g.Response == nil || g.Response.Status != 503 || string(g.Response.Body) != "later" {
			x.Errorf("got %+v", g)
		}
		receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{got[0].ID}, x.now)
		x.check(err, "RetryDead")
		x.claimOne(receipts[0].ID)
	}},
	{"an imported message dies under its id", func(x *fixture) {
		id := x.imported(x.foreign(0, queue("q")))[0]
		x.end(x.claimOne(id), recall.Dead)
		got, err := x.e.ListDead(x.ctx, byID(id), "", 10)
		x.check(err, "ListDead")
		if len(got) != 1 || got[0].Message.ID != id {
			x.Fatalf("got %v", got)
		}
	}},
	{"objects are imported, and those that are there stay", func(x *fixture) {
		one := recall.Object{Kind: recall.ObjectQueue, Name: "q", Value: asJSON(recall.QueueSettings{Parallelism: 2})}
		two := recall.Object{Kind: recall.ObjectQueue, Name: "q", Value: asJSON(recall.QueueSettings{Parallelism: 9})}
		topic := recall.Object{Kind: recall.ObjectTopic, Name: "t", Value: []byte(`{}`)}
		x.imports(recall.Import{Objects: []recall.Object{one}, Messages: x.foreigners(3, queue("q"))}, recall.Imported{Objects: 1, Messages: 3})
		x.imports(recall.Import{Objects: []recall.Object{two, topic}}, recall.Imported{Objects: 1})
		res, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 10})
		x.check(err, "Claim")
		if len(res.Leases) != 2 {
			x.Errorf("got %d claims, want as many as the queue lets out", len(res.Leases))
		}
		x.wantObjects(recall.ObjectTopic, "t={}")
	}},
	{"the mark of a batch is durable with it", func(x *fixture) {
		batch := recall.Import{Messages: x.foreigners(2)}
		batch.Mark.Bucket, batch.Mark.Key, batch.Mark.Value = "b", []byte("k"), []byte("v")
		x.imports(batch, recall.Imported{Messages: 2})
		got, err := can[recall.Transactor](x).Lookup(x.ctx, "b", []byte("k"))
		if x.check(err, "Lookup"); string(got) != "v" {
			x.Errorf("got %q", got)
		}
	}},
	{"a transaction cancels what was imported", func(x *fixture) {
		ids := x.imported(x.foreign(1, queue("q")), x.foreign(2))
		update := func(fn func(tx recall.EngineTx) error) {
			x.Helper()
			x.check(can[recall.Transactor](x).Update(x.ctx, fn), "Update")
		}
		update(func(tx recall.EngineTx) error { return tx.Cancel(recall.CancelRequest{ID: ids[0], Now: x.now}) })
		x.wantGone(ids[0])
		update(func(tx recall.EngineTx) error {
			x.wantError(tx.Cancel(recall.CancelRequest{ID: ids[0], Now: x.now}), recall.ErrNotFound, "Cancel")
			return nil
		})
		update(func(tx recall.EngineTx) error {
			res, err := tx.CancelMatching(recall.CancelMatchingRequest{Filter: byID(ids[1]), Now: x.now})
			if err == nil && res.Cancelled != 1 {
				x.Errorf("got %+v", res)
			}
			return err
		})
		x.wantList(recall.Filter{})
	}},
	{"what no engine has had is refused whole", func(x *fixture) {
		for what, spoil := range map[string]func(*recall.Message){
			"an id":         func(m *recall.Message) { m.ID = "1" },
			"an id to come": func(m *recall.Message) { m.ID = "msg_7ZZZZZZZZZZZZZZZZZZZZZZZZZ" },
			"a destination": func(m *recall.Message) { m.URL = "ftp://x" },
			"a label":       func(m *recall.Message) { m.Labels = []string{""} },
			"attempts":      func(m *recall.Message) { m.Attempts = -1 },
			"retries":       func(m *recall.Message) { m.Retries = nil },
			"no time":       func(m *recall.Message) { m.DueAt = time.Time{} },
			"a source":      func(m *recall.Message) { m.Source = "x" },
		} {
			bad := x.foreign(1)
			spoil(&bad)
			_, err := can[recall.Importer](x).Import(x.ctx, recall.Import{Messages: []recall.Message{x.foreign(0), bad}, Now: x.now})
			if !errors.Is(err, recall.ErrInvalid) {
				x.Errorf("%s: got %v, want ErrInvalid", what, err)
			}
		}
		x.wantList(recall.Filter{})
	}},
	{"a standing cancellation takes nothing that is imported", func(x *fixture) {
		x.cancelFuture(byLabel("x"), at(3600))
		id := x.imported(x.foreign(0, label("x")))[0]
		x.wantList(byLabel("x"), id)
	}},
},
	restart("imported messages survive whole", func(x *fixture, reopen func()) {
		held := x.foreign(3, label("x"))
		held.State = recall.StateHeld
		tried := x.foreign(4, label("x"), due(at(60)))
		tried.Attempts = 2
		msgs := append(x.foreigners(3, label("x"), queue("q")), held, tried)
		ids := x.imported(msgs...)
		late := x.publish(label("x"))
		for range 2 {
			reopen()
			x.wantList(byLabel("x"), append(slices.Clone(ids), late)...)
			for i, id := range ids {
				wantWhole(x, x.get(id), msgs[i])
			}
			x.wantState(ids[3], recall.StateHeld)
			if got := x.get(ids[4]).Attempts; got != 2 {
				x.Errorf("got %d attempts, want 2", got)
			}
			x.imports(recall.Import{Messages: msgs}, recall.Imported{})
		}
		x.check(x.e.Cancel(x.ctx, recall.CancelRequest{ID: late, Now: x.now}), "Cancel")
		x.end(x.claimOne(ids[0]), recall.Delivered)
		reopen()
		x.wantGone(ids[0])
		x.wantList(byID(ids...), ids[1:]...)
		res, err := x.bulkOf(recall.CancelMatchingRequest{Filter: byID(ids[1:]...)})
		x.check(err, "CancelMatching")
		reopen()
		x.wantTaker(res.Operation, ids[1:]...)
		x.wantRestored(res.Operation, 4, 0)
		x.wantList(byID(ids...), ids[1:]...)
	}),
)
