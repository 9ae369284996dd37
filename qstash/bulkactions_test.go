package qstash_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/qstash"
)

type bulkAction struct {
	ActionID           recall.OperationID
	Kind, State, Error string
	Total, Processed   int
	CreatedAt          int64
	CompletedAt        *int64
	Filter             map[string][]string
	MessageID          recall.MessageID
}

// later starts a bulk cancellation that is not waited for.
func (s *server) later(target, body string) (bulkAction, *httptest.ResponseRecorder) {
	s.t.Helper()
	w := s.call("DELETE", target, body)
	checkStatus(s.t, w, 202)
	return bulkAction{ActionID: decode[struct{ ActionID recall.OperationID }](s.t, w).ActionID}, w
}

func (s *server) action(id recall.OperationID) bulkAction {
	s.t.Helper()
	w := s.call("GET", "/v2/bulkActions/"+string(id), "")
	checkStatus(s.t, w, 200)
	twin := s.call("GET", "/v2/workflows/bulkActions/"+string(id)+"/", "")
	checkStatus(s.t, twin, 200)
	checkBody(s.t, twin, strings.TrimSpace(w.Body.String()))
	return decode[bulkAction](s.t, w)
}

func TestCancelLater(t *testing.T) {
	for _, test := range []struct{ name, target, body, gone string }{
		{"query", "/v2/messages?queueName=q1&async=true", "", "a b"},
		{"body", "/v2/messages", `{"queueName":"q1","async":true}`, "a b"},
		{"everything", "/v2/messages?async=true", "", everything},
		{"everything, as SDKs say it", "/v2/messages?async=true&count=100", "", everything},
		{"one of body and query is enough", "/v2/messages?async=true", `{"label":"x","async":false}`, "a c"},
		{"a limit", "/v2/messages?async=1&count=2", "", "a b"},
		{"nothing matches", "/v2/messages?async=true&label=none", "", ""},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			n := len(strings.Fields(test.gone))
			started, w := s.later(test.target, test.body)
			checkBody(t, w, fmt.Sprintf(`{"actionId":"%s","cancelled":%d}`, started.ActionID, n))
			synctest.Wait()
			s.checkGone(test.gone)
			a := s.action(started.ActionID)
			if a.ActionID != started.ActionID || a.Kind != "cancel" || a.State != "FINISHED" || a.Total != n || a.Processed != n ||
				a.CreatedAt != time.Now().UnixMilli() || a.CompletedAt == nil || *a.CompletedAt < a.CreatedAt || a.Error != "" || a.Filter == nil {
				t.Errorf("got %+v", a)
			}
		})
	}
	inBubble(t, "not by ids", func(t *testing.T) {
		s := newServer(t, nil)
		zoo(s)
		w := s.call("DELETE", "/v2/messages?async=true&messageIds={a}", "")
		checkStatus(t, w, 202)
		checkBody(t, w, `{"cancelled":1}`)
		s.checkGone("a")
	})
}

// TestCancelLaterStops meets a message in flight: only the bulk action can tell.
func TestCancelLaterStops(t *testing.T) {
	inBubble(t, "stop", func(t *testing.T) {
		s := newServer(t, nil)
		lease := threeWithOneInFlight(s)
		start := time.Now()
		first, w := s.later("/v2/messages?async=true&host=example.com", "")
		checkBody(t, w, fmt.Sprintf(`{"actionId":"%s","cancelled":3}`, first.ActionID))
		if time.Since(start) != 0 {
			t.Errorf("the answer took %v", time.Since(start))
		}
		s.publish("later", recall.Message{Delay: time.Hour}) // after the answer: not meant
		synctest.Wait()
		if a := s.action(first.ActionID); a.State != "IN_PROGRESS" || a.Total != 3 || a.CompletedAt != nil {
			t.Errorf("while it waits: got %+v", a)
		}
		time.Sleep(qstash.DefaultCancelWait)
		synctest.Wait()
		a := s.action(first.ActionID)
		if a.State != "FINISHED" || a.Processed != 1 || a.Total != 3 || a.MessageID != s.ids["b"] ||
			!strings.Contains(a.Error, "in flight and cannot be cancelled; 1 messages were cancelled before it") {
			t.Errorf("stopped: got %+v", a)
		}
		s.checkGone("a")
		second, _ := s.later("/v2/messages?async=true&host=example.com", "")
		time.Sleep(100 * time.Millisecond)
		s.publish("last", recall.Message{Delay: time.Hour}) // while it waits: not meant
		s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
		synctest.Wait()
		if a := s.action(second.ActionID); a.State != "FINISHED" || a.Processed != 3 || a.Error != "" {
			t.Errorf("again: got %+v", a)
		}
		s.checkGone("a b c later")
		nothing, _ := s.later("/v2/messages?async=true&label=none", "")
		synctest.Wait()
		if a := s.action(nothing.ActionID); a.State != "FINISHED" || a.Total != 0 || a.CompletedAt == nil {
			t.Errorf("nothing to do: got %+v", a)
		}
		restored := s.call("POST", own+"restore?operation="+string(second.ActionID), "")
		checkStatus(t, restored, 200) // the id is that of the operation
	})
}

