package recall_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

const someID = recall.MessageID("msg_01J00000000000000000000000")

// TestBadMessages publishes what is not allowed, alone and in a batch, and
// looks that nothing was stored.
func TestBadMessages(t *testing.T) {
	long := strings.Repeat("x", 3000)
	labels := make([]string, recall.MaxLabels+1)
	for i := range labels {
		labels[i] = "l"
	}
	tenYears := time.Now().AddDate(10, 0, 0)
	tests := []struct {
		name, field string
		m           recall.Message
	}{
		{"no URL", "URL", recall.Message{URL: ""}},
		{"relative URL", "URL", recall.Message{URL: "/hook"}},
		{"URL without scheme", "URL", recall.Message{URL: "api.test/hook"}},
		{"URL without host", "URL", recall.Message{URL: "https:///hook"}},
		{"URL with a port only", "URL", recall.Message{URL: "https://:80/"}},
		{"URL with a port too large", "URL", recall.Message{URL: "https://api.test:65536/"}},
		{"URL with port 0", "URL", recall.Message{URL: "https://api.test:0/"}},
		{"URL with a bad port", "URL", recall.Message{URL: "https://api.test:x/"}},
		{"URL of another scheme", "URL", recall.Message{URL: "ftp://api.test/"}},
		{"URL of a file", "URL", recall.Message{URL: "file:///etc/passwd"}},
		{"opaque URL", "URL", recall.Message{URL: "https:api.test"}},
		{"URL with a line feed", "URL", recall.Message{URL: "https://api.test/\nx"}},
		{"URL with a zero byte", "URL", recall.Message{URL: "https://api.test/\x00"}},
		{"URL with DEL", "URL", recall.Message{URL: "https://api.test/\x7f"}},
		{"URL that is not UTF-8", "URL", recall.Message{URL: "https://api.test/\xff"}},
		{"URL with a bad escape", "URL", recall.Message{URL: "https://api.test/%zz"}},
		{"URL with a space in the host", "URL", recall.Message{URL: "https://api test/"}},
		{"long URL", "URL", recall.Message{URL: "https://api.test/" + long}},
		{"local without a name", "URL", recall.Message{URL: "local:"}},
		{"local with slashes", "URL", recall.Message{URL: "local://x"}},
		{"local with a space", "URL", recall.Message{URL: "local:a b"}},
		{"unknown method", "Method", recall.Message{Method: "BREW"}},
		{"method in lower case", "Method", recall.Message{Method: "post"}},
		{"method CONNECT", "Method", recall.Message{Method: "CONNECT"}},
		{"header name", "Header", recall.Message{Header: map[string][]string{"a b": {"1"}}}},
		{"empty header name", "Header", recall.Message{Header: map[string][]string{"": {"1"}}}},
		{"header value", "Header", recall.Message{Header: map[string][]string{"A": {"1\r\nB: 2"}}}},
		{"large header", "Header", recall.Message{Header: map[string][]string{"A": slices.Repeat([]string{long}, 30)}}},
		{"large body", "Body", recall.Message{Body: make([]byte, recall.DefaultMaxBody+1)}},
		{"long queue", "Queue", recall.Message{Queue: long}},
		{"queue with a tab", "Queue", recall.Message{Queue: "a\tb"}},
		{"long topic", "Topic", recall.Message{Topic: long}},
		{"long schedule", "ScheduleID", recall.Message{ScheduleID: long}},
		{"flow key that is not UTF-8", "FlowKey", recall.Message{FlowKey: "\xc3"}},
		{"empty label", "Labels", recall.Message{Labels: []string{"a", ""}}},
		{"queue with a control character beyond ASCII", "Queue", recall.Message{Queue: "a\u0085b"}},
		{"URL with a control character beyond ASCII", "URL", recall.Message{URL: "https://api.test/\u009b"}},
		{"label with a control character", "Labels", recall.Message{Labels: []string{"\x1b[31m"}}},
		{"long label", "Labels", recall.Message{Labels: []string{long}}},
		{"long labels", "Labels", recall.Message{Labels: []string{long[:300], long[:300]}}},
		{"many labels", "Labels", recall.Message{Labels: labels}},
		{"address", "CallerIP", recall.Message{CallerIP: "300.1.2.3"}},
		{"address with a port", "CallerIP", recall.Message{CallerIP: "192.0.2.1:80"}},
		{"address with a zone", "CallerIP", recall.Message{CallerIP: "fe80::1%eth0"}},
		{"negative delay", "Delay", recall.Message{Delay: -1}},
		{"long delay", "Delay", recall.Message{Delay: time.Until(tenYears) + time.Hour}},
		{"longest delay", "Delay", recall.Message{Delay: 1<<63 - 1}},
		{"far not-before", "NotBefore", recall.Message{NotBefore: tenYears.Add(time.Hour)}},
		{"negative retries", "Retries", recall.Message{Retries: recall.Retries(-1)}},
		{"many retries", "Retries", recall.Message{Retries: recall.Retries(recall.MaxRetries + 1)}},
		{"no expression", "RetryDelay", recall.Message{RetryDelay: "often"}},
		{"long expression", "RetryDelay", recall.Message{RetryDelay: strings.Repeat("1+", 200) + "1"}},
		{"negative timeout", "Timeout", recall.Message{Timeout: -1}},
		{"long timeout", "Timeout", recall.Message{Timeout: recall.MaxTimeout + 1}},
	}
	b := newBroker(t, &recall.Options{NoDispatch: true})
	for _, test := range tests {
		if test.m.URL == "" && test.field != "URL" {
			test.m.URL = endpoint
		}
		_, err := b.Publish(t.Context(), test.m)
		checkInvalid(t, test.name, err, test.field)
		_, err = b.PublishBatch(t.Context(), []recall.Message{{URL: endpoint}, test.m})
		checkInvalid(t, test.name+", in a batch", err, test.field)
		var batch *recall.BatchError
		if !errors.As(err, &batch) || batch.Index != 1 {
			t.Errorf("%s, in a batch: got %v, want a *BatchError for message 1", test.name, err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: the error has %d bytes", test.name, len(err.Error()))
		}
	}
	checkCount(t, b, recall.Count{})
}

// TestValidate: it refuses what Publish refuses, for the same reason, and says what is
// only too much.
func TestValidate(t *testing.T) {
	b := newBroker(t, nil)
	for _, c := range []struct {
		m         recall.Message
		field     string
		overLimit bool
	}{
		{recall.Message{URL: "local:a"}, "", false},
		{recall.Message{Topic: "nobody knows it"}, "", false},
		{recall.Message{Topic: "t", Retries: recall.Retries(-1)}, "Retries", false},
		{recall.Message{Topic: strings.Repeat("t", recall.MaxName+1)}, "Topic", true},
		{recall.Message{}, "URL", false},
		{recall.Message{URL: "local:a", Retries: recall.Retries(recall.MaxRetries + 1)}, "Retries", true},
		{recall.Message{URL: "local:a", Delay: -1}, "Delay", false},
		{recall.Message{URL: "local:a", Delay: 11 * 366 * 24 * time.Hour}, "Delay", true},
		{recall.Message{URL: "local:a", FlowKey: "k", Flow: &recall.FlowLimit{Rate: -1}}, "Flow", false},
		{recall.Message{URL: "local:a", FlowKey: "k", Flow: &recall.FlowLimit{Rate: recall.MaxFlowRate + 1}}, "Flow", true},
		{recall.Message{URL: "local:a", Callback: &recall.Callback{URL: "local:c", Timeout: recall.MaxTimeout + 1}}, "Callback.Timeout", true},
	} {
		err := b.Validate(c.m)
		var bad *recall.InvalidError
		if errors.As(err, &bad) != (c.field != "") || bad != nil && (bad.Field != c.field || bad.OverLimit != c.overLimit) {
			t.Errorf("%+v: got %v, want %q, %t", c.m, err, c.field, c.overLimit)
		}
		if _, published := b.Publish(t.Context(), c.m); c.m.URL != "" && fmt.Sprint(published) != fmt.Sprint(err) {
			t.Errorf("%+v: Publish says %v, Validate %v", c.m, published, err)
		}
	}
}

func TestGoodMessages(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	tests := []recall.Message{
		{URL: "http://api.test"},
		{URL: "HTTPS://API.test:443/%2F?a=b#c"},
		{URL: "http://[2001:db8::1]:8080/"},
		{URL: "http://user:password@api.test/"},
		{URL: "http://bücher.test/ä b"},
		{URL: "local:emails.welcome"},
		{URL: "https://api.test/" + strings.Repeat("x", recall.MaxURL-len("https://api.test/"))},
		{URL: endpoint, Method: "HEAD", Body: make([]byte, recall.DefaultMaxBody)},
		{URL: endpoint, Queue: strings.Repeat("ä", recall.MaxName/2), Topic: "t", ScheduleID: "s", FlowKey: "f", Labels: []string{"a", "b"}, CallerIP: "2001:DB8::1"},
		{URL: endpoint, Header: map[string][]string{"A": {"", "\t", "ä"}}},
		{URL: endpoint, Delay: recall.MaxDelay, Retries: recall.Retries(recall.MaxRetries), Timeout: recall.MaxTimeout},
		{URL: endpoint, NotBefore: time.Unix(0, 0)},
		{URL: endpoint, NotBefore: time.Now().AddDate(10, 0, 0)},
		{URL: endpoint, Delay: time.Until(time.Now().AddDate(10, 0, 0))},
	}
	for i, m := range tests {
		r, err := b.Publish(t.Context(), m)
		if err != nil {
			t.Errorf("message %d: %v", i, err)
			continue
		}
		if got, err := b.Get(t.Context(), r.ID); err != nil || got.URL != m.URL {
			t.Errorf("message %d: got URL %q, %v, want %q", i, got.URL, err, m.URL)
		}
	}
}

func checkInvalid(t *testing.T, name string, err error, field string) {
	t.Helper()
	var bad *recall.InvalidError
	if !errors.Is(err, recall.ErrInvalid) || !errors.As(err, &bad) || bad.Field != field || bad.Reason == "" {
		t.Errorf("%s: got %v, want an *InvalidError for %s", name, err, field)
	}
}

func TestBatchTooLarge(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true, MaxBatch: 2})
	_, err := b.PublishBatch(t.Context(), make([]recall.Message, 3))
	checkInvalid(t, "batch", err, "batch")
}

