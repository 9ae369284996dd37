package recall_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

func hidden(value string) string { return fmt.Sprintf("REDACTED:%x", sha256.Sum256([]byte(value))) }

// secret is a message with things in it that are not to be shown.
func secret(r *recall.Redaction) recall.Message {
	auth := http.Header{"Authorization": {"token-c"}, "X-Plain": {"plain-c"}}
	return recall.Message{
		URL: "local:h", Body: []byte("body"), Header: http.Header{"authorization": {"token-1", "token-2"}, "X-Plain": {"plain"}},
		Retries: recall.Retries(0), Redact: r,
		Callback:        &recall.Callback{URL: "local:c", Header: auth, Callback: &recall.Callback{URL: "local:cc", Header: auth}},
		FailureCallback: &recall.Callback{URL: "local:f", Header: auth},
	}
}

// wantShown checks what is seen of a secret message: the body, its two headers,
// and those of its callbacks.
func wantShown(t *testing.T, how string, m recall.Message, body, auth, plain bool) {
	t.Helper()
	may := func(hide bool, values ...string) []string {
		for i := range values {
			if hide {
				values[i] = hidden(values[i])
			}
		}
		return values
	}
	if want := may(body, "body")[0]; string(m.Body) != want {
		t.Errorf("%s: body %q, want %q", how, m.Body, want)
	}
	check := func(what string, h http.Header, name string, want []string) {
		t.Helper()
		if got := h[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %s, %s: got %q, want %q", how, what, name, got, want)
		}
	}
	check("header", m.Header, "Authorization", may(auth, "token-1", "token-2"))
	check("header", m.Header, "X-Plain", may(plain, "plain"))
	for _, c := range []*recall.Callback{m.Callback, m.Callback.Callback, m.FailureCallback} {
		check(c.URL, c.Header, "Authorization", may(auth, "token-c"))
		check(c.URL, c.Header, "X-Plain", may(plain, "plain-c"))
	}
}

// TestRedaction: what is read is redacted as the publisher wants it, and handlers,
// callbacks and what is published again get the real thing.
func TestRedaction(t *testing.T) {
	for _, test := range []struct {
		redact            *recall.Redaction
		body, auth, plain bool
	}{
		{nil, false, false, false},
		{&recall.Redaction{}, false, false, false},
		{&recall.Redaction{Body: true}, true, false, false},
		{&recall.Redaction{Headers: true}, false, true, true},
		{&recall.Redaction{Header: []string{"AUTHORIZATION", "X-Other"}}, false, true, false},
		{&recall.Redaction{Body: true, Headers: true, Header: []string{"x-plain"}}, true, true, true},
	} {
		t.Run(fmt.Sprintf("%+v", test.redact), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { redaction(t, test.redact, test.body, test.auth, test.plain) })
		})
	}
}

