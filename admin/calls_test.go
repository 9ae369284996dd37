package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// same checks that a client says what the broker says. It compares them as JSON: the
// times of both have the same offset, and not the same location.
func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if got, want := text(t, got), text(t, want); got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wireQueues is for queues, whose own JSON is that of their settings.
func wireQueues(list []recall.QueueInfo) (out []admin.Queue) {
	for _, q := range list {
		out = append(out, admin.WireQueue(q))
	}
	return out
}

func collect[T any](t *testing.T, items iter.Seq2[T, error]) (list []T) {
	t.Helper()
	for item, err := range items {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, item)
	}
	return list
}

func TestMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, b *recall.Broker, c *admin.Client) {
		ctx := t.Context()
		full := recall.Message{
			URL: "https://example.com/a", Method: "PUT", Header: http.Header{"X-One": {"1", "2"}}, Body: []byte("\x00<&>\xff"), Queue: "q",
			ScheduleID: "s", FlowKey: "f", Labels: []string{"x", "y"}, CallerIP: "192.0.2.1", Delay: time.Hour, Retries: recall.Retries(0),
			RetryDelay: "1000", Timeout: time.Minute, Priority: -3, Flow: &recall.FlowLimit{Rate: 3, Period: time.Minute},
			Callback: &recall.Callback{URL: "https://example.com/cb", Retries: recall.Retries(1)}, FailureCallback: &recall.Callback{URL: "https://example.com/fcb"},
			DeduplicationID: "once", Redact: &recall.Redaction{Header: []string{"X-Two"}},
		}
		if _, err := b.AddEndpoints(ctx, "t", recall.Endpoint{Name: "n", URL: "https://example.com/1"}, recall.Endpoint{URL: "https://example.com/2"}); err != nil {
			t.Fatal(err)
		}
		lists := must(c.Publish(ctx, full, recall.Message{Topic: "t", NotBefore: time.Now().Add(time.Minute)}))(t)
		if len(lists) != 2 || len(lists[0]) != 1 || len(lists[1]) != 2 || lists[1][0].Endpoint.Name != "n" {
			t.Fatalf("receipts: got %+v", lists)
		}
		again := must(c.Publish(ctx, full))(t)[0][0]
		if !again.Deduplicated || again.ID != lists[0][0].ID || !again.CreatedAt.Equal(lists[0][0].CreatedAt) {
			t.Errorf("duplicate: got %+v", again)
		}
		for _, list := range lists {
			for _, r := range list {
				same(t, "get", must(c.Get(ctx, r.ID))(t), must(b.Get(ctx, r.ID))(t))
			}
		}
		m := must(c.Get(ctx, lists[0][0].ID))(t)
		if string(m.Body) != string(full.Body) || *m.Retries != 0 || m.Timeout != full.Timeout || !reflect.DeepEqual(m.Header, full.Header) {
			t.Errorf("got %+v", m)
		}
		f := recall.Filter{Labels: []string{"x"}}
		same(t, "count", must(c.Count(ctx, f))(t), must(b.Count(ctx, f))(t))
		same(t, "explain", must(c.Explain(ctx, f))(t), must(b.Explain(ctx, f))(t))
		if plan := must(c.Explain(ctx, f))(t); len(plan.Candidates) < 2 || plan.Index != "label" {
			t.Errorf("explain: got %+v", plan)
		}
		// An empty list is not no list.
		if n := must(c.Count(ctx, recall.Filter{Labels: []string{}}))(t); n.Pending != 0 {
			t.Errorf("empty list: got %+v", n)
		}
		same(t, "stats", must(c.Stats(ctx))(t), b.Stats())
		if small := text(t, admin.Stats(b.Stats())); regexp.MustCompile(`"[A-Z]`).MatchString(small) || !strings.Contains(small, `"sum":`) {
			t.Errorf("stats: a name is not in small letters: %s", small)
		}
		if s := must(c.Stats(ctx))(t); s.Pending != 3 || s.Slots == 0 {
			t.Errorf("stats: got %+v", s)
		}
		var batch *recall.BatchError
		_, err := c.Publish(ctx, recall.Message{URL: "https://example.com"}, recall.Message{URL: "nonsense"})
		if !errors.As(err, &batch) || batch.Index != 1 {
			t.Errorf("batch: got %v", err)
		}
	})
}

