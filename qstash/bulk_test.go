package qstash_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// bulkAnswer is what Recall's own bulk calls answer, done or not.
type bulkAnswer struct {
	Cancelled, Requested, Changed, Scanned int
	Skipped                                []recall.MessageID
	Operation                              recall.OperationID
	Index                                  string
	Error                                  string
	Blocker                                recall.MessageID
	Found                                  *int
}

const own = "/recall/v1/"

// TestOwnCancel has filters of Recall's own cancellation, and what each takes.
func TestOwnCancel(t *testing.T) {
	const target = own + "cancel"
	for _, test := range []struct{ name, target, body, gone string }{
		{"a field", target, `{"queueName":"q1"}`, "a b"},
		{"a field in the query", target + "?queueName=q1", "", "a b"},
		{"a field in a form", target, "queueName=q1", "a b"},
		{"body and query", target + "?queueName=q1", `{"label":"x"}`, "a"},
		{"ids", target, `{"messageIds":["{c}","{a}","{a}"]}`, "a c"},
		{"ids are a field like any other", target, `{"messageIds":["{a}","{c}"],"queueName":"q2"}`, "c"},
		{"ids in the query and a field in the body", target + "?messageIds={a},{c}", `{"queueName":"q2"}`, "c"},
		{"what is no id", target, `{"messageIds":["nonsense"]}`, ""},
		{"everything", target, `{"all":true}`, everything},
		{"everything, in the query", target + "?all=true", "", everything},
		{"dates", target, `{"fromDate":946684800001,"toDate":946684800002}`, "b c"},
		{"a range of addresses", target, `{"callerIP":"10.0.0.0/8"}`, "d"},
		{"ranges in the query", target + "?callerIp=10.0.0.0/8,2001:db8::/32", "", "d e"},
		{"an address and a range", target, `{"callerIP":["10.0.0.1","2001:db8::/32"]}`, "d e"},
		{"delayed", target, `{"states":"delayed"}`, "f"},
		{"states", target, `{"states":["ready","delayed"]}`, "a c d e f"}, // b is blocked by a
		{"states in the query", target + "?states=delayed,held", "", "f"},
		{"due after", target, `{"dueAfter":946684801000}`, "f"},
		{"due before", target, `{"dueBefore":946684801000}`, "a b c d e"},
		{"due between", target + "?dueAfter=946684800002&dueBefore=946684800003", "", "c d"},
		{"the later and the earlier", target + "?dueAfter=946684800001&dueBefore=946684800004", `{"dueAfter":946684800002,"dueBefore":946684800003}`, "c d"},
		{"due times that contradict each other", target + "?dueAfter=2", `{"dueBefore":1}`, ""},
		{"attempts", target, `{"minAttempts":1}`, ""},
		{"the larger number of attempts", target + "?minAttempts=1", `{"minAttempts":"2"}`, ""},
		{"a limit", target, `{"host":"example.com","limit":2}`, "a b"},
		{"a limit in the query", target + "?limit=1", `{"host":"example.com"}`, "a"},
		{"what was expected", target, `{"queueName":"q1","expectExactly":2}`, "a b"},
		{"no more than expected", target + "?queueName=q1&expectAtMost=2", "", "a b"},
		{"not dry", target, `{"queueName":"q1","dryRun":false}`, "a b"},
		{"a reason", target, `{"queueName":"q1","reason":"a, b"}`, "a b"},
		{"a wait for nothing", target, `{"queueName":"q1","wait":"2s"}`, "a b"},
		{"the token in the query", target + "?qstash_token=x&queueName=q1", "", "a b"},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			w := s.call("POST", test.target, test.body)
			checkStatus(t, w, 200)
			n := len(strings.Fields(test.gone))
			if got := decode[bulkAnswer](t, w); got.Cancelled != n || got.Skipped == nil || got.Index == "" || (got.Operation == "") != (n == 0) {
				t.Errorf("got %s, want %d cancelled", w.Body, n)
			}
			s.checkGone(test.gone)
		})
	}
}

