package qstash_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// cancelled runs a bulk cancellation and returns its operation.
func (s *server) cancelled(body string) recall.OperationID {
	s.t.Helper()
	w := s.call("POST", own+"cancel", body)
	checkStatus(s.t, w, 200)
	return decode[bulkAnswer](s.t, w).Operation
}

func TestRestore(t *testing.T) {
	inBubble(t, "in time and too late", func(t *testing.T) {
		s := newServer(t, nil)
		zoo(s)
		op := s.cancelled(`{"queueName":"q1"}`)
		for range 2 { // again gives the same answer
			w := s.call("POST", own+"restore", `{"operation":"`+string(op)+`"}`)
			checkStatus(t, w, 200)
			checkBody(t, w, `{"lifted":0,"restored":2}`)
			s.checkGone("")
		}
		op = s.cancelled(`{"queueName":"q1"}`)
		time.Sleep(recall.DefaultUndoWindow)
		checkError(t, s.call("POST", own+"restore?operation="+string(op), ""), 410, "can no longer be undone")
		s.checkGone("a b")
	})
	inBubble(t, "lifted", func(t *testing.T) {
		s := newServer(t, nil)
		lease := threeWithOneInFlight(s)
		op := s.cancelled(`{"all":true,"policy":"sticky"}`)
		checkBody(t, s.call("POST", own+"restore", `{"operation":"`+string(op)+`"}`), `{"lifted":1,"restored":2}`)
		s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
		s.checkGone("")
	})
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	held := decode[bulkAnswer](t, s.call("POST", own+"hold", `{"host":"example.com"}`)).Operation
	checkError(t, s.call("POST", own+"restore", `{"operation":"`+string(held)+`"}`), 400, "operation: ")
	for body, want := range map[string]struct {
		status int
		err    string
	}{
		"":                                     {400, "operation is missing"},
		"{}":                                   {400, "operation is missing"},
		`{"operation":""}`:                     {400, "operation: "},
		`{"operation":"op_1"}`:                 {400, "operation: "},
		`{"operation":1}`:                      {400, "wrong type"},
		`{"operation":null}`:                   {400, "wrong type"},
		`{"operation":["op_1","op_2"]}`:        {400, "one value"},
		`{"operation":"` + unknownOp + `"}`:    {404, "not found"},
		`{"id":"` + unknownOp + `"}`:           {400, `unknown filter "id"`},
		`{"operation":"x","label":"y"}`:        {400, `unknown filter "label"`},
		`{"operation":"x","messageIds":["y"]}`: {400, `unknown filter "messageIds"`},
		`{"operation":"x","all":true}`:         {400, `unknown filter "all"`},
		`{"operation"`:                         {400, "not valid JSON"},
		`[]`:                                   {400, "neither"},
	} {
		checkError(t, s.call("POST", own+"restore", body), want.status, want.err)
	}
}

const unknownOp = "op_01ARZ3NDEKTSV4RRFFQ69G5FAV"

// TestCancellations lists records of every kind, in pages.
func TestCancellations(t *testing.T) {
	inBubble(t, "pages", func(t *testing.T) {
		s := newServer(t, nil)
		checkBody(t, s.call("GET", own+"cancellations", ""), `{"cancellations":[]}`)
		zoo(s)
		ops := []recall.OperationID{
			s.cancelled(`{"queueName":"q1","reason":"wrong price"}`), s.cancelled(`{"label":"y"}`), s.cancelled(`{"scheduleId":"s1","policy":"skip"}`),
		}
		checkStatus(t, s.call("POST", own+"restore", `{"operation":"`+string(ops[1])+`"}`), 200)
		checkChanged(t, s, "hold", `{"flowControlKey":"k"}`, 1)

		w := s.call("GET", own+"cancellations", "")
		checkStatus(t, w, 200)
		all := decode[operations](t, w)
		if len(all.Cancellations) != 4 || all.Next != "" {
			t.Fatalf("got %s", w.Body)
		}
		first := all.Cancellations[0]
		if first.ID != ops[0] || first.Kind != "cancel" || first.At != 946684800006 || first.Filter != "queue=q1" || first.Reason != "wrong price" ||
			first.Policy != "stop" || first.Count != 2 || first.RestoredAt != 0 {
			t.Errorf("first: got %+v", first)
		}
		if got := all.Cancellations[1].RestoredAt; got != 946684800006 {
			t.Errorf("restored at: got %d", got)
		}
		if got := all.Cancellations[2].Policy; got != "skip" {
			t.Errorf("policy: got %q", got)
		}
		if got := all.Cancellations[3].Kind; got != "hold" {
			t.Errorf("kind: got %q", got)
		}

		var got []recall.OperationID
		for next := recall.OperationID(""); ; {
			page := decode[operations](t, s.call("GET", own+"cancellations?limit=3&after="+string(next), ""))
			for _, o := range page.Cancellations {
				got = append(got, o.ID)
			}
			if next = page.Next; next == "" {
				break
			}
		}
		if len(got) != 4 || got[0] != ops[0] || got[3] != all.Cancellations[3].ID {
			t.Errorf("pages: got %v", got)
		}
		if got := decode[operations](t, s.call("GET", own+"cancellations?limit=4", "")); got.Next != "" {
			t.Errorf("next after the last: got %q", got.Next)
		}
	})
	s := newServer(t, nil)
	for query, err := range map[string]string{
		"limit=0": "limit must be", "limit=1001": "limit must be", "limit=x": "limit must be", "limit=": "limit must be", "limit=1&limit=2": "one value",
		"after=op_1": "after: ", "after=" + unknownID: "after: ", "after=op_" + strings.Repeat("i", 26): "after: ",
		"before=x": "unknown filter", "label=x": "unknown filter", "limit=%zz": "cannot be read",
	} {
		checkError(t, s.call("GET", own+"cancellations?"+query, ""), 400, err)
	}
}

