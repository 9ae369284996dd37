package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// TestErrorsOverTheWire sends every error there and back: errors.Is knows it, and its
// text is the same.
func TestErrorsOverTheWire(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []struct {
		err error
		is  []error
	}{
		{admin.ErrUnauthorized, []error{admin.ErrUnauthorized}},
		{admin.ErrForbidden, []error{admin.ErrForbidden}},
		{admin.ErrTooLarge, []error{admin.ErrTooLarge}},
		{admin.ErrTooManyRequests, []error{admin.ErrTooManyRequests}},
		{recall.ErrEmptyFilter, []error{recall.ErrEmptyFilter}},
		{recall.ErrNotFound, []error{recall.ErrNotFound}},
		{fmt.Errorf("%w: queue %q", recall.ErrNotFound, "q"), []error{recall.ErrNotFound}},
		{recall.ErrNoTopic, []error{recall.ErrNoTopic}},
		{recall.ErrNoSchedule, []error{recall.ErrNoSchedule}},
		{recall.ErrNotCancellable, []error{recall.ErrNotCancellable}},
		{recall.ErrQueueNotEmpty, []error{recall.ErrQueueNotEmpty}},
		{recall.ErrUndoExpired, []error{recall.ErrUndoExpired}},
		{recall.ErrUnexpectedCount, []error{recall.ErrUnexpectedCount}},
		{recall.ErrDeduplicationFull, []error{recall.ErrDeduplicationFull, recall.ErrFull}},
		{recall.ErrFull, []error{recall.ErrFull}},
		{recall.ErrFailed, []error{recall.ErrFailed}},
		{fmt.Errorf("%w: bucket record, key 7", recall.ErrCorrupt), []error{recall.ErrCorrupt}},
		{recall.ErrClosed, []error{recall.ErrClosed}},
		{recall.ErrUnsupported, []error{recall.ErrUnsupported}},
		{&recall.InvalidError{Field: "URL", Reason: "no", OverLimit: true}, []error{recall.ErrInvalid}},
		{&recall.BatchError{Index: 3, Err: &recall.InvalidError{Field: "Queue", Reason: "it is empty"}}, []error{recall.ErrInvalid}},
		{&recall.BatchError{Index: 0, Err: fmt.Errorf("%w: topic %q", recall.ErrNoTopic, "t")}, []error{recall.ErrNoTopic}},
		{fmt.Errorf("over there: %w", &recall.BatchError{Err: recall.ErrNoTopic}), []error{recall.ErrNoTopic}},
	} {
		got := admin.OverTheWire(c.err)
		if got.Error() != c.err.Error() {
			t.Errorf("%v: got %v", c.err, got)
		}
		for _, is := range c.is {
			if !errors.Is(got, is) {
				t.Errorf("%v: it is no longer %v", c.err, is)
			}
		}
		seen[admin.CodeOf(c.err)] = true
	}
	for _, code := range admin.Codes() {
		if !seen[code] && !slices.Contains([]string{"no_such_call", "method_not_allowed", "interrupted"}, code) {
			t.Errorf("%s is not tried", code)
		}
	}
	if got := admin.OverTheWire(errors.New("disk on fire")); got.Error() != "disk on fire" {
		t.Errorf("got %v", got)
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} { // of the server: the context of the caller goes on
		if got := admin.OverTheWire(err); errors.Is(got, err) {
			t.Errorf("%v is one of the client", err)
		}
	}
}