// TestOwnPolicies has b in flight between a and c.
func TestOwnPolicies(t *testing.T) {
	for _, test := range []struct {
		options string
		status  int
		want    bulkAnswer
		gone    string // at once; what was requested is not listed any more
		fails   string // gone after the attempt has failed
	}{
		{``, 409, bulkAnswer{Cancelled: 1}, "a", "a"},
		{`,"policy":"stop"`, 409, bulkAnswer{Cancelled: 1}, "a", "a"},
		{`,"policy":"skip"`, 200, bulkAnswer{Cancelled: 2}, "a c", "a c"},
		{`,"policy":"sticky"`, 200, bulkAnswer{Cancelled: 2, Requested: 1}, "a b c", "a b c"},
		{`,"policy":"abort"`, 200, bulkAnswer{Cancelled: 2, Requested: 1}, "a b c", "a b c"},
		{`,"dryRun":true`, 409, bulkAnswer{Cancelled: 1}, "", ""},
		{`,"dryRun":true,"policy":"skip"`, 200, bulkAnswer{Cancelled: 2}, "", ""},
		{`,"limit":1`, 200, bulkAnswer{Cancelled: 1}, "a", "a"},
		{`,"expectExactly":2,"policy":"skip"`, 200, bulkAnswer{Cancelled: 2}, "a c", "a c"},
		{`,"expectExactly":2`, 409, bulkAnswer{Cancelled: 1}, "a", "a"},
	} {
		inBubble(t, test.options, func(t *testing.T) {
			s := newServer(t, nil)
			lease := threeWithOneInFlight(s)
			start := time.Now()
			w := s.call("POST", own+"cancel", `{"host":"example.com"`+test.options+`}`)
			checkStatus(t, w, test.status)
			got := decode[bulkAnswer](t, w)
			if got.Cancelled != test.want.Cancelled || got.Requested != test.want.Requested {
				t.Errorf("got %s, want %d cancelled and %d requested", w.Body, test.want.Cancelled, test.want.Requested)
			}
			if test.status == 409 && got.Blocker != s.ids["b"] {
				t.Errorf("blocker: got %q, want %s", got.Blocker, s.ids["b"])
			}
			if skip := strings.Contains(test.options, "skip"); skip != (len(got.Skipped) == 1 && got.Skipped[0] == s.ids["b"]) {
				t.Errorf("skipped: got %v", got.Skipped)
			}
			if test.gone != "" && got.Operation == "" {
				t.Errorf("no operation to undo: %s", w.Body)
			}
			if time.Since(start) != 0 {
				t.Errorf("waited %v unasked", time.Since(start))
			}
			s.checkGone(test.gone)
			s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
			s.checkGone(test.fails)
		})
	}
}

func TestOwnWait(t *testing.T) {
	for _, test := range []struct {
		wait   string
		status int
		took   time.Duration
	}{
		{`"2s"`, 200, 1500 * time.Millisecond},
		{`2000`, 200, 1500 * time.Millisecond},
		{`"2000"`, 200, 1500 * time.Millisecond},
		{`"1s","policy":"stop"`, 409, time.Second},
		{`"1.25s"`, 409, 1250 * time.Millisecond},
		{`250`, 409, 250 * time.Millisecond},
		{`0`, 409, 0},
	} {
		inBubble(t, test.wait, func(t *testing.T) {
			s := newServer(t, nil)
			lease := threeWithOneInFlight(s)
			var took time.Duration
			start := time.Now()
			go func() {
				checkStatus(t, s.call("POST", own+"cancel", `{"all":true,"wait":`+test.wait+`}`), test.status)
				took = time.Since(start)
			}()
			time.Sleep(1500 * time.Millisecond)
			s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
			synctest.Wait()
			if took != test.took {
				t.Errorf("took %v, want %v", took, test.took)
			}
		})
	}
}

// TestOwnUnexpected is refused before anything is changed.
func TestOwnUnexpected(t *testing.T) {
	for _, option := range []string{`"expectAtMost":5`, `"expectExactly":7`, `"expectExactly":0`, `"expectAtMost":5,"limit":1`} {
		inBubble(t, option, func(t *testing.T) {
			s := newServer(t, nil)
			zoo(s)
			w := s.call("POST", own+"cancel", `{"all":true,`+option+`}`)
			checkError(t, w, 412, "nothing was changed")
			if got := decode[bulkAnswer](t, w); got.Found == nil || *got.Found != 6 {
				t.Errorf("found: got %s, want 6", w.Body)
			}
			s.checkGone("")
		})
	}
}

