package qstash_test

import (
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// flowKey is what GET returns as SDKs declare it.
type flowKey struct {
	FlowControlKey                    string
	WaitListSize                      int
	ParallelismMax, ParallelismCount  int
	RateMax, RateCount                int
	RatePeriod, RatePeriodStart       int
	IsPaused                          bool
	IsPinnedParallelism, IsPinnedRate bool
}

func (s *server) flow(key, value string) {
	s.t.Helper()
	s.ok("POST", "/v2/publish/https://example.com", "", "Upstash-Flow-Control-Key", key, "Upstash-Flow-Control-Value", value)
}

func (s *server) checkFlow(want flowKey) {
	s.t.Helper()
	w := s.call("GET", "/v2/flowControl/"+want.FlowControlKey, "")
	checkStatus(s.t, w, 200)
	if got := decode[flowKey](s.t, w); got != want {
		s.t.Errorf("got  %+v,\nwant %+v", got, want)
	}
}

func TestFlowKeyFields(t *testing.T) {
	inBubble(t, "in use", func(t *testing.T) {
		s := newServer(t, nil)
		w := s.call("GET", "/v2/flowControl", "")
		checkStatus(t, w, 200)
		checkBody(t, w, "[]")
		for range 5 {
			s.flow("k", "parallelism=3,rate=2,period=1m")
		}
		const before = `{"flowControlKey":"k","waitListSize":0,"parallelismMax":3,"parallelismCount":0,"rateMax":2,"rateCount":0,"ratePeriod":60,` +
			`"ratePeriodStart":0,"isPaused":false,"isPinnedParallelism":false,"isPinnedRate":false}`
		checkBody(t, s.call("GET", "/v2/flowControl/k", ""), before)
		checkBody(t, s.call("GET", "/v2/FlowControl/", ""), "["+before+"]")
		s.claim(2)
		s.checkFlow(flowKey{
			FlowControlKey: "k", WaitListSize: 3, ParallelismMax: 3, ParallelismCount: 2, RateMax: 2, RateCount: 2,
			RatePeriod: 60, RatePeriodStart: 946684800,
		})
		s.ok("POST", "/v2/flowControl/k/resetRate", "")
		s.checkFlow(flowKey{FlowControlKey: "k", ParallelismMax: 3, ParallelismCount: 2, RateMax: 2, RatePeriod: 60})
		s.ok("POST", "/v2/flowControl/k/reset", "") // what it was called once
		s.ok("POST", "/v2/flowControl/k/pause", "")
		s.checkFlow(flowKey{FlowControlKey: "k", WaitListSize: 3, ParallelismMax: 3, ParallelismCount: 2, RateMax: 2, RatePeriod: 60, IsPaused: true})
		s.ok("POST", "/v2/flowControl/k/Resume/", "")
		s.checkFlow(flowKey{FlowControlKey: "k", ParallelismMax: 3, ParallelismCount: 2, RateMax: 2, RatePeriod: 60})
	})
	t.Run("a key without a limit", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{FlowKey: "bare"})
		s.checkFlow(flowKey{FlowControlKey: "bare"})
		s.ok("POST", "/v2/flowControl/bare/resetRate", "")
		checkError(t, s.call("GET", "/v2/flowControl/none", ""), 404, "flow-control key none not found")
		checkError(t, s.call("POST", "/v2/flowControl/none/resetRate", ""), 404, "flow-control key none not found")
	})
	t.Run("search", func(t *testing.T) {
		s := newServer(t, nil)
		for _, key := range []string{"tenant/1", "tenant/2", "Other"} {
			s.flow(key, "parallelism=1")
		}
		for query, want := range map[string]string{
			"": "Other tenant/1 tenant/2", "?search=tenant/": "tenant/1 tenant/2", "?search=2&x=1": "tenant/2", "?search=none": "", "?search=": "Other tenant/1 tenant/2",
		} {
			w := s.call("GET", "/v2/flowControl"+query, "")
			checkStatus(t, w, 200)
			var keys []string
			for _, k := range decode[[]flowKey](t, w) {
				keys = append(keys, k.FlowControlKey)
			}
			if got := strings.Join(keys, " "); got != want || !strings.HasPrefix(w.Body.String(), "[") {
				t.Errorf("%s: got %s", query, w.Body)
			}
		}
	})
}

// TestFlowKeyPaths has keys with all that a path can hold.
func TestFlowKeyPaths(t *testing.T) {
	for key, path := range map[string]string{
		"k/1 x": "k/1%20x", "a//b": "a//b", "käse": "k%C3%A4se", "pause": "pause", "pin/pause": "pin/pause", "50%": "50%25", "a%2Fb": "a%252Fb",
		"a/b": "a%2Fb", "?": "%3F",
	} {
		t.Run(key, func(t *testing.T) {
			s := newServer(t, nil)
			s.flow(key, "parallelism=1")
			w := s.call("GET", "/v2/flowControl/"+path, "")
			checkStatus(t, w, 200)
			if got := decode[flowKey](t, w).FlowControlKey; got != key {
				t.Errorf("got %q", got)
			}
			for action, paused := range map[string]bool{"pause": true, "resume": false} {
				s.ok("POST", "/v2/flowControl/"+path+"/"+action, "")
				if got, err := s.b.FlowKey(t.Context(), key); err != nil || got.Paused != paused {
					t.Errorf("%s: %+v, %v", action, got, err)
				}
			}
		})
	}
}