// TestTypedErrors: what an error carries arrives.
func TestTypedErrors(t *testing.T) {
	for _, want := range []error{
		&recall.InvalidError{Field: "URL", Reason: "no", OverLimit: true},
		&recall.NotCancellableError{ID: "msg_x", State: recall.StateInFlight, Cancelled: 7},
		&recall.NotCancellableError{ID: "msg_x", State: recall.StateInFlight, Cancelled: 7, Operation: recall.OperationHold},
		&recall.UnexpectedCountError{Found: 3, Least: 1, Most: 2},
		&recall.UnexpectedCountError{Found: 3},
		&recall.DeduplicationFullError{Indexes: []int{1, 4}},
		&recall.BatchError{Index: 2, Err: &recall.InvalidError{Field: "URL", Reason: "no"}},
	} {
		if got := admin.OverTheWire(want); !reflect.DeepEqual(got, want) {
			t.Errorf("got %#v, want %#v", got, want)
		}
		wrapped := fmt.Errorf("wrapped: %w", want)
		got := admin.OverTheWire(wrapped)
		target := reflect.New(reflect.TypeOf(want))
		if !errors.As(got, target.Interface()) || !reflect.DeepEqual(target.Elem().Interface(), want) || got.Error() != wrapped.Error() {
			t.Errorf("wrapped: got %#v, want %#v", got, want)
		}
	}
}

// TestOtherServers: what is not of this API is said to be so, and is no missing
// message.
func TestOtherServers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
	}{{404, "404 page not found"}, {404, `{"error":"no such endpoint"}`}, {502, "<html>"}, {200, "hello"}} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		})
		_, err := client(t, h, "").Count(t.Context(), recall.Filter{})
		var other *admin.StatusError
		switch {
		case err == nil || errors.Is(err, recall.ErrNotFound):
			t.Errorf("%d: got %v", c.status, err)
		case c.status != 200 && (!errors.As(err, &other) || other.Status != c.status || !strings.Contains(err.Error(), "is it Recall")):
			t.Errorf("%d: got %v", c.status, err)
		}
	}
	for _, url := range []string{"", "queue.test", "ftp://queue.test", "http://", "http://queue.test?x=1", "http://queue.test#x", "http://[::1"} {
		if _, err := admin.New(url, "", nil); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%q: got %v", url, err)
		}
	}
}

// TestLiveErrors meets errors of a broker through all of it.
func TestLiveErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, b *recall.Broker, c *admin.Client) {
		ctx := t.Context()
		publish(t, b, recall.Message{Labels: []string{"x"}}, recall.Message{Queue: "q", Labels: []string{"x"}}, recall.Message{Labels: []string{"x"}})
		_, err := c.CancelMatching(ctx, recall.Filter{Labels: []string{"x"}}, admin.Bulk{ExpectExactly: ptr(2)})
		var count *recall.UnexpectedCountError
		if !errors.As(err, &count) || count.Found != 3 || count.Most != 2 {
			t.Errorf("got %v", err)
		}
		if _, err := c.CancelMatching(ctx, recall.Filter{}, admin.Bulk{}); !errors.Is(err, recall.ErrEmptyFilter) {
			t.Errorf("got %v", err)
		}
		for _, how := range []admin.Bulk{{Policy: "nonsense"}, {Policy: "skip", Wait: 1}, {Limit: -1}} {
			if _, err := c.CancelAll(ctx, how); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%+v: got %v", how, err)
			}
		}
		if _, err := c.Get(ctx, "nonsense"); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		if err := c.DeleteQueue(ctx, "q"); !errors.Is(err, recall.ErrQueueNotEmpty) {
			t.Errorf("got %v", err)
		}

		// The second of three is in flight: the error has the blocker, the result what
		// was cancelled before it.
		got := must(b.Receive(ctx, "q", 1, recall.PollFor(0)))(t)
		if len(got) != 0 {
			t.Fatalf("due too early: %v", got)
		}
		if _, err := b.RetryNow(ctx, recall.Filter{Queues: []string{"q"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Reschedule(ctx, recall.Filter{Queues: []string{"q"}}, b.Options().Clock.Now(), admin.Bulk{}); err != nil {
			t.Fatal(err)
		}
		leased := must(b.Receive(ctx, "q", 1))(t)
		r, err := c.CancelMatching(ctx, recall.Filter{Labels: []string{"x"}}, admin.Bulk{})
		var blocked *recall.NotCancellableError
		if !errors.As(err, &blocked) || blocked.ID != leased[0].ID || blocked.Cancelled != 1 || blocked.State != recall.StateInFlight {
			t.Errorf("got %v", err)
		}
		if r.Cancelled != 1 || r.Operation == "" {
			t.Errorf("got %+v", r)
		}
	})
}