// TestOwnRefused has requests that no bulk call of Recall's own may guess at.
func TestOwnRefused(t *testing.T) {
	tests := []struct{ name, target, body, err string }{
		{"nothing", "", "", "there is no filter"},
		{"empty object", "", "{}", "there is no filter"},
		{"only options", "", `{"limit":1,"reason":"r","dryRun":true}`, "there is no filter"},
		{"only options in the query", "?dryRun=true", "", "there is no filter"},
		{"only options in a form", "", "dryRun=true", "there is no filter"},
		{"token alone", "?qstash_token=t", "", "there is no filter"},
		{"no ids", "", `{"messageIds":[]}`, `filter "messageIds" is empty`},
		{"no ids beside a filter", "", `{"messageIds":[],"queueName":"q1"}`, `filter "messageIds" is empty`},
		{"an empty id", "", `{"messageIds":["{a}",""]}`, `filter "messageIds" is empty`},
		{"null for the ids", "", `{"messageIds":null,"queueName":"q1"}`, "array of strings"},
		{"broken JSON", "", `{"queueName":"q1"`, "not valid JSON"},
		{"two objects", "", `{"queueName":"q1"}{}`, "follows"},
		{"array", "", `["{a}"]`, "neither"},
		{"spaces", "", " ", "neither"},
		{"form with an unknown name", "", "queueName=q1&colour=red", "neither"},
		{"query with a bad escape", "?queueName=%zz", "", "cannot be read"},
		{"unknown name", "", `{"queueName":"q1","labeel":"x"}`, `unknown filter "labeel"`},
		{"unknown name in the query", "?queueName=q1&labeel=x", "", `unknown filter "labeel"`},
		{"another letter case", "", `{"queueName":"q1","DryRun":true}`, `unknown filter "DryRun"`},
		{"the count of SDKs", "", `{"queueName":"q1","count":100}`, `unknown filter "count"`},
		{"async", "", `{"queueName":"q1","async":false}`, `unknown filter "async"`},
		{"name twice", "", `{"queueName":"q1","limit":1,"limit":2}`, "given twice"},
		{"option in body and query", "?limit=1", `{"queueName":"q1","limit":1}`, "given twice"},
		{"option twice in the query", "?queueName=q1&limit=1&limit=1", "", "one value"},
		{"empty value", "", `{"queueName":""}`, "is empty"},
		{"empty list of states", "", `{"states":[]}`, "is empty"},
		{"unknown state", "", `{"states":"sleeping"}`, `states: "sleeping" is not a state`},
		{"state in other letters", "", `{"states":["Ready"]}`, `states: "Ready" is not a state`},
		{"number for a state", "", `{"states":1}`, "wrong type"},
		{"no address", "", `{"callerIP":"localhost"}`, "neither an IP address nor a range"},
		{"no range", "", `{"callerIP":"10.0.0.0/33"}`, "neither an IP address nor a range"},
		{"date that is none", "", `{"dueAfter":"tomorrow"}`, "dueAfter: "},
		{"negative date", "", `{"dueBefore":-1}`, "dueBefore: "},
		{"after before before", "", `{"dueAfter":2,"dueBefore":1}`, "dueAfter is after dueBefore"},
		{"from after to", "", `{"fromDate":2,"toDate":1}`, "fromDate is after toDate"},
		{"from after to beside ids", "", `{"messageIds":["{a}"],"fromDate":2,"toDate":1}`, "fromDate is after toDate"},
		{"no attempts", "", `{"minAttempts":0}`, "minAttempts must be"},
		{"bool for attempts", "", `{"minAttempts":true}`, "wrong type"},
		{"unknown policy", "", `{"queueName":"q1","policy":"ask"}`, "policy: "},
		{"policy in other letters", "", `{"queueName":"q1","policy":"Skip"}`, "policy: "},
		{"empty policy", "", `{"queueName":"q1","policy":""}`, "policy: "},
		{"policies", "", `{"queueName":"q1","policy":["skip","stop"]}`, "one value"},
		{"number for a policy", "", `{"queueName":"q1","policy":1}`, "wrong type"},
		{"limit of zero", "", `{"queueName":"q1","limit":0}`, "limit must be"},
		{"fraction for a limit", "", `{"queueName":"q1","limit":1.5}`, "limit must be"},
		{"null limit", "", `{"queueName":"q1","limit":null}`, "wrong type"},
		{"negative expectation", "", `{"queueName":"q1","expectAtMost":-1}`, "expectAtMost must be"},
		{"text for an expectation", "", `{"queueName":"q1","expectExactly":"two"}`, "expectExactly must be"},
		{"two expectations", "", `{"queueName":"q1","expectExactly":2,"expectAtMost":2}`, "one expectation"},
		{"dry in other words", "", `{"queueName":"q1","dryRun":"maybe"}`, "dryRun must be"},
		{"number for dry", "", `{"queueName":"q1","dryRun":1}`, "wrong type"},
		{"long reason", "", `{"queueName":"q1","reason":"` + strings.Repeat("r", recall.MaxReason+1) + `"}`, "reason: "},
		{"reason with a line break", "", `{"queueName":"q1","reason":"a\nb"}`, "reason: "},
	}
	onlyCancel := []struct{ name, target, body, err string }{
		{"all is false", "", `{"all":false}`, "all is false"},
		{"all and a filter", "", `{"all":true,"queueName":"q1"}`, "contradict"},
		{"all and no ids", "", `{"all":true,"messageIds":[]}`, "is empty"},
		{"all as a number", "", `{"all":1}`, "wrong type"},
		{"negative wait", "", `{"queueName":"q1","wait":-1}`, "wait: "},
		{"negative duration", "", `{"queueName":"q1","wait":"-1s"}`, "wait: "},
		{"endless wait", "", `{"queueName":"q1","wait":9223372036854775807}`, "wait: "},
		{"too long a wait", "", `{"queueName":"q1","wait":"25h"}`, "wait: "},
		{"no duration", "", `{"queueName":"q1","wait":"soon"}`, "wait: "},
		{"empty wait", "", `{"queueName":"q1","wait":""}`, "wait: "},
		{"wait and another policy", "", `{"queueName":"q1","wait":1,"policy":"skip"}`, "policy: "},
		{"due", "", `{"queueName":"q1","due":1}`, `unknown filter "due"`},
	}
	onlyChange := []struct{ name, target, body, err string }{
		{"all", "", `{"all":true}`, `unknown filter "all"`},
		{"wait", "", `{"queueName":"q1","wait":1}`, `unknown filter "wait"`},
		{"sticky", "", `{"queueName":"q1","policy":"sticky"}`, "policy: "},
		{"abort", "", `{"queueName":"q1","policy":"abort"}`, "policy: "},
	}
	for _, call := range []string{"cancel", "hold", "release", "retry-now", "reschedule?due=1"} {
		list := slices.Concat(tests, onlyChange)
		if call == "cancel" {
			list = slices.Concat(tests, onlyCancel)
		}
		for _, test := range list {
			inBubble(t, call+" "+test.name, func(t *testing.T) {
				s := newServer(t, nil)
				zoo(s)
				target := own + call + test.target
				if i := strings.LastIndexByte(target, '?'); strings.Count(target, "?") > 1 {
					target = target[:i] + "&" + target[i+1:]
				}
				checkError(t, s.call("POST", target, test.body, "Content-Type", "application/json"), 400, test.err)
				s.checkGone("")
				for range s.b.Cancellations(t.Context()) {
					t.Error("an operation was recorded")
				}
			})
		}
	}
}