func TestBadIDs(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	publish(t, b, recall.Message{URL: endpoint})
	for _, id := range []recall.MessageID{
		"", "msg_", "x", "msg_01J0000000000000000000000", someID + "0", "MSG" + someID[3:], "op_" + someID[4:],
		"msg_81J00000000000000000000000", "msg_01J0000000000000000000000U", recall.MessageID(strings.Repeat("x", 5000)),
	} {
		_, err := b.Get(t.Context(), id)
		checkInvalid(t, "Get", err, "ID")
		checkInvalid(t, "Cancel", b.Cancel(t.Context(), id), "ID")
		_, err = b.CancelMatching(t.Context(), recall.Filter{IDs: []recall.MessageID{someID, id}})
		checkInvalid(t, "CancelMatching", err, "Filter.IDs")
		_, err = recall.ParseMessageID(string(id))
		checkInvalid(t, "ParseMessageID", err, "ID")
	}
	if id, err := recall.ParseMessageID(string(someID)); id != someID || err != nil {
		t.Errorf("ParseMessageID: got %s, %v", id, err)
	}
	if _, err := b.Get(t.Context(), someID); !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("Get of an unknown message: got %v, want ErrNotFound", err)
	}
	if err := b.Cancel(t.Context(), someID); !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("Cancel of an unknown message: got %v, want ErrNotFound", err)
	}
	for _, id := range []recall.DeadLetterID{"", "-", "1", "1-", "-1", "1-0", "1--1", "x-1", "1-x", "1-99999999999999999999"} {
		_, err := b.DeleteDeadLetters(t.Context(), "1-1", id)
		checkInvalid(t, "DeleteDeadLetters "+string(id), err, "DeadLetterID")
		_, err = b.RetryDeadLetters(t.Context(), "1-1", id)
		checkInvalid(t, "RetryDeadLetters "+string(id), err, "DeadLetterID")
	}
	checkCount(t, b, recall.Count{Pending: 1})
}

