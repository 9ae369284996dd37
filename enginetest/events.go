package enginetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// events returns all events that match f, read in pages of so many.
func (x *fixture) events(f recall.EventFilter, limit int) (all []recall.Event) {
	x.Helper()
	log := can[recall.EventLog](x)
	for after := recall.EventID(""); ; {
		page, err := log.Events(x.ctx, f, after, limit)
		x.check(err, "Events")
		if len(page.Events) > limit {
			x.Fatalf("Events: %d on a page of %d", len(page.Events), limit)
		}
		all = append(all, page.Events...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// ofMessage is the filter for what has happened to one message.
func ofMessage(id recall.MessageID) recall.EventFilter {
	return recall.EventFilter{Filter: byID(id), OldestFirst: true}
}

// story is what has happened to a message, in one line.
func (x *fixture) story(id recall.MessageID) string {
	x.Helper()
	return tell(x.events(ofMessage(id), 2))
}

func tell(events []recall.Event) string {
	var words []string
	for _, ev := range events {
		word := string(ev.State)
		if ev.Attempt != 0 {
			word += fmt.Sprint(" ", ev.Attempt)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func (x *fixture) wantStory(id recall.MessageID, want string) {
	x.Helper()
	if got := x.story(id); got != want {
		x.Fatalf("events of %s:\ngot  %s\nwant %s", id, got, want)
	}
}

// wantEvents compares the events that f finds with those of messages, in both
// orders and for every size of page.
func (x *fixture) wantEvents(f recall.EventFilter, want ...recall.MessageID) {
	x.Helper()
	for _, limit := range []int{1, 3, 1000} {
		f.OldestFirst = true
		up := x.events(f, limit)
		f.OldestFirst = false
		down := x.events(f, limit)
		slices.Reverse(down)
		var got, back []recall.MessageID
		for _, ev := range up {
			got = append(got, ev.Message)
		}
		for _, ev := range down {
			back = append(back, ev.Message)
		}
		if !slices.Equal(got, want) || !slices.Equal(back, want) {
			x.Fatalf("events of %+v, %d at a time: got %d and, newest first, %d; want %d", f, limit, len(got), len(back), len(want))
		}
	}
}

var eventTests = slices.Concat(
	[]contractTest{
		{"the log tells the life of a message", func(x *fixture) {
			m := x.message(queue("q"), label("a", "b"), url("https://api.test/p?x=1"))
			m.Topic, m.ScheduleID, m.CallerIP, m.FlowKey = "t", "s", "10.0.0.1", "f"
			id := x.insert(m)[0]
			x.advance(time.Second)
			claimed := x.now
			l := x.claimOne(id)
			x.advance(time.Second)
			f := x.ending(recall.Retry)
			f.Reason, f.Response = strings.Repeat("x", 300), &recall.HTTPResponse{Status: 503}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			failed := x.now
			x.advance(time.Hour)
			l = x.claimOne(id)
			f = x.ending(recall.Delivered)
			f.Response = &recall.HTTPResponse{Status: 201}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			x.wantStory(id, "created, active 1, error 1, retry 1, active 2, delivered 2")
			all := x.events(ofMessage(id), 100)
			for i, at := range []time.Time{base, claimed, failed, failed, x.now, x.now} {
				ev := all[i]
				if !ev.At.Equal(at) || ev.Message != id || ev.URL != m.URL || ev.Queue != "q" || ev.Topic != "t" || ev.ScheduleID != "s" ||
					ev.CallerIP != "10.0.0.1" || ev.FlowKey != "f" || !slices.Equal(ev.Labels, m.Labels) || ev.ID == "" {
					x.Errorf("event %d: %+v", i, ev)
				}
			}
			if e := all[2]; e.Status != 503 || e.Reason != strings.Repeat("x", 256) {
				x.Errorf("error: %+v", e)
			}
			if e := all[3]; !e.Due.Equal(failed.Add(time.Minute)) {
				x.Errorf("retry: %+v", e)
			}
			if e := all[5]; e.Status != 201 || !e.Due.IsZero() || e.Reason != "" {
				x.Errorf("delivered: %+v", e)
			}
		}},
		{"the log tells of the end without retries", func(x *fixture) {
			d := x.kill(label("dead"))
			x.wantStory(d.Message.ID, "created, active 1, error 1, failed 1")
			receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{d.ID}, x.now)
			x.check(err, "RetryDead")
			x.wantStory(receipts[0].ID, "created")
		}},
		{"an attempt is in the log while it runs", func(x *fixture) {
			id := x.publish()
			x.claimOne(id)
			x.settle()
			x.wantStory(id, "created, active 1")
		}},
		{"an attempt is in the log once, and before what follows", func(x *fixture) {
			id := x.publish()
			l := x.claimOne(id)
			x.publish(due(far)) // a commit
			f := x.ending(recall.Retry)
			f.Due, f.Durable = x.now, false
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			x.finish(x.claimOne(id), recall.Dead)
			x.wantStory(id, "created, active 1, error 1, retry 1, active 2, error 2, failed 2")
		}},
		{"an attempt that was given back has no outcome", func(x *fixture) {
			id := x.publish()
			l := x.claimOne(id)
			x.settle()
			x.finish(l, recall.Release)
			x.finish(x.claimOne(id), recall.Delivered)
			x.wantStory(id, "created, active 1, active 1, delivered 1")
		}},
		{"the log tells of single cancellations", func(x *fixture) {
			id := x.publish(due(far))
			x.check(x.cancel(id), "Cancel")
			x.wantStory(id, "created, cancelled")
			id = x.publish()
			l := x.claimOne(id)
			x.settle()
			x.cancelSticky(id)
			x.wantStory(id, "created, active 1, cancel requested 1")
			if all := x.events(ofMessage(id), 10); all[2].Operation == "" {
				x.Errorf("the request names no operation: %+v", all[2])
			}
			x.finish(l, recall.Retry)
			x.wantStory(id, "created, active 1, cancel requested 1, error 1, cancelled 1")
			x.wantError(x.cancel(id), recall.ErrNotFound, "Cancel again")
			x.wantStory(id, "created, active 1, cancel requested 1, error 1, cancelled 1")
		}},
		{"a bulk cancellation is one event", func(x *fixture) {
			ids := x.publishMany(5, label("a"), due(far))
			res := x.cancelMatching(byLabel("a"), 5)
			for _, id := range ids {
				x.wantStory(id, "created")
			}
			cancelled := recall.EventFilter{States: []recall.EventState{recall.EventCancelled}}
			x.wantEvents(cancelled, "")
			if ev := x.events(cancelled, 1)[0]; ev.Operation != res.Operation || ev.Count != 5 || ev.Requested != 0 || !ev.At.Equal(x.now) {
				x.Errorf("got %+v", ev)
			}
			cancelled.Filter = byLabel("a")
			x.wantEvents(cancelled)
			x.cancelMatching(byLabel("a"), 0)
			x.wantEvents(recall.EventFilter{States: cancelled.States}, "")
		}},
		{"the log tells what a standing cancellation has taken", func(x *fixture) {
			s := can[recall.Stander](x)
			op, err := s.CancelFuture(x.ctx, byLabel("a"), x.now.Add(time.Hour), "", x.now)
			x.check(err, "CancelFuture")
			id := x.publish(label("a"))
			x.wantStory(id, "created, cancelled")
			if all := x.events(ofMessage(id), 10); all[1].Operation != op {
				x.Errorf("got %+v, want operation %s", all[1], op)
			}
			id = x.publish()
			l := x.claimOne(id)
			_, err = s.CancelFuture(x.ctx, byID(id), x.now.Add(time.Hour), "", x.now)
			x.check(err, "CancelFuture")
			x.finish(l, recall.Retry)
			x.wantStory(id, "created, active 1, error 1, retry 1, cancelled 1")
		}},
		{"what follows an outcome is in the log", func(x *fixture) {
			l := x.claimOne(x.publish())
			f := x.ending(recall.Delivered)
			f.Follow = []recall.Message{x.message(label("follow"))}
			x.check(x.e.Finish(x.ctx, l, f), "Finish")
			x.wantEvents(recall.EventFilter{Filter: byLabel("follow")}, x.list(byLabel("follow"))...)
		}},
		{"events are found by what their message had", func(x *fixture) {
			var ids []recall.MessageID
			for i := range 20 {
				m := x.message(label(fmt.Sprint("l", i%3)), queue(fmt.Sprint("q", i%2)), due(far))
				m.URL = fmt.Sprintf("https://h%d.test/p%d", i%2, i%5)
				m.CallerIP = fmt.Sprint("10.0.0.", i)
				ids = append(ids, x.insert(m)...)
				x.advance(time.Minute)
			}
			some := func(keep func(i int) bool) (out []recall.MessageID) {
				for i, id := range ids {
					if keep(i) {
						out = append(out, id)
					}
				}
				return out
			}
			x.wantEvents(recall.EventFilter{}, ids...)
			x.wantEvents(recall.EventFilter{Filter: byLabel("l1")}, some(func(i int) bool { return i%3 == 1 })...)
			x.wantEvents(recall.EventFilter{Filter: recall.Filter{Hosts: []string{"h1.test"}, Paths: []string{"/p2"}}},
				some(func(i int) bool { return i%2 == 1 && i%5 == 2 })...)
			x.wantEvents(recall.EventFilter{Filter: recall.Filter{CallerIPs: []string{"10.0.0.0/30"}}}, ids[:4]...)
			x.wantEvents(recall.EventFilter{Filter: byID(ids[3], ids[11])}, ids[3], ids[11])
			x.wantEvents(recall.EventFilter{Filter: recall.Filter{IDs: []recall.MessageID{}}})
			x.wantEvents(recall.EventFilter{States: []recall.EventState{}})
			at := func(i int) time.Time { return base.Add(time.Duration(i) * time.Minute) }
			x.wantEvents(recall.EventFilter{From: at(5), To: at(9)}, ids[5:10]...)
			x.wantEvents(recall.EventFilter{From: at(15), Filter: recall.Filter{To: at(16)}}, ids[15:17]...)
			x.wantEvents(recall.EventFilter{To: at(-1)})
			x.check(x.cancel(ids[2]), "Cancel")
			x.wantEvents(recall.EventFilter{States: []recall.EventState{recall.EventCancelled}, Filter: recall.Filter{Queues: []string{"q0"}}}, ids[2])
			x.wantEvents(recall.EventFilter{From: at(20)}, ids[2])
		}},
		{"a cursor stays where it is", func(x *fixture) {
			ids := x.publishMany(10, due(far))
			log := can[recall.EventLog](x)
			page, err := log.Events(x.ctx, recall.EventFilter{}, "", 4)
			x.check(err, "Events")
			x.publishMany(10, due(far))
			rest, err := log.Events(x.ctx, recall.EventFilter{}, page.Next, 100)
			x.check(err, "Events")
			if len(rest.Events) != 6 || rest.Events[0].Message != ids[5] || rest.Next != "" {
				x.Errorf("behind %s: %d events, next %q", page.Next, len(rest.Events), rest.Next)
			}
			newer, err := log.Events(x.ctx, recall.EventFilter{OldestFirst: true}, page.Events[0].ID, 100)
			x.check(err, "Events")
			if len(newer.Events) != 10 {
				x.Errorf("after %s: %d events, want 10", page.Events[0].ID, len(newer.Events))
			}
		}},
		{"the order of the log stays when the clock goes back", func(x *fixture) {
			ids := x.publishMany(3, due(far))
			x.now = x.now.Add(-time.Hour)
			ids = append(ids, x.publishMany(3, due(far))...)
			x.wantEvents(recall.EventFilter{}, ids...)
			x.wantEvents(recall.EventFilter{To: x.now}, ids[3:]...)
			x.wantEvents(recall.EventFilter{From: base}, ids[:3]...)
			x.wantStory(ids[4], "created")
		}},
		{"what was refused is not in the log", func(x *fixture) {
			id := x.publish()
			l := x.claimOne(id)
			x.finish(l, recall.Delivered)
			n := len(x.events(recall.EventFilter{}, 100))
			x.wantLeaseLost(l)
			x.wantError(x.cancel(id), recall.ErrNotFound, "Cancel")
			if _, err := x.e.Insert(doneContext(), []recall.Message{x.message()}, x.now); err == nil {
				x.Error("Insert with a context that is done")
			}
			if got := len(x.events(recall.EventFilter{}, 100)); got != n || x.e.Stats().Events != n {
				x.Errorf("%d events became %d, and %d in Stats", n, got, x.e.Stats().Events)
			}
		}},
	},
	restart("the log is there after a restart", func(x *fixture, reopen func()) {
		id := x.publish(label("a"))
		x.finish(x.claimOne(id), recall.Dead)
		ids := x.publishMany(x.many(300), label("b"), due(far))
		reopen()
		x.wantStory(id, "created, active 1, error 1, failed 1")
		x.wantEvents(recall.EventFilter{Filter: byLabel("b")}, ids...)
		more := x.publish(label("b"), due(far))
		x.check(x.cancel(more), "Cancel")
		reopen()
		x.wantEvents(recall.EventFilter{Filter: byLabel("b")}, append(ids, more, more)...)
	}),
	restart("a restart ends what was to be cancelled, and says so", func(x *fixture, reopen func()) {
		id := x.publish()
		x.claimOne(id)
		x.settle()
		x.cancelSticky(id)
		reopen()
		if n := x.e.Stats().Cancelled; n != 0 {
			x.Errorf("Stats: got %d cancelled since the start, want 0", n)
		}
		if got := x.story(id); !strings.HasPrefix(got, "created, active 1, cancel requested 1, cancelled") {
			x.Errorf("got %s", got)
		}
	}),
)