func redaction(t *testing.T, r *recall.Redaction, body, auth, plain bool) {
	var log logs
	f := openFile(t, &recall.Options{Logger: log.logger(), Slots: 1}) // one handler at a time: no locks below
	id := publish(t, f.Broker, secret(r))
	real := func(how string, m recall.Message) {
		t.Helper()
		wantShown(t, how, m, false, false, false)
	}
	shown := func(how string, m recall.Message) {
		t.Helper()
		wantShown(t, how, m, body, auth, plain)
	}
	look := func(id recall.MessageID) {
		t.Helper()
		m, err := f.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		shown("Get", m)
		for m, err := range f.List(t.Context(), recall.Filter{IDs: []recall.MessageID{id}}) {
			if err != nil {
				t.Fatal(err)
			}
			shown("List", m)
		}
	}
	look(id)
	f.reopen(t)
	look(id)
	tries := 0
	handle(t, f.Broker, "local:h", func(_ context.Context, d *recall.Delivery) error {
		real("handler", d.Message)
		tries++
		return errors.New("no")
	})
	synctest.Wait()
	d := onlyDead(t, f.Broker)
	shown("dead letter", d.Message)
	wantCallbackShown(t, f.Broker, r)
	if _, err := f.RetryDeadLetters(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if tries != 2 {
		t.Errorf("got %d attempts, want 2", tries)
	}
	got := ""
	handle(t, f.Broker, "local:f", func(_ context.Context, d *recall.Delivery) error {
		got = string(d.Body)
		return nil
	})
	synctest.Wait()
	if want := `"sourceHeader":{"Authorization":["token-1","token-2"],"X-Plain":["plain"]},"sourceBody":"Ym9keQ=="`; !strings.Contains(got, want) {
		t.Errorf("the receiver of a callback: got %s", got)
	}
	for _, text := range []string{"token", "plain", "body"} {
		if log.count(text) > 0 {
			t.Errorf("the log has %q: %s", text, log.String())
		}
	}
}

// wantCallbackShown: what is seen of a callback hides all of its body if anything
// of its message is hidden.
func wantCallbackShown(t *testing.T, b *recall.Broker, r *recall.Redaction) {
	t.Helper()
	n := 0
	for m, err := range b.List(t.Context(), recall.Filter{URLs: []string{"local:f"}}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if got := strings.HasPrefix(string(m.Body), "REDACTED:"); got != (r != nil) {
			t.Errorf("callback: got the body %s", m.Body)
		}
		if got := m.Header.Get("Authorization"); (got == "token-c") != (r == nil || !r.Headers && r.Header == nil) {
			t.Errorf("callback: got Authorization %q", got)
		}
	}
	if n != 1 {
		t.Errorf("got %d failure callbacks", n)
	}
}

// TestRedactionOfNothing: what is empty stays empty, and nothing is added.
func TestRedactionOfNothing(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	id := publish(t, b, recall.Message{URL: "local:h", Delay: time.Hour, Redact: &recall.Redaction{Body: true, Headers: true}})
	m, err := b.Get(t.Context(), id)
	if err != nil || len(m.Body) != 0 || len(m.Header) != 0 || m.Callback != nil || !m.Redact.Body {
		t.Errorf("got %+v, %v", m, err)
	}
}

// TestScheduleIsRedacted: a schedule is shown redacted, publishes the real thing, and
// is not replaced by what is shown of it.
func TestScheduleIsRedacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFileBroker(t, nil)
		var got string
		handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
			got = string(d.Body) + d.Header.Get("Authorization")
			return nil
		})
		redact := &recall.Redaction{Body: true, Header: []string{"authorization"}}
		m := secret(redact)
		m.Header = http.Header{"Authorization": {"token-1", "token-2"}, "X-Plain": {"plain"}}
		set, err := b.SetSchedule(t.Context(), recall.Schedule{ID: "s", Cron: "* * * * *", Message: m})
		if err != nil {
			t.Fatal(err)
		}
		one, err := b.Schedule(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		all, err := b.Schedules(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("Schedules: %v, %v", all, err)
		}
		for how, s := range map[string]recall.Schedule{"SetSchedule": set, "Schedule": one, "Schedules": all[0]} {
			wantShown(t, how, s.Message, true, true, false)
		}
		sleep(time.Minute)
		if got != "bodytoken-1" {
			t.Errorf("delivered %q", got)
		}
		refused := func(what, field string) {
			t.Helper()
			var invalid *recall.InvalidError
			if _, err := b.SetSchedule(t.Context(), one); !errors.As(err, &invalid) || invalid.Field != field {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("all that is shown", "Body")
		one.Message.Body = []byte("new")
		refused("the headers that are shown", "Header")
		one.Message.Header = m.Header
		refused("the headers that are shown of callbacks", "Header")
		one.Message.Callback, one.Message.FailureCallback = m.Callback, m.FailureCallback
		if _, err := b.SetSchedule(t.Context(), one); err != nil {
			t.Error(err)
		}
	})
}