// TestWireKnowsNoOwnNames keeps QStash's cancellation as it was: it guesses at
// nothing.
func TestWireKnowsNoOwnNames(t *testing.T) {
	s := newServer(t, nil)
	zoo(s)
	for _, name := range []string{
		"states", "dueAfter", "dueBefore", "minAttempts", "policy", "wait", "limit", "expectAtMost", "expectExactly", "dryRun", "reason", "due",
	} {
		checkError(t, s.call("DELETE", "/v2/messages?"+name+"=1", ""), 400, fmt.Sprintf("unknown filter %q", name))
		checkError(t, s.call("DELETE", "/v2/messages", `{"`+name+`":"1"}`), 400, fmt.Sprintf("unknown filter %q", name))
	}
	checkError(t, s.call("DELETE", "/v2/messages?callerIP=10.0.0.0/8", ""), 400, "is not an IP address")
	s.checkGone("")
}

// TestOwnLook counts and explains by the newer fields too, and no options.
func TestOwnLook(t *testing.T) {
	inBubble(t, "count", func(t *testing.T) {
		s := newServer(t, nil)
		zoo(s)
		s.claim(1)
		for body, want := range map[string]string{
			`{"states":"in flight"}`:                              `{"inFlight":1,"pending":0}`,
			"states=in+flight":                                    `{"inFlight":1,"pending":0}`,
			`{"minAttempts":1}`:                                   `{"inFlight":1,"pending":0}`,
			`{"callerIP":["10.0.0.0/8"],"states":["ready"]}`:      `{"inFlight":0,"pending":1}`,
			`{"messageIds":["{a}","{b}"],"states":["in flight"]}`: `{"inFlight":1,"pending":0}`,
		} {
			checkBody(t, s.call("POST", own+"count", body), want)
		}
		w := s.call("POST", own+"explain", `{"callerIP":"10.0.0.0/8","states":"ready","dueAfter":1}`)
		if got, want := decode[struct{ Filter string }](t, w).Filter, "ip=10.0.0.0/8 due-after=1970-01-01T00:00:00.001Z state=ready"; got != want {
			t.Errorf("filter: got %q, want %q", got, want)
		}
		for _, call := range []string{"count", "explain"} {
			checkError(t, s.call("POST", own+call, `{"dryRun":true}`), 400, "unknown filter")
			checkError(t, s.call("POST", own+call, `{"messageIds":[]}`), 400, "is empty")
		}
	})
}