// TestCancelLaterDrains closes the broker while an action waits for an attempt.
func TestCancelLaterDrains(t *testing.T) {
	inBubble(t, "close", func(t *testing.T) {
		s := newServer(t, nil)
		threeWithOneInFlight(s)
		started, _ := s.later("/v2/messages?async=true", "")
		start := time.Now()
		if err := s.b.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != qstash.DefaultCancelWait {
			t.Errorf("Close took %v, want the wait of the action", got)
		}
		synctest.Wait()
		checkStatus(t, s.call("DELETE", "/v2/messages?async=true", ""), 503)
		if a := s.action(started.ActionID); a.State != "FINISHED" || a.Processed != 1 || a.MessageID != s.ids["b"] {
			t.Errorf("got %+v", a)
		}
	})
}

// brittle is an engine that panics in a bulk cancellation, before it says that it
// has begun or after.
type brittle struct {
	*enginetest.Reference
	early bool
}

func (e *brittle) CancelMatching(ctx context.Context, req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	if e.early {
		panic("too early")
	}
	return e.Reference.CancelMatching(ctx, cancelThenPanic(req))
}

// cancelThenPanic panics when the operation has been told of.
func cancelThenPanic(req recall.CancelMatchingRequest) recall.CancelMatchingRequest {
	told := req.Started
	req.Started = func(id recall.OperationID) {
		told(id)
		panic("half way")
	}
	return req
}

// TestCancelLaterPanics: the process goes on, and the action or, if there is none
// yet, the answer tells that it failed.
func TestCancelLaterPanics(t *testing.T) {
	inBubble(t, "begun", func(t *testing.T) {
		s := newServerOnEngine(t, &brittle{Reference: enginetest.NewReference()}, recall.Options{NoDispatch: true}, nil)
		zoo(s)
		started, _ := s.later("/v2/messages?async=true&queueName=q1", "")
		synctest.Wait()
		if a := s.action(started.ActionID); a.State != "FINISHED" || a.Error != "internal error" || a.Processed != 0 || a.Total != 2 {
			t.Errorf("got %+v", a)
		}
		for _, part := range []string{"a bulk action panicked", "operation=" + string(started.ActionID), `panic="half way"`, "stack="} {
			if strings.Count(s.log.String(), part) != 1 {
				t.Errorf("log: got %s, want one %s", s.log, part)
			}
		}
	})
	inBubble(t, "not begun", func(t *testing.T) {
		s := newServerOnEngine(t, &brittle{Reference: enginetest.NewReference(), early: true}, recall.Options{NoDispatch: true}, nil)
		checkError(t, s.call("DELETE", "/v2/messages?async=true", ""), 500, "internal error")
		if got := s.log.String(); strings.Count(got, `panicked" `) != 1 || !strings.Contains(got, `panic="too early"`) {
			t.Errorf("log: got %s", got)
		}
	})
}