// TestLists reads lists whole, in pages, and in part.
func TestLists(t *testing.T) {
	inBubble(t, func(t *testing.T, b *recall.Broker, c *admin.Client) {
		ctx := t.Context()
		const many = 700 // more than a page of the broker's
		messages := make([]recall.Message, many)
		for i := range messages {
			messages[i] = recall.Message{Labels: []string{"x"}, Body: []byte(strings.Repeat("b", 200))}
		}
		ids := publish(t, b, messages...)
		all := collect(t, c.List(ctx, recall.Filter{}, "", 0))
		if len(all) != many || all[0].ID != ids[0] || all[many-1].ID != ids[many-1] {
			t.Fatalf("got %d", len(all))
		}
		page := collect(t, c.List(ctx, recall.Filter{}, ids[9], 5))
		if len(page) != 5 || page[0].ID != ids[10] {
			t.Errorf("page: got %d from %s", len(page), page[0].ID)
		}
		if rest := collect(t, c.List(ctx, recall.Filter{}, ids[many-1], 5)); len(rest) != 0 {
			t.Errorf("behind the last: got %d", len(rest))
		}
		for range c.List(ctx, recall.Filter{}, "", 0) {
			break // the handler ends, or the bubble would complain
		}
		for _, bad := range []iter.Seq2[recall.Message, error]{
			c.List(ctx, recall.Filter{}, "nonsense", 0), c.List(ctx, recall.Filter{MinAttempts: -1}, "", 0), c.List(ctx, recall.Filter{}, "", -1),
		} {
			n := 0
			for _, err := range bad {
				if n++; !errors.Is(err, recall.ErrInvalid) {
					t.Errorf("got %v", err)
				}
			}
			if n != 1 {
				t.Errorf("got %d errors", n)
			}
		}
		// The context ends in the middle.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var last error
		for _, err := range c.List(ctx, recall.Filter{}, "", 0) {
			cancel()
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("cancelled: got %v", last)
		}
	})
}

// TestListsThatEndEarly: a list without its last line is not whole.
func TestListsThatEndEarly(t *testing.T) {
	for body, want := range map[string]error{
		"": io.ErrUnexpectedEOF, `{"item":{"id":"msg_x"}}` + "\n": io.ErrUnexpectedEOF, `{"item":{"id":"msg_x"}}{"it`: nil, "nonsense": nil,
		`{"item":{"id":"msg_x"}}{"error":{"error":"recall: closed","code":"closed"}}`: recall.ErrClosed,
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		var last error
		for _, err := range client(t, h, "").List(t.Context(), recall.Filter{}, "", 0) {
			last = err
		}
		if last == nil || want != nil && !errors.Is(last, want) {
			t.Errorf("%q: got %v", body, last)
		}
	}
}

func TestCancelAndRestore(t *testing.T) {
	inBubble(t, func(t *testing.T, b *recall.Broker, c *admin.Client) {
		ctx := t.Context()
		ids := publish(t, b, recall.Message{Labels: []string{"x"}}, recall.Message{Labels: []string{"x", "y"}}, recall.Message{})
		f := recall.Filter{Labels: []string{"x"}}
		dry := must(c.CancelMatching(ctx, f, admin.Bulk{DryRun: true}))(t)
		if dry.Cancelled != 2 || dry.Operation != "" {
			t.Errorf("dry run: got %+v", dry)
		}
		if r := must(c.CancelMatching(ctx, f, admin.Bulk{Limit: 1, Reason: "too early", Policy: "skip", ExpectAtMost: ptr(2)}))(t); r.Cancelled != 1 {
			t.Errorf("limit: got %+v", r)
		}
		o := must(c.WhoCancelled(ctx, ids[0]))(t)
		same(t, "who", o, must(b.WhoCancelled(ctx, ids[0]))(t))
		if o.Reason != "too early" || o.Policy != recall.Skip || !o.Undoable || o.Count != 1 {
			t.Errorf("who: got %+v", o)
		}
		same(t, "operation", must(c.Operation(ctx, o.ID))(t), o)
		r := must(c.CancelAll(ctx, admin.Bulk{Wait: time.Second}))(t)
		if r.Cancelled != 2 || r.Index != "time" {
			t.Errorf("all: got %+v", r)
		}
		same(t, "records", collect(t, c.Cancellations(ctx, "", 0)), collect(t, b.Cancellations(ctx)))
		if page := collect(t, c.Cancellations(ctx, o.ID, 1)); len(page) != 1 || page[0].ID != r.Operation {
			t.Errorf("page: got %+v", page)
		}
		if back := must(c.Restore(ctx, r.Operation))(t); back.Restored != 2 {
			t.Errorf("restore: got %+v", back)
		}
		time.Sleep(recall.DefaultUndoWindow)
		synctest.Wait()
		if _, err := c.Restore(ctx, o.ID); !errors.Is(err, recall.ErrUndoExpired) {
			t.Errorf("too late: got %v", err)
		}
		if err := c.Cancel(ctx, ids[2], admin.Bulk{}); err != nil {
			t.Error(err)
		}
		if err := c.Cancel(ctx, ids[2], admin.Bulk{Policy: "sticky"}); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("twice: got %v", err)
		}
	})
}

func TestChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, b *recall.Broker, c *admin.Client) {
		ctx := t.Context()
		id := publish(t, b, recall.Message{Labels: []string{"x"}})[0]
		f := recall.Filter{Labels: []string{"x"}}
		if r := must(c.Hold(ctx, f, admin.Bulk{Reason: "maintenance"}))(t); r.Changed != 1 || r.Operation == "" {
			t.Errorf("hold: got %+v", r)
		}
		if m := must(b.Get(ctx, id))(t); m.State != recall.StateHeld {
			t.Errorf("held: got %s", m.State)
		}
		if r := must(c.Release(ctx, f, admin.Bulk{}))(t); r.Changed != 1 {
			t.Errorf("release: got %+v", r)
		}
		due := time.Now().Add(48 * time.Hour)
		if r := must(c.Reschedule(ctx, f, due, admin.Bulk{ExpectExactly: ptr(1)}))(t); r.Changed != 1 {
			t.Errorf("reschedule: got %+v", r)
		}
		if m := must(b.Get(ctx, id))(t); m.DueAt.UnixMilli() != due.UnixMilli() {
			t.Errorf("due: got %s, want %s", m.DueAt, due)
		}
		if r := must(c.RetryNow(ctx, f, admin.Bulk{}))(t); r.Changed != 0 {
			t.Errorf("retry now: got %+v", r)
		}
		if _, err := c.Hold(ctx, f, admin.Bulk{Policy: "sticky"}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("sticky hold: got %v", err)
		}

		op := must(c.CancelFuture(ctx, recall.Filter{Queues: []string{"q"}}, time.Now().Add(time.Hour), "recalled"))(t)
		if r := must(c.Publish(ctx, recall.Message{Queue: "q"}))(t); r[0][0].CancelledBy != op {
			t.Errorf("arrival: got %+v", r)
		}
		for _, call := range []string{"cancellations", "standing"} {
			h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, Logger: quiet})
			if status, text := ask(t, h, "POST", call, "", `{"after":"nonsense"}`); status != 400 || !strings.Contains(text, "is not the id of an operation") {
				t.Errorf("%s: got %d %s", call, status, text)
			}
			if status, text := ask(t, h, "POST", call, "", `{"after":"op_00000000000000000000000001"}`); status != 200 || !strings.Contains(text, `"item"`) {
				t.Errorf("%s: got %d %s", call, status, text)
			}
		}
		same(t, "standing", must(c.StandingCancellations(ctx))(t), must(b.StandingCancellations(ctx))(t))
		if err := c.LiftCancellation(ctx, op); err != nil {
			t.Error(err)
		}
		if list := must(c.StandingCancellations(ctx))(t); len(list) != 1 || list[0].LiftedAt.IsZero() || list[0].Count != 1 || list[0].Reason != "recalled" {
			t.Errorf("lifted: got %+v", list)
		}
	})
}