// TestOwnCancelAllIsLogged as that of QStash's wire is.
func TestOwnCancelAllIsLogged(t *testing.T) {
	s := newServer(t, nil)
	s.publish("a", recall.Message{})
	checkStatus(t, s.call("POST", own+"cancel", `{"all":true}`, "User-Agent", "curl/8"), 200)
	if got := s.log.String(); !strings.Contains(got, "all messages were cancelled") || !strings.Contains(got, "user_agent=curl/8") {
		t.Errorf("log: %s", got)
	}
}

// TestChanges holds, releases, reschedules, and retries at once.
func TestChanges(t *testing.T) {
	inBubble(t, "hold and release", func(t *testing.T) {
		s := newServer(t, nil)
		zoo(s)
		checkChanged(t, s, "hold", `{"topicName":"g"}`, 2)
		checkChanged(t, s, "hold", `{"topicName":"g"}`, 0) // they are held already
		checkState(t, s, "b", recall.StateHeld)
		checkChanged(t, s, "release", `{"states":"held","limit":1}`, 1)
		checkState(t, s, "b", recall.StateQueueBlocked) // and no longer held
		checkState(t, s, "f", recall.StateHeld)
	})
	inBubble(t, "reschedule", func(t *testing.T) {
		s := newServer(t, nil)
		zoo(s)
		due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		checkChanged(t, s, "reschedule", fmt.Sprintf(`{"queueName":"q1","due":%d}`, due.UnixMilli()), 2)
		m, err := s.b.Get(t.Context(), s.ids["a"])
		if err != nil || !m.DueAt.Equal(due) {
			t.Errorf("due: got %v, %v, want %v", m.DueAt, err, due)
		}
		checkError(t, s.call("POST", own+"reschedule", `{"queueName":"q1"}`), 400, "due is missing")
		checkError(t, s.call("POST", own+"reschedule", `{"queueName":"q1","due":"soon"}`), 400, "due: ")
		checkError(t, s.call("POST", own+"reschedule", `{"queueName":"q1","due":253402300799999}`), 400, "due: ")
	})
	inBubble(t, "retry now", func(t *testing.T) {
		s := newServer(t, nil)
		lease := threeWithOneInFlight(s)
		s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now().Add(time.Hour)})
		checkState(t, s, "b", recall.StateRetrying)
		checkChanged(t, s, "retry-now", `{"states":"retrying"}`, 1)
		checkState(t, s, "b", recall.StateReady)
	})
	inBubble(t, "in flight", func(t *testing.T) {
		s := newServer(t, nil)
		threeWithOneInFlight(s)
		w := s.call("POST", own+"hold", `{"host":"example.com","policy":"stop"}`)
		checkStatus(t, w, 409)
		if got := decode[bulkAnswer](t, w); got.Changed != 1 || got.Blocker != s.ids["b"] || !strings.Contains(got.Error, "changed before it: 1") {
			t.Errorf("got %s", w.Body)
		}
		w = s.call("POST", own+"hold", `{"host":"example.com"}`)
		checkStatus(t, w, 200)
		if got := decode[bulkAnswer](t, w); got.Changed != 1 || len(got.Skipped) != 1 || got.Skipped[0] != s.ids["b"] {
			t.Errorf("got %s", w.Body)
		}
	})
}

func checkChanged(t *testing.T, s *server, call, body string, want int) {
	t.Helper()
	w := s.call("POST", own+call, body)
	checkStatus(t, w, 200)
	if got := decode[bulkAnswer](t, w); got.Changed != want || got.Skipped == nil || (got.Operation == "") != (want == 0) {
		t.Errorf("%s %s: got %s, want %d changed", call, body, w.Body, want)
	}
}

func checkState(t *testing.T, s *server, name string, want recall.State) {
	t.Helper()
	if m, err := s.b.Get(t.Context(), s.ids[name]); err != nil || m.State != want {
		t.Errorf("%s: got %q, %v, want %q", name, m.State, err, want)
	}
}