func TestPinFlow(t *testing.T) {
	inBubble(t, "parts", func(t *testing.T) {
		s := newServer(t, nil)
		s.flow("k", "parallelism=9,rate=9,period=9s")
		s.claim(1)
		s.ok("POST", "/v2/flowControl/k/pin?parallelism=2&qstash_token="+qstash.DevToken, "")
		s.flow("k", "parallelism=8,rate=8,period=8s")
		s.checkFlow(flowKey{
			FlowControlKey: "k", ParallelismMax: 2, ParallelismCount: 1, RateMax: 8, RateCount: 1, RatePeriod: 8,
			RatePeriodStart: 946684800, IsPinnedParallelism: true,
		})
		time.Sleep(time.Second)
		s.ok("POST", "/v2/flowControl/k/pin?rate=3&period=60", "") // begins a new period
		s.flow("k", "parallelism=7,rate=7,period=7s")
		pinned := flowKey{FlowControlKey: "k", ParallelismMax: 2, ParallelismCount: 1, RateMax: 3, RatePeriod: 60, IsPinnedParallelism: true, IsPinnedRate: true}
		s.checkFlow(pinned)
		s.ok("POST", "/v2/flowControl/k/pin?period=2m", "")
		pinned.RatePeriod = 120
		s.checkFlow(pinned)
		s.ok("POST", "/v2/flowControl/k/pin?rate=4", "") // the period stays
		pinned.RateMax = 4
		s.checkFlow(pinned)
		s.ok("POST", "/v2/flowControl/k/unpin?parallelism=false&rate=False", "")
		s.checkFlow(pinned)
		s.ok("POST", "/v2/flowControl/k/unpin?parallelism=true&rate=false", "")
		pinned.IsPinnedParallelism = false
		s.checkFlow(pinned) // the values stay until a message brings others
		s.flow("k", "parallelism=6,rate=6")
		pinned.ParallelismMax = 6
		s.checkFlow(pinned)
		s.ok("POST", "/v2/flowControl/k/unpin?rate=true&parallelism=true", "")
		s.flow("k", "rate=5")
		s.checkFlow(flowKey{FlowControlKey: "k", ParallelismCount: 1, RateMax: 5, RatePeriod: 1})
	})
	t.Run("a key that no message has used", func(t *testing.T) {
		s := newServer(t, nil)
		s.ok("POST", "/v2/flowControl/new/pin?rate=3", "")
		s.checkFlow(flowKey{FlowControlKey: "new", RateMax: 3, RatePeriod: 1, IsPinnedRate: true})
		s.ok("POST", "/v2/flowControl/newer/pause", "")
		s.checkFlow(flowKey{FlowControlKey: "newer", IsPaused: true})
	})
	s := newServer(t, nil)
	for target, want := range map[string]string{
		"k/pin": "must be given", "k/pin?rate=0": "at least 1", "k/pin?rate=x": "at least 1", "k/pin?rate=": "at least 1",
		"k/pin?parallelism=-1": "at least 1", "k/pin?rate=1&rate=2": "given twice", "k/pin?burst=1": "unknown parameter",
		"k/pin?rate=1&period=8d": "between", "k/pin?rate=1&period=0": "between", "k/pin?period=60": "no rate", "k/pin?rate=%zz": "cannot be read",
		"k/pin?rate=1000001": "1000000", "k/unpin": "must be given", "k/unpin?rate=maybe": "true or false", "k/unpin?rates=true": "unknown parameter",
		strings.Repeat("k", 257) + "/pause": "Upstash-Flow-Control-Key: ",
	} {
		checkError(t, s.call("POST", "/v2/flowControl/"+target, ""), 400, want)
	}
	checkError(t, s.call("POST", "/v2/flowControl/k/stop", ""), 404, "stop")
	checkError(t, s.call("POST", "/v2/flowControl/pause", ""), 404, "")
	checkError(t, s.call("DELETE", "/v2/flowControl/k", ""), 405, "")
	checkBody(t, s.call("GET", "/v2/flowControl", ""), "[]")
}

func TestGlobalParallelism(t *testing.T) {
	s := newServer(t, nil)
	w := s.call("GET", "/v2/globalParallelism", "")
	checkStatus(t, w, 200)
	checkBody(t, w, `{"parallelismCount":0,"parallelismMax":64}`)
	checkStatus(t, s.call("GET", "/V2/globalparallelism/", ""), 200)
}