func TestObjects(t *testing.T) {
	inBubble(t, func(t *testing.T, b *recall.Broker, c *admin.Client) {
		ctx := t.Context()
		check := func(errs ...error) {
			t.Helper()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		}
		check(c.UpdateQueue(ctx, "q", recall.QueueUpdate{Parallelism: 3, Paused: ptr(true)}), c.UpdateQueue(ctx, "r", recall.QueueUpdate{Parallelism: 1}))
		publish(t, b, recall.Message{Queue: "q"}, recall.Message{Queue: "q"})
		same(t, "queues", wireQueues(must(c.Queues(ctx))(t)), wireQueues(must(b.Queues(ctx))(t)))
		q := must(c.Queue(ctx, "q"))(t)
		if q.Parallelism != 3 || !q.Paused || q.Lag != 2 || q.CreatedAt.IsZero() {
			t.Errorf("queue: got %+v", q)
		}
		check(c.ResumeQueue(ctx, "q"), c.PauseQueue(ctx, "r"), c.DeleteQueue(ctx, "r"))
		if r := must(c.CancelQueue(ctx, "q", admin.Bulk{Reason: "gone"}))(t); r.Cancelled != 2 {
			t.Errorf("cancel queue: got %+v", r)
		}
		if list := must(c.Queues(ctx))(t); len(list) != 0 {
			t.Errorf("queues: got %+v", list)
		}

		topic := must(c.AddEndpoints(ctx, "t", recall.Endpoint{Name: "n", URL: "https://example.com/1"}, recall.Endpoint{URL: "https://example.com/2"}))(t)
		same(t, "topic", topic, must(b.Topic(ctx, "t"))(t))
		same(t, "topics", must(c.Topics(ctx))(t), must(b.Topics(ctx))(t))
		if topic = must(c.RemoveEndpoints(ctx, "t", recall.Endpoint{Name: "n"}))(t); len(topic.Endpoints) != 1 {
			t.Errorf("topic: got %+v", topic)
		}
		same(t, "topic", must(c.Topic(ctx, "t"))(t), topic)

		s := must(c.SetSchedule(ctx, recall.Schedule{ID: "s", Cron: "@daily", CatchUp: recall.CatchUpAll, Message: recall.Message{Topic: "t", Labels: []string{"x"}}}))(t)
		same(t, "schedule", s, must(b.Schedule(ctx, "s"))(t))
		if s.CatchUp != recall.CatchUpAll || s.Next.IsZero() || s.Message.Topic != "t" {
			t.Errorf("schedule: got %+v", s)
		}
		check(c.PauseSchedule(ctx, "s"))
		if list := must(c.Schedules(ctx))(t); len(list) != 1 || !list[0].Paused {
			t.Errorf("paused: got %+v", list)
		}
		check(c.ResumeSchedule(ctx, "s"))
		same(t, "schedules", must(c.Schedules(ctx))(t), must(b.Schedules(ctx))(t))
		check(c.DeleteSchedule(ctx, "s"), c.DeleteTopic(ctx, "t"))
		if _, err := c.Schedule(ctx, "s"); !errors.Is(err, recall.ErrNoSchedule) {
			t.Errorf("got %v", err)
		}
		if _, err := c.Topic(ctx, "t"); !errors.Is(err, recall.ErrNoTopic) {
			t.Errorf("got %v", err)
		}

		check(c.PinFlow(ctx, "k", recall.FlowLimit{Rate: 3, Period: time.Minute, Parallelism: 2}), c.UnpinFlow(ctx, "k", recall.FlowRate), c.PauseFlow(ctx, "k"))
		k := must(c.FlowKey(ctx, "k"))(t)
		same(t, "key", k, must(b.FlowKey(ctx, "k"))(t))
		if k.PinnedRate || !k.PinnedParallelism || !k.Paused || k.Limit.Period != time.Minute {
			t.Errorf("key: got %+v", k)
		}
		check(c.ResumeFlow(ctx, "k"), c.ResetFlow(ctx, "k"))
		same(t, "keys", must(c.FlowKeys(ctx))(t), must(b.FlowKeys(ctx))(t))
		if _, err := c.FlowKey(ctx, "nowhere"); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

// TestDeadLettersAndEvents lets messages die, and looks at what is left of them.
func TestDeadLettersAndEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := admin.InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
		b := open(t, recall.Options{Transport: refuse})
		c, ctx := admin.Local(b), t.Context()
		var ids []recall.MessageID
		for _, label := range []string{"x", "x", "y", "z"} {
			r := must(b.Publish(ctx, recall.Message{URL: "https://example.com/a", Labels: []string{label}, Body: []byte("hi"), Retries: recall.Retries(0)}))(t)
			ids = append(ids, r.ID)
			synctest.Wait()
		}
		list := collect(t, c.DeadLetters(ctx, recall.Filter{}, "", 0))
		same(t, "dead letters", list, collect(t, b.DeadLetters(ctx, recall.Filter{})))
		if len(list) != 4 || list[0].Message.ID != ids[0] || list[0].Response == nil || string(list[0].Response.Body) != "no\n" {
			t.Fatalf("got %+v", list)
		}
		if page := collect(t, c.DeadLetters(ctx, recall.Filter{}, list[1].ID, 1)); len(page) != 1 || page[0].ID != list[2].ID {
			t.Errorf("page: got %+v", page)
		}
		same(t, "dead letter", must(c.DeadLetter(ctx, list[0].ID))(t), list[0])
		x := recall.Filter{Labels: []string{"x"}}
		if n := must(c.CountDeadLetters(ctx, x))(t); n != 2 {
			t.Errorf("count: got %d", n)
		}
		if n := must(c.DeleteDeadMatching(ctx, x, false, admin.Bulk{Limit: 1, ExpectAtMost: ptr(2)}))(t); n != 1 {
			t.Errorf("delete: got %d", n)
		}
		if n := must(c.RetryDeadMatching(ctx, x, false, admin.Bulk{ExpectExactly: ptr(1)}))(t); n != 1 {
			t.Errorf("retry: got %d", n)
		}
		synctest.Wait()
		if n := must(c.RetryDeadLetters(ctx, list[2].ID))(t) + must(c.DeleteDeadLetters(ctx, list[3].ID, "1-999"))(t); n != 2 {
			t.Errorf("by id: got %d", n)
		}
		synctest.Wait()
		for _, f := range []func() (int, error){
			func() (int, error) { return c.DeleteDeadMatching(ctx, recall.Filter{}, false, admin.Bulk{}) },
			func() (int, error) { return c.DeleteDeadLetters(ctx) },
		} {
			if _, err := f(); !errors.Is(err, recall.ErrEmptyFilter) || !strings.Contains(err.Error(), "neither ids nor a filter, nor all") {
				t.Errorf("no filter: got %v", err)
			}
		}
		if _, err := c.DeleteDeadMatching(ctx, x, true, admin.Bulk{}); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("filter and all: got %v", err)
		}
		for name, f := range map[string]func(context.Context, recall.Filter, bool, admin.Bulk) (int, error){
			"delete": c.DeleteDeadMatching, "retry": c.RetryDeadMatching,
		} {
			var refused *recall.UnexpectedCountError
			if n, err := f(ctx, recall.Filter{}, true, admin.Bulk{ExpectExactly: ptr(1)}); n != 0 || !errors.As(err, &refused) || refused.Found != 2 {
				t.Errorf("%s with another number: got %d, %v", name, n, err)
			}
			if n, err := f(ctx, recall.Filter{}, true, admin.Bulk{Policy: "skip"}); n != 0 || !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%s with a policy: got %d, %v", name, n, err)
			}
		}
		if n := must(c.DeleteDeadMatching(ctx, recall.Filter{}, true, admin.Bulk{}))(t); n != 2 {
			t.Errorf("all: got %d", n)
		}

		f := recall.EventFilter{Filter: x, OldestFirst: true}
		same(t, "events", collect(t, c.Events(ctx, f, "", 0)), collect(t, b.Events(ctx, f)))
		first := collect(t, c.Events(ctx, f, "", 2))
		if len(first) != 2 || first[0].State != recall.EventCreated {
			t.Fatalf("events: got %+v", first)
		}
		if next := collect(t, c.Events(ctx, f, first[1].ID, 1)); len(next) != 1 || next[0].ID == first[1].ID {
			t.Errorf("next: got %+v", next)
		}
		same(t, "events of a message", must(c.MessageEvents(ctx, ids[0]))(t), must(b.MessageEvents(ctx, ids[0]))(t))
		if _, err := c.MessageEvents(ctx, "nonsense"); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	})
}