func TestBadFilters(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	publish(t, b, recall.Message{URL: endpoint})
	now := time.Now()
	for _, bad := range []struct {
		field string
		f     recall.Filter
	}{
		{"Filter.From", recall.Filter{From: now.Add(time.Millisecond), To: now}},
		{"Filter.DueAfter", recall.Filter{DueAfter: now.Add(time.Millisecond), DueBefore: now}},
		{"Filter.IDs", recall.Filter{IDs: []recall.MessageID{"x"}}},
		{"Filter.CallerIPs", recall.Filter{CallerIPs: []string{"192.0.2.1", "here"}}},
		{"Filter.CallerIPs", recall.Filter{CallerIPs: []string{""}}},
		{"Filter.CallerIPs", recall.Filter{CallerIPs: []string{"10.0.0.0/33"}}},
		{"Filter.CallerIPs", recall.Filter{CallerIPs: []string{"fe80::1%eth0/64"}}},
		{"Filter.CallerIPs", recall.Filter{CallerIPs: []string{"10.0.0.0/"}}},
		{"Filter.States", recall.Filter{States: []recall.State{recall.StateReady, "Ready"}}},
		{"Filter.States", recall.Filter{States: []recall.State{""}}},
		{"Filter.MinAttempts", recall.Filter{MinAttempts: -1}},
	} {
		field, f := bad.field, bad.f
		_, err := b.CancelMatching(t.Context(), f)
		checkInvalid(t, "CancelMatching", err, field)
		_, err = b.Count(t.Context(), f)
		checkInvalid(t, "Count", err, field)
		_, err = b.Explain(t.Context(), f)
		checkInvalid(t, "Explain", err, field)
		for _, err = range b.List(t.Context(), f) {
			checkInvalid(t, "List", err, field)
		}
		for _, err = range b.DeadLetters(t.Context(), f) {
			checkInvalid(t, "DeadLetters", err, field)
		}
	}
	if _, err := b.CancelMatching(t.Context(), recall.Filter{}); !errors.Is(err, recall.ErrEmptyFilter) {
		t.Errorf("CancelMatching with an empty filter: got %v, want ErrEmptyFilter", err)
	}
	res, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{}})
	if err != nil || res.Cancelled != 0 {
		t.Errorf("CancelMatching with an empty list: got %+v, %v, want nothing cancelled", res, err)
	}
	checkCount(t, b, recall.Count{Pending: 1})
}

