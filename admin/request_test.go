package admin_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// badRequests are bodies that no call takes.
var badRequests = []string{
	"nonsense", "[]", "1", "null", `"x"`, "{", `{"filter":{}`, `{"filter":{}}x`, `{"filter":{}}{}`, `{"filter":{},"filter":{}}`, `{"all":true,"ALL":false}`,
	`{"all":true,"reason":"a","reaſon":"b"}`, `{"limit":1e999}`,
	`{"filters":{}}`, `{"filter":[]}`, `{"filter":{"label":["x"]}}`, `{"filter":{"labels":["x"],"labels":["y"]}}`, `{"filter":{"labels":"x"}}`,
	`{"limit":"1"}`, `{"limit":1.5}`, `{"expectExactly":-1e99}`, "{\"reason\":\"\xff\"}", `{"filter":{"from":"yesterday"}}`, `{"all":1}`,
}

func TestBadRequests(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	publish(t, b, recall.Message{Labels: []string{"x"}})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, Logger: quiet})
	for _, body := range badRequests {
		if _, _, err := admin.DecodeCancel([]byte(body)); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%q: got %v", body, err)
		}
		if status, text := ask(t, h, "POST", "cancel", "", body); status != 400 {
			t.Errorf("%q: got %d %s", body, status, text)
		}
	}
	if n, err := b.Count(t.Context(), recall.Filter{}); err != nil || n.Pending != 1 {
		t.Errorf("got %+v, %v", n, err)
	}
	if status, text := ask(t, h, "POST", "cancel", "", `{"filter":{"labels":["x"]},"all":true}`); status != 400 {
		t.Errorf("filter and all: got %d %s", status, text)
	}
}

// TestGivenTwice: a name that is given twice says two things, wherever it is. Headers
// are told apart by their letters.
func TestGivenTwice(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, Logger: quiet})
	for _, c := range []struct {
		call, body string
		status     int
	}{
		{"publish", `{"messages":[{"url":"https://example.com/a","url":"https://example.com/b"}]}`, 400},
		{"publish", `{"messages":[{"url":"https://example.com/a"},{"url":"https://example.com/a","URL":"https://example.com/b"}]}`, 400},
		{"publish", `{"messages":[{"url":"https://example.com/a","flow":{"rate":1,"Rate":2}}]}`, 400},
		{"publish", `{"messages":[{"url":"https://example.com/a","header":{"X-A":["1"],"X-A":["2"]}}]}`, 400},
		{"publish", `{"messages":[{"url":"https://example.com/a","callback":{"url":"https://example.com","header":{},"Header":{}}}]}`, 400},
		{"publish", `{"messages":[{"url":"https://example.com/a","header":{"X-A":["1"],"x-a":["2"]}}]}`, 200},
		{"publish", `{"messages":[{"url":"https://example.com/a"},{"url":"https://example.com/b"}]}`, 200},
		{"schedules/set", `{"schedule":{"id":"s","cron":"@daily","message":{"url":"https://example.com/a","method":"PUT","method":"GET"}}}`, 400},
		{"topics/add", `{"name":"t","endpoints":[{"url":"https://example.com/a","url":"https://example.com/b"}]}`, 400},
		{"flow/pin", `{"name":"k","limit":{"rate":1,"rate":2}}`, 400},
		{"cancel", `{"filter":{"labels":["x"]},"reason":"\"a\":1,\"a\":2"}`, 200},
	} {
		if status, text := ask(t, h, "POST", c.call, "", c.body); status != c.status || status == 400 && !strings.Contains(text, "is given twice") {
			t.Errorf("%s %s: got %d %s", c.call, c.body, status, text)
		}
	}
	deep := `{"a":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + "}"
	if _, _, err := admin.DecodeCancel([]byte(deep)); !errors.Is(err, recall.ErrInvalid) || !strings.Contains(err.Error(), "nested too deep") {
		t.Errorf("deep: got %v", err)
	}
}

// FuzzRequest: whatever comes is refused with a typed error, or means the same when
// it is written and read again. Nothing means all messages by accident.
func FuzzRequest(f *testing.F) {
	for _, body := range append(badRequests, "", " ", "{}", `{"all":true}`, `{"filter":null}`,
		`{"filter":{"labels":[],"from":"2026-01-02T03:04:05Z"},"policy":"skip","expectExactly":0,"limit":3,"reason":"r"}`) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, all, err := admin.DecodeCancel(data)
		if err != nil {
			if !errors.Is(err, recall.ErrInvalid) {
				t.Fatalf("not typed: %v", err)
			}
			return
		}
		text, err := json.Marshal(q)
		if err != nil {
			t.Skip(err) // a time that JSON has no word for
		}
		again, allAgain, err := admin.DecodeCancel(text)
		if err != nil || all != allAgain {
			t.Fatalf("%s: %v", text, err)
		}
		second, err := json.Marshal(again)
		if err != nil || !reflect.DeepEqual(text, second) {
			t.Fatalf("%s is %s when it is read again: %v", text, second, err)
		}
	})
}