func TestListBulkActions(t *testing.T) {
	inBubble(t, "pages", func(t *testing.T) {
		s := newServer(t, nil)
		checkBody(t, s.call("GET", "/v2/bulkActions", ""), `{"bulkActions":[]}`)
		zoo(s)
		var ids []recall.OperationID
		for _, body := range []string{`{"label":"y"}`, `{"queueName":["q1","none"],"fromDate":1000}`, `{"scheduleId":"s1"}`, `{"url":["https://f.example/","x y|z"]}`} {
			checkStatus(t, s.call("DELETE", "/v2/messages", body), 202)
			time.Sleep(time.Millisecond)
		}
		started, _ := s.later("/v2/messages?async=true", "")
		checkStatus(t, s.call("POST", own+"hold", `{"host":"example.com"}`), 200) // none of them
		synctest.Wait()
		var filters []map[string][]string
		for cursor := ""; ; {
			w := s.call("GET", "/v2/bulkActions?count=2&cursor="+cursor, "")
			checkStatus(t, w, 200)
			page := decode[struct {
				BulkActions []bulkAction
				Cursor      *string
			}](t, w)
			for _, a := range page.BulkActions {
				ids, filters = append(ids, a.ActionID), append(filters, a.Filter)
				if a.State != "FINISHED" || a.Processed == 0 || a.Processed != a.Total {
					t.Errorf("got %+v", a)
				}
				if got := s.action(a.ActionID); !reflect.DeepEqual(got, a) {
					t.Errorf("by id: got %+v, want %+v", got, a)
				}
			}
			if page.Cursor == nil {
				break
			}
			cursor = *page.Cursor
		}
		want := []map[string][]string{
			{},
			{"url": {"https://f.example/", "x y|z"}},
			{"scheduleId": {"s1"}},
			{"queueName": {"none", "q1"}, "fromDate": {"1000"}},
			{"label": {"y"}},
		}
		if len(ids) != 5 || ids[0] != started.ActionID || !reflect.DeepEqual(filters, want) {
			t.Errorf("got %v %v", ids, filters)
		}
		for query, want := range map[string]int{
			"": 5, "?state=FINISHED": 5, "?state=IN_PROGRESS": 0, "?count=1000000": 5, "?count=1": 1, "?other=x": 5, "?cursor=": 5,
		} {
			for _, path := range []string{"/v2/bulkActions", "/v2/workflows/bulkActions"} {
				w := s.call("GET", path+query, "")
				checkStatus(t, w, 200)
				if got := decode[struct{ BulkActions []bulkAction }](t, w).BulkActions; len(got) != want || got == nil {
					t.Errorf("%s: got %s", query, w.Body)
				}
			}
		}
		for query, want := range map[string]string{
			"?count=0": "at least 1", "?count=x": "at least 1", "?cursor=x": "cursor: ", "?state=DONE": "state: ",
		} {
			checkError(t, s.call("GET", "/v2/bulkActions"+query, ""), 400, want)
		}
		for _, id := range []string{unknownOp, "x", "op_1"} {
			checkError(t, s.call("GET", "/v2/bulkActions/"+id, ""), 404, "not found")
		}
		held := decode[bulkAnswer](t, s.call("POST", own+"hold", `{"states":["delayed"]}`)).Operation
		if held != "" {
			checkError(t, s.call("GET", "/v2/bulkActions/"+string(held), ""), 404, "not found")
		}
	})
}

// TestCancelPolicy is the contract that hosted QStash has now: no stop.
func TestCancelPolicy(t *testing.T) {
	inBubble(t, "sticky", func(t *testing.T) {
		s := newServer(t, &qstash.Options{CancelPolicy: recall.Sticky})
		lease := threeWithOneInFlight(s)
		start := time.Now()
		w := s.call("DELETE", "/v2/messages", "")
		checkStatus(t, w, 202)
		checkBody(t, w, `{"cancelled":3}`)
		if time.Since(start) != 0 {
			t.Errorf("it took %v", time.Since(start))
		}
		s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
		s.checkGone("a b c")
	})
}

// TestReadDelivered reads a message a moment after its delivery.
func TestReadDelivered(t *testing.T) {
	inBubble(t, "read", func(t *testing.T) {
		s := newServerOn(t, recall.Options{DeliveredRetention: qstash.DeliveredRetention}, nil)
		if err := s.b.Handle("local:a", func(context.Context, *recall.Delivery) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := s.b.Handle("local:b", func(context.Context, *recall.Delivery) error { return recall.Permanent(errors.New("no")) }); err != nil {
			t.Fatal(err)
		}
		s.publish("a", recall.Message{URL: "local:a", Labels: []string{"x"}, RetryDelay: "1000", Redact: &recall.Redaction{Body: true}, Body: []byte("b")})
		s.publish("b", recall.Message{URL: "local:b"})
		synctest.Wait()
		w := s.call("GET", "/v2/messages/{a}", "")
		checkStatus(t, w, 200)
		for _, part := range []string{`"messageId":"` + string(s.ids["a"]) + `"`, `"label":"x"`, `"body":"REDACTED:`} {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("got %s, want %s", w.Body, part)
			}
		}
		w = s.call("GET", "/v2/events?state=DELIVERED&messageId={a}", "")
		if got := s.told(w); got != "a:DELIVERED" || !strings.Contains(w.Body.String(), `"retryDelayExpr":"1000"`) {
			t.Errorf("got %s", w.Body)
		}
		checkError(t, s.call("GET", "/v2/messages/{b}", ""), 404, "not found") // dead
		checkError(t, s.call("DELETE", "/v2/messages/{a}", ""), 404, "not found")
		time.Sleep(qstash.DeliveredRetention)
		checkError(t, s.call("GET", "/v2/messages/{a}", ""), 404, "not found")
	})
}