func TestBadCancelOptions(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	id := publish(t, b, recall.Message{URL: endpoint})
	all := func(opts ...recall.CancelOption) error { _, err := b.CancelAll(t.Context(), opts...); return err }
	checkInvalid(t, "CancelAll with two policies", all(recall.Sticky, recall.Skip), "Policy")
	checkInvalid(t, "CancelAll with a policy and Wait", all(recall.Abort, recall.Wait(time.Second)), "Policy")
	checkInvalid(t, "CancelAll with a negative expectation", all(recall.ExpectAtMost(-1)), "ExpectAtMost")
	checkInvalid(t, "CancelAll with two expectations", all(recall.ExpectAtMost(1), recall.ExpectExactly(1)), "ExpectExactly")
	checkInvalid(t, "CancelAll with Limit 0", all(recall.Limit(0)), "Limit")
	checkInvalid(t, "CancelAll with an unknown policy", all(recall.Policy(99)), "Policy")
	checkInvalid(t, "CancelAll with a negative Wait", all(recall.Wait(-1)), "Wait")
	checkInvalid(t, "CancelAll with a control character", all(recall.Reason("\x00")), "Reason")
	checkInvalid(t, "CancelAll with a long reason", all(recall.Reason(strings.Repeat("x", recall.MaxReason+1))), "Reason")
	checkInvalid(t, "CancelAll with a bad Wait before a good one", all(recall.Wait(-1), recall.Wait(time.Second)), "Wait")
	checkInvalid(t, "Cancel with Wait", b.Cancel(t.Context(), id, recall.Wait(1)), "Wait")
	checkInvalid(t, "Cancel with Skip", b.Cancel(t.Context(), id, recall.Skip), "Policy")
	checkInvalid(t, "Cancel with Limit", b.Cancel(t.Context(), id, recall.Limit(1)), "Limit")
	checkInvalid(t, "Cancel with ExpectExactly", b.Cancel(t.Context(), id, recall.ExpectExactly(1)), "Expect")
	checkInvalid(t, "Cancel with DryRun", b.Cancel(t.Context(), id, recall.DryRun()), "DryRun")
	checkCount(t, b, recall.Count{Pending: 1})
	if err := b.Cancel(t.Context(), id, nil, recall.Reason("changed my mind")); err != nil {
		t.Errorf("Cancel: %v", err)
	}
}

func TestBadHandlers(t *testing.T) {
	b := newBroker(t, nil)
	h := func(context.Context, *recall.Delivery) error { return nil }
	for _, url := range []string{"", "emails", "local:", "local:a/b", "local:a\nb", "LOCAL:a", "https://api.test/", "local:" + strings.Repeat("x", recall.MaxURL)} {
		checkInvalid(t, "Handle "+url, b.Handle(url, h), "URL")
	}
}

