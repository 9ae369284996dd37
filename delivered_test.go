package recall_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func wantDelivered(t *testing.T, b *recall.Broker, id recall.MessageID, body string) {
	t.Helper()
	m, err := b.Delivered(t.Context(), id)
	if err != nil || m.ID != id || string(m.Body) != body || m.Attempts != 1 || m.State != "" {
		t.Errorf("Delivered: got %+v, %v, want body %q", m, err, body)
	}
}

func wantNotKept(t *testing.T, b *recall.Broker, id recall.MessageID) {
	t.Helper()
	if m, err := b.Delivered(t.Context(), id); !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("Delivered: got %+v, %v, want ErrNotFound", m, err)
	}
}

func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{DeliveredRetention: 10 * time.Second})
		handle(t, b, "local:good", func(_ context.Context, d *recall.Delivery) error {
			d.Body[0] = 'X' // its own affair
			d.Header.Set("A", "changed")
			return nil
		})
		handle(t, b, "local:bad", func(context.Context, *recall.Delivery) error { return recall.Permanent(errors.New("no")) })
		later := publish(t, b, recall.Message{URL: "local:good", Delay: time.Hour, Body: []byte("later")})
		dead := publish(t, b, recall.Message{URL: "local:bad"})
		id := publish(t, b, recall.Message{URL: "local:good", Body: []byte("body"), Header: http.Header{"A": {"1"}}})
		synctest.Wait()
		wantDelivered(t, b, id, "Xody") // the handler got the message itself, before it was kept
		for _, other := range []recall.MessageID{later, dead, "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
			wantNotKept(t, b, other)
		}
		if _, err := b.Delivered(t.Context(), "x"); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("no id: got %v", err)
		}
		sleep(10*time.Second - time.Millisecond)
		wantDelivered(t, b, id, "Xody")
		sleep(time.Millisecond)
		wantNotKept(t, b, id)
	})
}

// TestDeliveredByConsumer has a consumer that goes on to use what it received.
func TestDeliveredByConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{DeliveredRetention: time.Minute})
		id := publish(t, b, recall.Message{Queue: "q", Body: []byte("body")})
		got, err := b.Receive(t.Context(), "q", 1)
		if err != nil {
			t.Fatal(err)
		}
		body := got[0].Body
		if err := got[0].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		copy(body, "XXXX")
		wantDelivered(t, b, id, "body")
	})
}

// TestDeliveredOff keeps nothing unless it is asked for.
func TestDeliveredOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		handle(t, b, "local:good", func(context.Context, *recall.Delivery) error { return nil })
		id := publish(t, b, recall.Message{URL: "local:good"})
		synctest.Wait()
		wantNotKept(t, b, id)
	})
	for _, o := range []recall.Options{{DeliveredRetention: -1}, {DeliveredBytes: -1}} {
		if _, err := recall.New(enginetest.NewReference(), &o); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

// TestDeliveredBytes has room for three messages.
func TestDeliveredBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 10_000
		b := newBroker(t, &recall.Options{DeliveredRetention: time.Hour, DeliveredBytes: 4 * size})
		handle(t, b, "local:good", func(context.Context, *recall.Delivery) error { return nil })
		var ids []recall.MessageID
		for range 5 {
			ids = append(ids, publish(t, b, recall.Message{URL: "local:good", Body: make([]byte, size)}))
			synctest.Wait()
		}
		large := publish(t, b, recall.Message{URL: "local:good", Body: make([]byte, 5*size)})
		synctest.Wait()
		wantNotKept(t, b, large)
		for i, id := range ids {
			if i < 2 {
				wantNotKept(t, b, id)
			} else {
				wantDelivered(t, b, id, string(make([]byte, size)))
			}
		}
	})
}

// TestDeliveredRedacted shows of a delivered message what was shown before.
func TestDeliveredRedacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "q.db")
		b := logFile(t, path, recall.Options{DeliveredRetention: time.Minute})
		handle(t, b, "local:good", func(context.Context, *recall.Delivery) error { return nil })
		m := recall.Message{
			URL: "local:good", Body: []byte("secret"), Header: http.Header{"Token": {"secret"}, "Other": {"plain"}},
			Redact: &recall.Redaction{Body: true, Header: []string{"token"}}, Delay: time.Second,
		}
		id := publish(t, b, m)
		before, err := b.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		sleep(2 * time.Second)
		got, err := b.Delivered(t.Context(), id)
		if err != nil || string(got.Body) != string(before.Body) || !strings.HasPrefix(string(got.Body), "REDACTED:") ||
			got.Header.Get("Token") != before.Header.Get("Token") || got.Header.Get("Other") != "plain" {
			t.Errorf("got %+v, %v, want as before %+v", got, err, before)
		}
		closeNow(t, b, t.Context())
		if _, err := b.Delivered(t.Context(), id); !errors.Is(err, recall.ErrClosed) {
			t.Errorf("closed: got %v", err)
		}
		b = logFile(t, path, recall.Options{DeliveredRetention: time.Minute})
		defer closeNow(t, b, context.Background())
		wantNotKept(t, b, id) // it does not survive a restart
	})
}

// TestDeliveredNotTaken has an engine that does not take the outcome: the message
// lives, and is not a delivered one.
func TestDeliveredNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := true
		engine := &enginetest.Faulty{Engine: enginetest.NewReference(), Before: func(c enginetest.Call) error {
			if c == enginetest.CallFinish && refuse {
				return recall.ErrLeaseLost
			}
			return nil
		}}
		b, err := recall.New(engine, &recall.Options{DeliveredRetention: time.Minute, Logger: new(logs).logger()})
		if err != nil {
			t.Fatal(err)
		}
		defer closeNow(t, b, context.Background())
		handle(t, b, "local:good", func(context.Context, *recall.Delivery) error { return nil })
		id := publish(t, b, recall.Message{URL: "local:good"})
		synctest.Wait()
		wantNotKept(t, b, id)
		if err := b.Cancel(t.Context(), id, recall.Sticky); err != nil {
			t.Fatal(err)
		}
		wantNotKept(t, b, id)
	})
}