type operations struct {
	Cancellations []operation
	Next          recall.OperationID
}

type operation struct {
	ID                           recall.OperationID
	Kind, Filter, Reason, Policy string
	At, RestoredAt               int64
	Count                        int
}

func TestWhoCancelled(t *testing.T) {
	s := newServer(t, nil)
	zoo(s)
	op := s.cancelled(`{"queueName":"q1"}`)
	const by = own + "cancellations/by-message/"
	w := s.call("GET", by+"{a}", "")
	checkStatus(t, w, 200)
	if got := decode[operation](t, w); got.ID != op || got.Count != 2 {
		t.Errorf("got %s, want %s", w.Body, op)
	}
	for _, id := range []string{"{c}", unknownID, "nonsense", "", "{a}/x"} {
		checkError(t, s.call("GET", by+id, ""), 404, "not found")
	}
	checkStatus(t, s.call("POST", own+"restore", `{"operation":"`+string(op)+`"}`), 200)
	checkError(t, s.call("GET", by+"{a}", ""), 404, "not found")
}

func TestStanding(t *testing.T) {
	inBubble(t, "takes what arrives", func(t *testing.T) {
		s := newServer(t, nil)
		checkBody(t, s.call("GET", own+"standing", ""), `{"standing":[]}`)
		until := time.Now().Add(time.Hour).UnixMilli()
		w := s.call("POST", own+"standing", fmt.Sprintf(`{"label":["x","y"],"until":%d,"reason":"recalled product"}`, until))
		checkStatus(t, w, 200)
		op := decode[struct{ Operation string }](t, w).Operation

		w = s.call("POST", "/v2/publish/https://example.com", "", "Upstash-Label", "x")
		checkStatus(t, w, 200)
		id := decode[struct{ MessageID string }](t, w).MessageID
		s.checkGone("")
		if got := decode[operation](t, s.call("GET", own+"cancellations/by-message/"+id, "")); string(got.ID) != op {
			t.Errorf("who cancelled: got %q, want %s", got.ID, op)
		}
		checkBody(t, s.call("GET", own+"standing", ""), fmt.Sprintf(
			`{"standing":[{"operation":"%s","filter":"label=x|y","reason":"recalled product","at":%s,"until":%d,"count":1}]}`, op, first, until))

		checkBody(t, s.call("DELETE", own+"standing/"+op, ""), `{"operation":"`+op+`"}`)
		checkStatus(t, s.call("DELETE", own+"standing/"+op+"/", ""), 200) // again changes nothing
		s.publish("a", recall.Message{Labels: []string{"x"}})
		s.checkGone("")
		if got := s.call("GET", own+"standing", "").Body.String(); !strings.Contains(got, `"liftedAt":`+first) {
			t.Errorf("list: got %s", got)
		}
	})
	s := newServer(t, nil)
	for body, err := range map[string]string{
		"":                                           "until is missing",
		`{"label":"x"}`:                              "until is missing",
		`{"until":253402300799999}`:                  "there is no filter",
		`{"label":"x","until":"soon"}`:               "until: ",
		`{"label":"x","until":1}`:                    "until: ",
		`{"label":"x","until":null}`:                 "wrong type",
		`{"all":true,"until":253402300799999}`:       `unknown filter "all"`,
		`{"label":"x","until":2000000000000,"a":1}`:  `unknown filter "a"`,
		`{"label":"x","limit":1}`:                    `unknown filter "limit"`,
		`{"messageIds":[],"until":253402300799999}`:  "is empty",
		`{"states":"asleep","until":25340230079999}`: "states: ",
	} {
		checkError(t, s.call("POST", own+"standing", body), 400, err)
	}
	for _, id := range []string{unknownOp, "op_1", unknownID, "x/y"} {
		checkError(t, s.call("DELETE", own+"standing/"+id, ""), 404, "not found")
	}
	checkError(t, s.call("GET", own+"standing?label=x", ""), 400, "unknown filter")
	checkBody(t, s.call("GET", own+"standing", ""), `{"standing":[]}`)
}

// TestUndoOverHTTP goes the whole way with a file: cancel, look who was
// cancelled by what, restore.
func TestUndoOverHTTP(t *testing.T) {
	l := newLive(t)
	status, body := l.call("POST", "/v2/publish/https://example.invalid/a?upstash-delay=1h&upstash-label=x", "")
	if status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	_, id, _ := strings.Cut(body, `"messageId":"`)
	id, _, _ = strings.Cut(id, `"`)
	_, body = l.call("POST", own+"cancel", `{"label":"x","states":["delayed"],"expectExactly":1,"reason":"too early"}`)
	_, op, _ := strings.Cut(body, `"operation":"`)
	op, _, _ = strings.Cut(op, `"`)
	if want := `{"cancelled":1,"index":"label","operation":"` + op + `","requested":0,"scanned":1,"skipped":[]}`; body != want {
		t.Errorf("cancel: got %s, want %s", body, want)
	}
	if _, body = l.call("GET", own+"cancellations/by-message/"+id, ""); !strings.Contains(body, `"reason":"too early"`) ||
		!strings.Contains(body, `"undoable":true`) || !strings.Contains(body, `"filter":"label=x state=delayed"`) {
		t.Errorf("by message: got %s", body)
	}
	if _, body = l.call("POST", own+"restore", `{"operation":"`+op+`"}`); body != `{"lifted":0,"restored":1}` {
		t.Errorf("restore: got %s", body)
	}
	if status, body = l.call("GET", "/v2/messages/"+id, ""); status != 200 {
		t.Errorf("get: got %d %s", status, body)
	}
}
