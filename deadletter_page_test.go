package recall_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func TestDeadLetterPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		bury(t, b, 7) // four with label a
		f := recall.Filter{Labels: []string{"a"}}
		var got []recall.DeadLetterID
		for after := recall.DeadLetterID(""); ; {
			page, err := b.DeadLetterPage(t.Context(), f, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range page.DeadLetters {
				got = append(got, d.ID)
			}
			if after = page.Next; after == "" {
				break
			}
			if len(page.DeadLetters) != 2 {
				t.Fatalf("a page of %d before the end", len(page.DeadLetters))
			}
		}
		var want []recall.DeadLetterID
		for _, d := range deadLetters(t, b) {
			if d.Message.Labels[0] == "a" {
				want = append(want, d.ID)
			}
		}
		if len(want) != 4 || !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for _, limit := range []int{0, -1, recall.MaxDeadLetterPage + 1} {
			if _, err := b.DeadLetterPage(t.Context(), f, "", limit); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("limit %d: got %v", limit, err)
			}
		}
		if _, err := b.DeadLetterPage(t.Context(), f, "x", 1); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("no id: got %v", err)
		}
		if _, err := b.DeleteDeadLetters(t.Context(), want[0]); err != nil {
			t.Fatal(err)
		}
		page, err := b.DeadLetterPage(t.Context(), f, want[0], 3) // one that is gone
		if err != nil || len(page.DeadLetters) != 3 || page.Next != "" {
			t.Errorf("behind one that is gone: got %+v, %v", page, err)
		}
	})
}

func TestDeadLetterByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		bury(t, b, 3)
		all := deadLetters(t, b)
		for _, want := range all {
			got, err := b.DeadLetter(t.Context(), want.ID)
			if err != nil || got.ID != want.ID || got.Message.ID != want.Message.ID {
				t.Errorf("%s: got %+v, %v", want.ID, got, err)
			}
			if id, err := recall.ParseDeadLetterID(string(want.ID)); id != want.ID || err != nil {
				t.Errorf("parse %s: got %q, %v", want.ID, id, err)
			}
		}
		if _, err := b.DeleteDeadLetters(t.Context(), all[1].ID); err != nil {
			t.Fatal(err)
		}
		for _, id := range []recall.DeadLetterID{all[1].ID, "1-1", "946684800000-99"} {
			if _, err := b.DeadLetter(t.Context(), id); !errors.Is(err, recall.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", id, err)
			}
		}
		for _, id := range []recall.DeadLetterID{"", "1", "1-0", "a-1", "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
			if _, err := b.DeadLetter(t.Context(), id); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("%q: got %v, want ErrInvalid", id, err)
			}
			if _, err := recall.ParseDeadLetterID(string(id)); !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("parse %q: got %v, want ErrInvalid", id, err)
			}
		}
	})
}

func TestRetryDeadLettersWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		handle(t, b, "local:bad", func(context.Context, *recall.Delivery) error {
			return recall.Permanent(errors.New("refused"))
		})
		old := publish(t, b, recall.Message{
			URL: "local:bad", Body: []byte("secret"), Header: http.Header{"A": {"1"}}, Redact: &recall.Redaction{Body: true},
			Retries: recall.Retries(5), Delay: time.Minute, FlowKey: "k",
		})
		sleep(time.Hour)
		dead := onlyDead(t, b)
		refuse := errors.New("no")
		for name, test := range map[string]struct {
			change func(*recall.Message) error
			want   error
		}{
			"not valid": {func(m *recall.Message) error { m.Retries = recall.Retries(-1); return nil }, recall.ErrInvalid},
			"its own":   {func(*recall.Message) error { return refuse }, refuse},
		} {
			if r, err := b.RetryDeadLettersWith(t.Context(), test.change, dead.ID); !errors.Is(err, test.want) || r != nil {
				t.Errorf("%s: got %v, %v", name, r, err)
			}
			if got := onlyDead(t, b); got.ID != dead.ID {
				t.Errorf("%s: got %v", name, got)
			}
		}
		receipts, err := b.RetryDeadLettersWith(t.Context(), func(m *recall.Message) error {
			if string(m.Body) != "secret" || m.Delay != 0 || *m.Retries != 5 || m.FlowKey != "k" {
				t.Errorf("change was given %+v", m)
			}
			m.Delay, m.Retries, m.Labels = time.Hour, recall.Retries(0), []string{"again"}
			m.DeduplicationID = "twice"
			m.Header.Set("A", "2")
			return nil
		}, dead.ID, "1-99", dead.ID)
		if err != nil || len(receipts) != 1 || receipts[0].ID == old || receipts[0].Deduplicated {
			t.Fatalf("got %+v, %v", receipts, err)
		}
		m, err := b.Get(t.Context(), receipts[0].ID)
		if err != nil || !m.DueAt.Equal(time.Now().Add(time.Hour)) || *m.Retries != 0 || m.Labels[0] != "again" ||
			m.Header.Get("A") != "2" || m.State != recall.StateDelayed || m.FlowKey != "k" || m.Attempts != 0 {
			t.Errorf("got %+v, %v", m, err)
		}
		if left := deadLetters(t, b); len(left) != 0 {
			t.Errorf("%d dead letters are left", len(left))
		}
		publish(t, b, recall.Message{URL: "local:bad", DeduplicationID: "twice"})
	})
	b, err := recall.New(&enginetest.Faulty{Engine: enginetest.NewReference()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, b, context.Background())
	if _, err := b.RetryDeadLettersWith(t.Context(), nil, "1-1"); !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("an engine that cannot: got %v", err)
	}
}

// TestStarted publishes from within the call: what comes then is not touched.
func TestStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{NoDispatch: true})
		publish(t, b, recall.Message{URL: "local:a"})
		var started []recall.OperationID
		note := recall.Started(func(id recall.OperationID) { started = append(started, id) })
		res, err := b.CancelAll(t.Context(), note)
		if err != nil || res.Cancelled != 1 || len(started) != 1 || started[0] != res.Operation {
			t.Errorf("got %+v, %v, started %v", res, err, started)
		}
		if _, err := b.CancelMatching(t.Context(), recall.Filter{}, note); err == nil || len(started) != 1 {
			t.Errorf("a call that is refused: %v, %v", err, started)
		}
		if err := b.Cancel(t.Context(), "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", note); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("a single one: got %v", err)
		}
		if _, err := b.DeleteDeadMatching(t.Context(), recall.Filter{Queues: []string{"q"}}, note); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("dead letters: got %v", err)
		}
	})
}
