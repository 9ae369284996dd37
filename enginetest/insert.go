package enginetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

var insertTests = []contractTest{
	{"receipts are in order and ids sort that way", func(x *fixture) {
		var all []recall.MessageID
		for i := range 5 {
			all = append(all, x.publishMany(i*3+1)...)
			x.advance(time.Duration(i) * time.Millisecond)
		}
		if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
			x.Fatalf("ids are not ascending: %v", all)
		}
		for _, id := range all {
			if _, err := recall.ParseMessageID(string(id)); err != nil {
				x.Fatalf("%s: %v", id, err)
			}
		}
		x.wantList(recall.Filter{}, all...)
	}},
	{"what is stored comes back whole", func(x *fixture) {
		m := x.message(queue("q"), label("a", "b"), url("https://user@API.test:8443/p%20q?x=1"))
		m.Topic, m.ScheduleID, m.FlowKey, m.CallerIP = "topic", "schedule", "flow", "2001:db8::1"
		m.Method, m.Timeout, m.Retries = "PUT", 1500*time.Millisecond, recall.Retries(0)
		m.RetryDelay = "1000 * retried"
		m.Priority, m.Endpoint, m.Blocks = -9, "endpoint", "q2"
		m.Source, m.Root = "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", "msg_01ARZ3NDEKTSV4RRFFQ69G5FAW"
		m.Flow = &recall.FlowLimit{Rate: 3, Period: time.Minute, Parallelism: 2}
		m.Redact = &recall.Redaction{Body: true, Header: []string{"X-One"}}
		m.FailureCallback = &recall.Callback{URL: "https://c.test/f"}
		m.Callback = &recall.Callback{
			URL: "https://c.test", Method: "PUT", Header: http.Header{"A": {"1"}}, Retries: recall.Retries(0),
			RetryDelay: "1", Timeout: time.Second, Delay: time.Minute, FailureCallback: m.FailureCallback,
		}
		m.Header = http.Header{"X-One": {"1"}, "X-Two": {"a", "", "b"}}
		m.Body = []byte("\x00\xff body")
		m.DueAt = x.now.Add(90 * time.Minute)
		id := x.insert(m)[0]
		wantWhole(x, x.get(id), m)
		if got := x.get(id); got.State != recall.StateDelayed || got.Attempts != 0 || got.ID != id {
			x.Errorf("Get: got id %s, state %q, %d attempts", got.ID, got.State, got.Attempts)
		}
		x.now = m.DueAt
		wantWhole(x, x.claimOne(id).Message, m)
	}},
	{"a body may be empty, or large", func(x *fixture) {
		for _, n := range []int{0, 1, 4095, 4096, 70_000, 1 << 20} {
			m := x.message()
			m.Body = []byte(strings.Repeat("0123456789abcdef", n/16+1))[:n]
			if got := x.get(x.insert(m)[0]).Body; string(got) != string(m.Body) {
				x.Errorf("body of %d bytes: got %d bytes back", n, len(got))
			}
		}
	}},
	{"the caller may reuse its memory", func(x *fixture) {
		m := x.message(label("a"))
		m.Body, m.Header = []byte("body"), http.Header{"X": {"1"}}
		id := x.insert(m)[0]
		m.Body[0], m.Labels[0] = 'X', "changed"
		m.Header.Set("X", "2")
		got := x.get(id)
		if string(got.Body) != "body" || got.Labels[0] != "a" || got.Header.Get("X") != "1" {
			x.Errorf("Get: got %q, %v, %v", got.Body, got.Labels, got.Header)
		}
		got.Body[0], got.Labels[0] = 'Y', "changed"
		if again := x.get(id); string(again.Body) != "body" || again.Labels[0] != "a" {
			x.Errorf("Get after a change to what it returned: got %q, %v", again.Body, again.Labels)
		}
	}},
	{"a message is visible when Insert returns", func(x *fixture) {
		id := x.publish(label("a"))
		x.wantState(id, recall.StateReady)
		x.wantCount(recall.Filter{Labels: []string{"a"}}, 1, 0)
		x.wantList(recall.Filter{Labels: []string{"a"}}, id)
		x.wantClaim(10, id)
	}},
	{"no messages are no change", func(x *fixture) {
		x.insert()
		x.wantCount(recall.Filter{}, 0, 0)
	}},
	{"a large batch is one unit", func(x *fixture) {
		ids := x.publishMany(x.many(2000), label("a"))
		x.wantCount(recall.Filter{Labels: []string{"a"}}, len(ids), 0)
		x.wantList(recall.Filter{}, ids...)
	}},
	{"a done context publishes nothing", func(x *fixture) {
		if _, err := x.e.Insert(doneContext(), []recall.Message{x.message()}, x.now); err == nil {
			x.Error("Insert: got no error")
		}
		x.wantCount(recall.Filter{}, 0, 0)
	}},
	{"ids stay in order when the clock goes back", func(x *fixture) {
		var ids []recall.MessageID
		walls := []time.Time{base, base.Add(time.Hour), base.Add(-time.Hour), base.Add(-2 * time.Minute), base.Add(2 * time.Hour)}
		for _, wall := range walls {
			x.now = wall
			ids = append(ids, x.publish())
		}
		if !slices.IsSorted(ids) {
			x.Fatalf("ids are not ascending: %v", ids)
		}
		for i, id := range ids {
			if got := x.get(id); !got.CreatedAt.Equal(walls[i]) || !got.DueAt.Equal(walls[i]) {
				x.Errorf("message %d: created %v, due %v, want the wall time %v", i, got.CreatedAt, got.DueAt, walls[i])
			}
		}
		x.wantList(recall.Filter{From: base.Add(-time.Hour), To: base}, ids[0], ids[2], ids[3])
		x.wantList(recall.Filter{To: base.Add(-time.Millisecond)}, ids[2], ids[3])
		x.wantList(recall.Filter{From: base.Add(time.Millisecond)}, ids[1], ids[4])
		x.now = base.Add(-time.Hour)
		x.wantClaim(10, ids[2])
		x.now = far
		x.wantClaim(10, ids[3], ids[0], ids[1], ids[4])
	}},
	{"receipts carry the time of publication", func(x *fixture) {
		receipts, err := x.e.Insert(x.ctx, []recall.Message{x.message()}, x.now)
		x.check(err, "Insert")
		if got := receipts[0].CreatedAt; !got.Equal(x.now) {
			x.Errorf("CreatedAt: got %v, want %v", got, x.now)
		}
	}},
	{"the state follows the clock", func(x *fixture) {
		id := x.publish(due(base.Add(time.Second)))
		x.wantState(id, recall.StateDelayed)
		x.advance(time.Second - time.Millisecond)
		x.wantState(id, recall.StateDelayed)
		x.advance(time.Millisecond)
		x.wantState(id, recall.StateReady)
	}},
	{"an id that names nothing is not found", func(x *fixture) {
		id := x.publish()
		other := []byte(id)
		for i := len("msg_"); i < len(other); i++ {
			other[i] ^= 1 // 0 and 1, 2 and 3, …: digits stay digits
			if _, err := recall.ParseMessageID(string(other)); err == nil {
				_, err := x.e.Get(x.ctx, recall.MessageID(other), x.now)
				x.wantError(err, recall.ErrNotFound, fmt.Sprintf("Get of %s, with one character changed", other))
				x.wantError(x.cancel(recall.MessageID(other)), recall.ErrNotFound, "Cancel")
			}
			other[i] ^= 1
		}
		for _, id := range []recall.MessageID{"msg_00000000000000000000000000", "msg_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"} {
			x.wantGone(id)
			x.wantCount(recall.Filter{IDs: []recall.MessageID{id}}, 0, 0)
		}
		x.wantPending(id)
	}},
}

// wantWhole compares everything that a publisher sets.
func wantWhole(x *fixture, got, want recall.Message) {
	x.Helper()
	text := func(m recall.Message) string {
		retries := -1
		if m.Retries != nil {
			retries = *m.Retries
		}
		more, err := json.Marshal([]any{m.Callback, m.FailureCallback, m.Flow, m.Redact, m.Priority, m.Endpoint, m.Source, m.Blocks, m.Root})
		x.check(err, "encode")
		return string(more) + fmt.Sprintf(" %s %s %q %v queue=%q topic=%q schedule=%q flow=%q labels=%q ip=%q retries=%d %q timeout=%v due=%d created=%d",
			m.Method, m.URL, m.Body, m.Header, m.Queue, m.Topic, m.ScheduleID, m.FlowKey, m.Labels, m.CallerIP,
			retries, m.RetryDelay, m.Timeout, m.DueAt.UnixMilli(), m.CreatedAt.UnixMilli())
	}
	if g, w := text(got), text(want); g != w {
		x.Errorf("got  %s\nwant %s", g, w)
	}
}
