package qstash_test

import (
	"net/url"
	"strings"
	"testing"
)

// TestFlowControl has limits as SDKs write them. The key is kept, and the log
// says once that nothing enforces the limits.
func TestFlowControl(t *testing.T) {
	const target, header = "/v2/publish/https://example.com", "Upstash-Flow-Control-Value"
	for _, value := range []string{
		"parallelism=1", "rate=3", "parallelism=2, rate=3, period=60s", "period=1h30m3s,rate=1", " rate = 5 ", "rate=1, period=1",
		"rate=1, period=7d", "",
	} {
		t.Run(value, func(t *testing.T) {
			s := newServer(t, nil)
			for range 2 {
				w := s.call("POST", target, "", "Upstash-Flow-Control-Key", "tenant/1", header, value)
				checkStatus(t, w, 200)
				if got := decode[message](t, s.call("GET", "/v2/messages/"+decode[slotID](t, w).MessageID, "")).FlowControlKey; got != "tenant/1" {
					t.Errorf("key: got %q", got)
				}
			}
			want := 1
			if value == "" {
				want = 0
			}
			if got := strings.Count(s.log.String(), "not enforced yet"); got != want {
				t.Errorf("warnings: got %d, want %d: %s", got, want, s.log)
			}
			w := s.call("DELETE", "/v2/messages?flowControlKey=tenant/1", "")
			checkBody(t, w, `{"cancelled":2}`)
		})
	}
	for value, err := range map[string]string{
		"parallelism=0": "at least 1", "rate=-1": "at least 1", "rate=": "at least 1", "rate": "at least 1", "rate=1.5": "at least 1",
		"rate=99999999999": "at least 1", "rate=1,rate=2": "given twice", "rate=1,burst=2": `"burst" is unknown`, "rate=1,": `"" is unknown`,
		"Rate=1": `"Rate" is unknown`, "period=1s": "neither parallelism nor rate", "rate=1,period=0": "between", "rate=1,period=8d": "between",
		"rate=1,period=soon": "not a duration", "rate=1 period=1s": "at least 1",
	} {
		t.Run("refused: "+value, func(t *testing.T) {
			s := newServer(t, nil)
			checkError(t, s.call("POST", target, "", "Upstash-Flow-Control-Key", "k", header, value), 400, err)
			w := s.call("POST", target+"?upstash-flow-control-key=k&upstash-flow-control-value="+url.QueryEscape(value), "")
			checkError(t, w, 400, header)
			w = s.call("POST", "/v2/batch", `[{"destination":"https://example.com","headers":{"upstash-flow-control-key":"k",`+
				`"upstash-flow-control-value":"`+value+`"}}]`)
			checkError(t, w, 400, "item 0: "+header)
			s.checkGone("")
		})
	}
}

// slotID is the smallest answer to a publish that SDKs can read.
type slotID struct {
	MessageID string `json:"messageId"`
}
