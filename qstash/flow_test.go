package qstash_test

import (
	"net/url"
	"reflect"
	"testing"
)

// TestFlowControl has limits as SDKs write them. They are those of the key from
// then on, and shown with the message.
func TestFlowControl(t *testing.T) {
	const target, header = "/v2/publish/https://example.com", "Upstash-Flow-Control-Value"
	type limit struct{ Rate, Parallelism, Period *int }
	n := func(n int) *int { return &n }
	for value, want := range map[string]limit{
		"parallelism=1":                     {nil, n(1), n(1)},
		"rate=3":                            {n(3), nil, n(1)},
		"parallelism=2, rate=3, period=60s": {n(3), n(2), n(60)},
		"period=1h30m3s,rate=1":             {n(1), nil, n(5403)},
		" rate = 5 ":                        {n(5), nil, n(1)},
		"rate=1, period=1":                  {n(1), nil, n(1)},
		"rate=1, period=7d":                 {n(1), nil, n(7 * 24 * 3600)},
		"parallelism=4, period=60s":         {nil, n(4), n(1)},
		"":                                  {nil, nil, n(1)},
	} {
		t.Run(value, func(t *testing.T) {
			s := newServer(t, nil)
			w := s.call("POST", target, "", "Upstash-Flow-Control-Key", "tenant/1", header, value)
			checkStatus(t, w, 200)
			w = s.call("GET", "/v2/messages/"+decode[slotID](t, w).MessageID, "")
			if got := decode[message](t, w).FlowControlKey; got != "tenant/1" {
				t.Errorf("key: got %q", got)
			}
			if got := decode[limit](t, w); !reflect.DeepEqual(got, want) {
				t.Errorf("limit: got %s", w.Body)
			}
			w = s.call("GET", "/v2/flowControl/tenant/1", "")
			checkStatus(t, w, 200)
			rate, parallelism := 0, 0
			if want.Rate != nil {
				rate = *want.Rate
			}
			if want.Parallelism != nil {
				parallelism = *want.Parallelism
			}
			if got := decode[flowKey](t, w); got.RateMax != rate || got.ParallelismMax != parallelism || rate > 0 && got.RatePeriod != *want.Period {
				t.Errorf("key: got %s", w.Body)
			}
			w = s.call("DELETE", "/v2/messages?flowControlKey=tenant/1", "")
			checkBody(t, w, `{"cancelled":1}`)
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