// calls are the methods of a broker that may fail.
func calls(ctx context.Context, b *recall.Broker) map[string]func() error {
	return map[string]func() error{
		"Publish": func() error { _, err := b.Publish(ctx, recall.Message{URL: endpoint}); return err },
		"PublishBatch": func() error {
			_, err := b.PublishBatch(ctx, []recall.Message{{URL: endpoint}})
			return err
		},
		"Get":     func() error { _, err := b.Get(ctx, someID); return err },
		"Count":   func() error { _, err := b.Count(ctx, recall.Filter{}); return err },
		"Explain": func() error { _, err := b.Explain(ctx, recall.Filter{}); return err },
		"List": func() (err error) {
			for _, err = range b.List(ctx, recall.Filter{}) {
			}
			return err
		},
		"DeadLetters": func() (err error) {
			for _, err = range b.DeadLetters(ctx, recall.Filter{}) {
			}
			return err
		},
		"DeleteDeadLetters": func() error { _, err := b.DeleteDeadLetters(ctx, "1-1"); return err },
		"RetryDeadLetters":  func() error { _, err := b.RetryDeadLetters(ctx, "1-1"); return err },
		"Cancel":            func() error { return b.Cancel(ctx, someID) },
		"CancelMatching": func() error {
			_, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"l"}})
			return err
		},
		"CancelAll": func() error { _, err := b.CancelAll(ctx); return err },
	}
}

func TestUseAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := enginetest.NewReference()
		b := newBrokerOn(t, ref, nil)
		publish(t, b, recall.Message{URL: "local:h"})
		closeNow(t, b, t.Context())
		for name, call := range calls(t.Context(), b) {
			if err := call(); !errors.Is(err, recall.ErrClosed) {
				t.Errorf("%s: got %v, want ErrClosed", name, err)
			}
		}
		if err := b.Handle("local:h", nil); !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Handle: got %v, want ErrClosed", err)
		}
		if err := b.Close(t.Context()); !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Close: got %v, want ErrClosed", err)
		}
		b.Stats() // answers still
		checkCount(t, newBrokerOn(t, ref.Reopen(), nil), recall.Count{Pending: 1})
	})
}

func TestCancelledContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		publish(t, b, recall.Message{URL: "local:h", Labels: []string{"l"}})
		for name, call := range calls(done(), b) {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v, want context.Canceled", name, err)
			}
		}
		checkCount(t, b, recall.Count{Pending: 1})
	})
}

// TestLargestMessage publishes what is at every limit at once, and has it delivered:
// then its callback is as large as one can be. Nothing refuses either because of the
// room on a page of the file.
func TestLargestMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
		})})
		name := func(c string) string { return strings.Repeat(c, recall.MaxName) }
		url := func(c string) string { return "https://" + strings.Repeat(c, recall.MaxURL-len("https://")) }
		labels := slices.Repeat([]string{strings.Repeat("l", recall.MaxLabelBytes/recall.MaxLabels)}, recall.MaxLabels)
		callback := &recall.Callback{URL: url("c"), Retries: recall.Retries(recall.MaxRetries), Timeout: recall.MaxTimeout, Delay: time.Hour, Method: "OPTIONS"}
		callback.Callback = &recall.Callback{URL: url("d"), Delay: time.Hour}
		m := recall.Message{
			URL: url("u"), Method: "OPTIONS", Queue: name("q"), Topic: name("t"), ScheduleID: name("s"), FlowKey: name("f"), Labels: labels,
			CallerIP: "1111:1111:1111:1111:1111:1111:1111:1111", NotBefore: time.Now().Add(time.Minute), Timeout: recall.MaxTimeout,
			Retries: recall.Retries(recall.MaxRetries), Priority: recall.MinPriority, Callback: callback,
		}
		if _, err := f.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{m.URL, callback.URL, callback.Callback.URL} {
			f.reopen(t)
			var waiting []recall.Message
			for m, err := range f.List(t.Context(), recall.Filter{}) {
				if waiting = append(waiting, m); err != nil {
					t.Fatal(err)
				}
			}
			if len(waiting) != 1 || waiting[0].URL != want || len(waiting[0].Labels) != recall.MaxLabels {
				t.Fatalf("got %d messages, want one to %.20s", len(waiting), want)
			}
			sleep(time.Hour)
		}
	})
}
