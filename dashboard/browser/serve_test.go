package browser_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dashboard"
)

const token = "a-token-for-the-browser"

// serve starts the dashboards that the cases look at, on one server and under
// prefixes, until the test ends.
func serve(t *testing.T) settings {
	b := openBroker(t, "q.db", endpoints{ended: t.Context().Done()})
	pages := fill(t, b)
	work := openBroker(t, "work.db", endpoints{})
	fillToChange(t, work)
	empty := openBroker(t, "empty.db", endpoints{})
	mux := http.NewServeMux()
	for prefix, d := range map[string]struct {
		b    *recall.Broker
		opts dashboard.Options
	}{
		"/queue": {b, dashboard.Options{}},
		"/busy":  {work, dashboard.Options{}},
		"/look":  {b, dashboard.Options{ReadOnly: true, Title: "Orders"}},
		"/login": {b, dashboard.Options{Tokens: []string{token}}},
		"/empty": {empty, dashboard.Options{}},
	} {
		d.opts.Logger = slog.New(slog.DiscardHandler)
		mux.Handle(prefix+"/", http.StripPrefix(prefix, dashboard.Handler(d.b, &d.opts)))
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return settings{
		URL: server.URL + "/queue/", Work: server.URL + "/busy/", ReadOnly: server.URL + "/look/", Login: server.URL + "/login/", Empty: server.URL + "/empty/",
		Token: token, Pages: pages,
	}
}

func openBroker(t *testing.T, file string, transport http.RoundTripper) *recall.Broker {
	t.Helper()
	b, err := recall.Open(filepath.Join(t.TempDir(), file), &recall.Options{
		Durability: recall.SyncNever, Transport: transport, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.Close(ctx) // attempts that hang are cut short
	})
	return b
}

// endpoints stand for the hosts that deliveries go to, without a network.
type endpoints struct{ ended <-chan struct{} }

func (e endpoints) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := http.StatusOK, "ok"
	switch r.URL.Hostname() {
	case "slow.example.com":
		select {
		case <-e.ended:
		case <-r.Context().Done():
		}
		return nil, errors.New("it took too long")
	case "broken.example.com":
		status, body = http.StatusBadGateway, `{"error":"upstream is down","trace":"<script>alert(1)</script>"}`
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"req-71"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// markup is what a careless page would take for its own.
const markup = `"><script>document.title='taken'</script><img src=x onerror=alert(1)>'`

// fill publishes what the pages show, and returns their addresses.
func fill(t *testing.T, b *recall.Broker) map[string]string {
	t.Helper()
	ctx := t.Context()
	publish := func(m recall.Message) recall.MessageID {
		r, err := b.Publish(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	for i := range 40 {
		publish(recall.Message{URL: "https://mail.example.com/campaign", Labels: []string{"campaign-12"}, Delay: time.Duration(i+1) * time.Hour, Body: []byte(`{"user":7}`)})
	}
	for range 60 {
		publish(recall.Message{URL: "https://shop.example.com/orders/follow-up?step=2", Labels: []string{"orders", "follow-up"}, Delay: 26 * time.Hour})
	}
	for range 9 {
		publish(recall.Message{URL: "https://shop.example.com/orders/paid", Queue: "invoices", Labels: []string{"orders"}, Delay: time.Minute})
	}
	nasty := publish(recall.Message{
		URL: "https://shop.example.com/search?q=" + strings.Repeat("long-", 60) + `<b>"x"</b>`, Labels: []string{markup}, Delay: time.Hour,
		Header: http.Header{"X-Note": {markup}}, Body: []byte(markup), Retries: recall.Retries(5),
	})
	publish(recall.Message{URL: "https://slow.example.com/report", Labels: []string{"report"}, Timeout: time.Hour})
	for range 5 {
		publish(recall.Message{URL: "https://report.example.com/monthly", Labels: []string{"report"}, Delay: time.Hour})
	}
	dead := publish(recall.Message{URL: "https://broken.example.com/hook", Labels: []string{"orders"}, Retries: recall.Retries(0), Body: []byte(`{"order":1207}`)})
	for i := range 6 {
		publish(recall.Message{URL: "https://broken.example.com/hook", FlowKey: "partner", Retries: recall.Retries(i % 2), RetryDelay: "3600000", Labels: []string{"sync"}})
	}
	setUp(t, b)
	traffic(t, b)
	waitFor(t, "a dead letter and an attempt that hangs", func() bool {
		s := b.Stats()
		return s.DeadLetters >= 3 && s.InFlight >= 1 && s.Failed >= 7
	})
	r, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"follow-up"}}, recall.Limit(25), recall.Reason("sent to the wrong list"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.CancelFuture(ctx, recall.Filter{Hosts: []string{"old.example.com"}}, time.Now().Add(time.Hour), recall.Reason("the host is gone")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Hold(ctx, recall.Filter{Labels: []string{"follow-up"}}, recall.Limit(10)); err != nil {
		t.Fatal(err)
	}
	var letter recall.DeadLetterID
	for d, err := range b.DeadLetters(ctx, recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Message.ID == dead {
			letter = d.ID
		}
	}
	return map[string]string{
		"overview": "", "messages": "messages", "message": "messages/" + string(nasty), "gone": "messages/" + string(dead),
		"bulk": "bulk?labels=campaign-12", "bulk-empty": "bulk", "bulk-blocked": "bulk?labels=report&policy=wait",
		"confirm": "bulk/confirm?labels=campaign-12", "operations": "operations", "operation": "operations/" + string(r.Operation),
		"standing": "standing", "dead": "dead", "deadletter": "dead/" + string(letter), "dead-delete": "dead/delete?id=" + string(letter),
		"reschedule": "bulk?labels=campaign-12&verb=reschedule&due=2027-01-02T03:04", "reschedule-when": "bulk?labels=campaign-12&verb=reschedule",
		"reschedule-confirm": "bulk/confirm?labels=campaign-12&verb=reschedule&due=2020-01-02T03:04",
		"schedule-delete":    "schedules/delete?name=nightly-report", "queues": "queues", "flow": "flow",
		"schedules": "schedules", "topics": "topics", "events": "events",
	}
}

// fillToChange makes what cases change. Each has a label, a queue or a schedule that no
// other touches.
func fillToChange(t *testing.T, b *recall.Broker) {
	t.Helper()
	for _, label := range []string{"campaign-12", "newsletter", "reminder", "survey", "parcel"} {
		for i := range 40 {
			m := recall.Message{URL: "https://mail.example.com/" + label, Labels: []string{label}, Delay: time.Duration(i+1) * time.Hour}
			if _, err := b.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, schedule := range []string{"nightly", "nightly, plain"} {
		_, err := b.SetSchedule(t.Context(), recall.Schedule{ID: schedule, Cron: "@every 90m", Message: recall.Message{URL: "https://report.example.com/"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		m := recall.Message{URL: "https://broken.example.com/hook", Labels: []string{[]string{"one", "two", "plain"}[i/2]}, Retries: recall.Retries(0)}
		if _, err := b.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "dead letters", func() bool { return b.Stats().DeadLetters == 6 })
	for _, queue := range []string{"exports by mouse", "exports by space bar"} {
		if err := b.SetQueue(t.Context(), queue, 4); err != nil {
			t.Fatal(err)
		}
	}
}

// setUp makes what stands beside messages.
func setUp(t *testing.T, b *recall.Broker) {
	t.Helper()
	ctx := t.Context()
	_, topic := b.AddEndpoints(ctx, "orders", recall.Endpoint{Name: "shop", URL: "https://shop.example.com/events"}, recall.Endpoint{URL: "https://audit.example.com/in"})
	_, schedule := b.SetSchedule(ctx, recall.Schedule{ID: "nightly-report", Cron: "CRON_TZ=Europe/Berlin 30 2 * * *", Message: recall.Message{URL: "https://report.example.com/nightly"}})
	_, every := b.SetSchedule(ctx, recall.Schedule{ID: "sync", Cron: "@every 90m", Message: recall.Message{Topic: "orders"}})
	for _, err := range []error{
		topic, schedule, every, b.PauseSchedule(ctx, "sync"), b.SetQueue(ctx, "exports", 4), b.PauseQueue(ctx, "exports"),
		b.PinFlow(ctx, "partner", recall.FlowLimit{Rate: 100, Period: time.Minute, Parallelism: 4}),
		b.PinFlow(ctx, "maps", recall.FlowLimit{Rate: 20}), b.PauseFlow(ctx, "maps"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// traffic keeps some deliveries going, so that there is something to draw.
func traffic(t *testing.T, b *recall.Broker) {
	t.Helper()
	err := b.Handle("local:emails", func(ctx context.Context, _ *recall.Delivery) error {
		select {
		case <-time.After(time.Duration(2+rand.IntN(20)) * time.Millisecond):
		case <-ctx.Done():
		}
		if rand.IntN(50) == 0 {
			return errors.New("mailbox is busy")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for tick := time.NewTicker(25 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				_, _ = b.Publish(context.Background(), recall.Message{URL: "local:emails", Labels: []string{"welcome"}}) // it is only traffic
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
}

func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s in time", what)
		}
	}
}

// keepPictures copies those that the documentation shows.
func keepPictures(t *testing.T, from string) {
	t.Helper()
	for _, name := range []string{"overview-live-1280-light", "overview-live-1280-dark", "bulk-1280-light", "bulk-blocked-360-dark"} {
		picture, err := os.ReadFile(filepath.Join(from, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "images", name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
