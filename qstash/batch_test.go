package qstash_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// slot is one element of the answer to a batch.
type slot struct {
	MessageID recall.MessageID
	URL       string
	Error     string
}

func (s *server) get(id recall.MessageID) recall.Message {
	s.t.Helper()
	m, err := s.b.Get(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// TestBatch has items as the SDKs write them.
func TestBatch(t *testing.T) {
	s := newServer(t, nil)
	w := s.call("POST", "/v2/batch", `[
		{"destination":"https://example.com/js","headers":{"upstash-method":"PUT","content-type":"application/json",
			"upstash-forward-x":"1","upstash-label":"l"},"body":"{\"n\":1}"},
		{"destination":"https://example.com/py","headers":{"Upstash-Forward-X":"2"},"body":null,"queue":null},
		{"destination":"https://example.com/go?a=1&qstash_token=t","headers":null,"body":"","queue":""},
		{"destination":"https://example.com/q//x","queue":"q","body":"plain"},
		{"destination":"https://example.com/list","headers":{"Upstash-Forward-X":["3","4"],"Upstash-Label":["a","b"],
			"Content-Type":[],"Upstash-Delay":null}}
	]`)
	checkStatus(t, w, 200)
	slots := decode[[]slot](t, w)
	if len(slots) != 5 {
		t.Fatalf("slots: got %d, want 5", len(slots))
	}
	for i, want := range []recall.Message{
		{URL: "https://example.com/js", Method: "PUT", Body: []byte(`{"n":1}`), Labels: []string{"l"}},
		{URL: "https://example.com/py", Method: "POST"},
		{URL: "https://example.com/go?a=1&qstash_token=t", Method: "POST"}, // no credentials of ours: it is data
		{URL: "https://example.com/q//x", Method: "POST", Queue: "q", Body: []byte("plain")},
		{URL: "https://example.com/list", Method: "POST", Labels: []string{"a", "b"}},
	} {
		m := s.get(slots[i].MessageID)
		if m.URL != want.URL || slots[i].URL != want.URL || m.Method != want.Method || m.Queue != want.Queue ||
			string(m.Body) != string(want.Body) || !reflect.DeepEqual(m.Labels, want.Labels) || m.CallerIP != "192.0.2.1" {
			t.Errorf("item %d: got %+v and %+v, want %+v", i, slots[i], m, want)
		}
		wantX := [][]string{{"1"}, {"2"}, nil, nil, {"3", "4"}}[i]
		if got := m.Header["X"]; !reflect.DeepEqual(got, wantX) {
			t.Errorf("item %d: header %v, want %v", i, got, wantX)
		}
		if got := m.Header.Get("Content-Type"); (got == "application/json") != (i == 0) || i != 0 && m.Header["Content-Type"] != nil {
			t.Errorf("item %d: content type %q", i, got)
		}
	}
}

func TestBatchOfNoneAndOne(t *testing.T) {
	s := newServer(t, nil)
	w := s.call("POST", "/v2/batch", "[]")
	checkStatus(t, w, 200)
	checkBody(t, w, "[]")
	w = s.call("POST", "/v2/batch/", ` [ {"destination":"https://example.com"} ] `)
	checkStatus(t, w, 200)
	if got := decode[[]slot](t, w); len(got) != 1 || got[0].MessageID != s.only().ID {
		t.Errorf("got %+v", got)
	}
}

// TestBatchSlots has items that are well-formed but cannot be accepted: each
// is answered in its place, and the others are published.
func TestBatchSlots(t *testing.T) {
	s := newServer(t, &qstash.Options{MaxBody: 10})
	w := s.call("POST", "/v2/batch", `[
		{"destination":"my-group"},
		{"destination":"https://example.com/1"},
		{"destination":"https://example.com/2","body":"0123456789a"},
		{"destination":"https://example.com/3","body":"0123456789"}
	]`)
	checkStatus(t, w, 200)
	slots := decode[[]slot](t, w)
	if len(slots) != 4 {
		t.Fatalf("got %+v", slots)
	}
	for i, err := range []string{"topic my-group not found", "", "larger than 10 bytes", ""} {
		if got := slots[i]; (got.Error == "") != (err == "") || !strings.Contains(got.Error, err) || (got.MessageID == "") != (err != "") {
			t.Errorf("slot %d: got %+v, want error %q", i, got, err)
		}
	}
	if got, want := s.left(), string(slots[1].MessageID)+" "+string(slots[3].MessageID); got != want {
		t.Errorf("published: got %q, want %q", got, want)
	}
	w = s.call("POST", "/v2/batch", `[{"destination":"g"}]`)
	checkStatus(t, w, 200)
	checkBody(t, w, `[{"error":"topic g not found"}]`)
}

// TestBatchOverLimit has items that ask for more than is allowed, each for something
// else: all are well-formed, and what is malformed still refuses the whole.
func TestBatchOverLimit(t *testing.T) {
	s := newServer(t, &qstash.Options{MaxBody: recall.DefaultMaxBody + 10})
	set := func(name, value string) string {
		return `{"destination":"https://example.com","headers":{"` + name + `":"` + value + `"}}`
	}
	var items, wants []string
	for _, c := range []struct{ item, err string }{
		{set("Upstash-Retries", "1001"), "Upstash-Retries: 1001 is more than"},
		{set("Upstash-Delay", "4000d"), "Upstash-Delay: 96000h0m0s is more than ten years"},
		{set("Upstash-Not-Before", "9000000000"), "Upstash-Not-Before: 2255-03-14"},
		{set("Upstash-Timeout", "48h"), "Upstash-Timeout: 48h0m0s is more than"},
		{set("Upstash-Label", strings.Repeat("l", recall.MaxLabelBytes+1)), "Upstash-Label: "},
		{set("Upstash-Flow-Control-Key", "k\",\"Upstash-Flow-Control-Value\":\"parallelism=1000001"), "a parallelism of 1000001 is more than"},
		{set("Upstash-Callback", "https://c.test\",\"Upstash-Callback-Retries\":\"1001"), "Upstash-Callback-Retries: 1001"},
		{`{"destination":"https://example.com/` + strings.Repeat("u", 20_000) + `"}`, "bytes are more than the limit"},
		{`{"destination":"https://example.com","body":"` + strings.Repeat("b", recall.DefaultMaxBody+1) + `"}`, "body: "},
	} {
		items = append(items, c.item, `{"destination":"https://example.com"}`)
		wants = append(wants, c.err, "")
	}
	w := s.call("POST", "/v2/batch", "["+strings.Join(items, ",")+"]")
	checkStatus(t, w, 200)
	slots := decode[[]slot](t, w)
	for i, want := range wants {
		if got := slots[i].Error; (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("item %d, %.80s: got %q, want %q", i, items[i], got, want)
		}
	}
	if n, err := s.b.Count(t.Context(), recall.Filter{Hosts: []string{"example.com"}}); err != nil || n.Pending != len(wants)/2 {
		t.Errorf("published: %+v, %v", n, err)
	}
	checkError(t, s.call("POST", "/v2/batch", "["+items[0]+","+set("Upstash-Retries", "-1")+"]"), 400, "item 1")
}

// TestBatchRefused has one item that is malformed, or a body that is: nothing
// is published.
func TestBatchRefused(t *testing.T) {
	const good = `{"destination":"https://example.com"}`
	tests := []struct{ name, item, err string }{
		{"no destination", `{"body":"x"}`, "a non-empty destination"},
		{"null destination", `{"destination":null}`, "a non-empty destination"},
		{"empty destination", `{"destination":""}`, "a non-empty destination"},
		{"destination of the wrong type", `{"destination":1}`, "destination"},
		{"no scheme", `{"destination":"example.com/a"}`, "invalid scheme"},
		{"no host", `{"destination":"https://"}`, "destination: "},
		{"handler of the process", `{"destination":"local:h"}`, "invalid scheme"},
		{"body of the wrong type", `{"destination":"https://example.com","body":{"n":1}}`, "body"},
		{"queue of the wrong type", `{"destination":"https://example.com","queue":1}`, "queue"},
		{"odd queue", `{"destination":"https://example.com","queue":"a,b"}`, "name of the queue"},
		{"headers of the wrong type", `{"destination":"https://example.com","headers":["a"]}`, "headers"},
		{"header of the wrong type", `{"destination":"https://example.com","headers":{"a":1}}`, "a header must be"},
		{"header with a list of the wrong type", `{"destination":"https://example.com","headers":{"a":["1",2]}}`, "a header must be"},
		{"header twice", `{"destination":"https://example.com","headers":{"upstash-retries":"1","Upstash-Retries":"2"}}`, "given twice"},
		{"bad setting", `{"destination":"https://example.com","headers":{"Upstash-Delay":"soon"}}`, "Upstash-Delay"},
		{"bad forwarded name", `{"destination":"https://example.com","headers":{"Upstash-Forward-a b":"x"}}`, "not the name of a header"},
		{"bad name in lower case", `{"destination":"https://example.com","headers":{"upstash-delay ":"1h"}}`, "not the name of a header"},
		{"empty name", `{"destination":"https://example.com","headers":{"":"x"}}`, "not the name of a header"},
		{"bad forwarded value", `{"destination":"https://example.com","headers":{"Upstash-Forward-A":"x\ny"}}`, "headers: "},
		{"body that is not text", `{"destination":"https://example.com","body":"` + "\xff" + `"}`, "not valid UTF-8"},
		{"null", "null", "a non-empty destination"},
		{"string", `"https://example.com"`, "item 2"},
		{"array", "[]", "item 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, &qstash.Options{MaxBody: recall.DefaultMaxBody + 10})
			// The group before it takes up a slot but is no message.
			w := s.call("POST", "/v2/batch", "["+good+`,{"destination":"g"},`+test.item+","+good+"]")
			checkError(t, w, 400, "item 2")
			checkError(t, w, 400, test.err)
			s.checkGone("")
		})
	}
	for name, body := range map[string]string{
		"empty": "", "object": good, "null": "null", "text": "x", "cut off": "[" + good, "garbage behind": "[" + good + "] x",
		"two arrays": "[" + good + "][]", "comma too many": "[" + good + ",]",
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			checkError(t, s.call("POST", "/v2/batch", body), 400, "JSON array")
			s.checkGone("")
		})
	}
}

func TestBatchTooMany(t *testing.T) {
	s := newServer(t, nil)
	items := strings.Repeat(`{"destination":"https://example.com"},`, recall.DefaultMaxBatch+1)
	checkError(t, s.call("POST", "/v2/batch", "["+strings.TrimSuffix(items, ",")+"]"), 400, "10000")
	// What no broker takes is not even read to its end.
	checkError(t, s.call("POST", "/v2/batch", "["+strings.Repeat("{},", 100_001)), 400, "more than 100000 items")
	s.checkGone("")
}

// TestBatchDeduplicationFull: when ids find no room, only their items are refused.
func TestBatchDeduplicationFull(t *testing.T) {
	engine, err := recall.OpenEngine(filepath.Join(t.TempDir(), "queue.db"), &recall.Options{MaxDeduplicationIDs: 2, Durability: recall.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	s := newServerOnEngine(t, engine, recall.Options{NoDispatch: true}, nil)
	item := func(id string) string {
		return `{"destination":"https://example.com/","headers":{"Upstash-Deduplication-Id":"` + id + `"}}`
	}
	checkStatus(t, s.call("POST", "/v2/publish/https://example.com/", "", "Upstash-Deduplication-Id", "a"), 200)
	w := s.call("POST", "/v2/batch", "["+strings.Join([]string{item("b"), item("c"), item(""), item("a"), item("c"), item("d")}, ",")+"]")
	checkStatus(t, w, 200)
	for i, got := range decode[[]slot](t, w) {
		refused := i == 1 || i >= 4
		if (got.Error != "") != refused || (got.MessageID == "") != refused {
			t.Errorf("item %d: %+v", i, got)
		}
	}
	if n := s.b.Stats().Pending; n != 3 {
		t.Errorf("%d messages wait, want 3", n)
	}
	w = s.call("POST", "/v2/batch", "["+item("e")+"]")
	if slots := decode[[]slot](t, w); w.Code != 200 || len(slots) != 1 || slots[0].Error == "" {
		t.Errorf("nothing but such: %d %s", w.Code, w.Body)
	}
}

// TestBatchLetsGoOfRoom: the ids of a message to a group that are refused in part
// leave their room to the items behind it.
func TestBatchLetsGoOfRoom(t *testing.T) {
	engine, err := recall.OpenEngine(filepath.Join(t.TempDir(), "queue.db"), &recall.Options{MaxDeduplicationIDs: 1, Durability: recall.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	s := newServerOnEngine(t, engine, recall.Options{NoDispatch: true}, nil)
	s.group("orders")
	w := s.call("POST", "/v2/batch", `[
		{"destination":"orders","headers":{"Upstash-Deduplication-Id":"x"}},
		{"destination":"https://example.com/b","headers":{"Upstash-Deduplication-Id":"y"}},
		{"destination":"https://example.com/c","headers":{"Upstash-Deduplication-Id":"z"}}
	]`)
	checkStatus(t, w, 200)
	for i, got := range decode[[]slot](t, w) {
		if (got.Error != "") != (i != 1) {
			t.Errorf("item %d: %+v", i, got)
		}
	}
}
