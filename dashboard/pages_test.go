package dashboard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dashboard"
)

// answers stands for every host: it gives status 500 and a body.
type answers struct{ body string }

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusInternalServerError, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"X-Trace": {a.body}}, Body: io.NopCloser(strings.NewReader(a.body)),
	}, nil
}

// firstDead returns the oldest dead letter.
func firstDead(t *testing.T, b *recall.Broker) recall.DeadLetter {
	t.Helper()
	for d, err := range b.DeadLetters(t.Context(), recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Fatal("there is no dead letter")
	return recall.DeadLetter{}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestEveryPageEmpty(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	web := open(t, b, nil)
	for path, says := range map[string]string{
		"/": "None so far", "/messages": "No messages wait", "/bulk": "An empty filter takes nothing", "/operations": "No bulk operations",
		"/standing": "None.", "/dead": "No dead letters", "/queues": "No queues", "/flow": "No flow keys", "/schedules": "No schedules",
		"/topics": "No URL groups", "/events": "The log has none",
	} {
		a := web.get(path)
		a.check(t, http.StatusOK, says, "<!doctype html>", `aria-current="page"`)
		if kind := a.Header.Get("Content-Type"); kind != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", path, kind)
		}
	}
}

func TestEveryPageFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{Transport: answers{"the database is away"}})
		ctx := t.Context()
		_, topic := b.AddEndpoints(ctx, "orders", recall.Endpoint{Name: "shop", URL: "https://shop.example.com/in"})
		_, schedule := b.SetSchedule(ctx, recall.Schedule{ID: "nightly", Cron: "30 2 * * *", Message: recall.Message{URL: "https://report.example.com/"}})
		must(t, topic, schedule, b.SetQueue(ctx, "invoices", 3), b.PauseQueue(ctx, "invoices"),
			b.PinFlow(ctx, "partner", recall.FlowLimit{Rate: 5, Period: time.Minute}), b.PauseFlow(ctx, "partner"))
		waits := publish(t, b, recall.Message{Queue: "invoices", URL: "https://example.com/invoice", Labels: []string{"order-7"}, Body: []byte("hello")})
		publish(t, b, recall.Message{FlowKey: "partner"})
		dies := publish(t, b, recall.Message{Retries: recall.Retries(0), Body: []byte("to be dead")})
		synctest.Wait()
		letter := firstDead(t, b)
		standing, err := b.CancelFuture(ctx, recall.Filter{Labels: []string{"spam"}}, time.Now().Add(time.Hour), recall.Reason("no more"))
		must(t, err)
		web := open(t, b, &dashboard.Options{Title: "Orders"})
		for path, says := range map[string][]string{
			"/":                               {"Orders", "queue blocked", "flow waiting", "<svg"},
			"/messages":                       {string(waits), "https://example.com/invoice", "order-7", "queue blocked"},
			"/messages/" + string(waits):      {"hello", "order-7", "created", "Hold"},
			"/messages/" + string(dies):       {"It is not live any more", "failed", "status 500"},
			"/messages?labels=order-7":        {string(waits), "bulk?labels=order-7"},
			"/messages?labels=none":           {"No live message matches"},
			"/dead":                           {string(letter.ID), "Retry chosen"},
			"/dead/" + string(letter.ID):      {"the database is away", "to be dead", "X-Trace", "attempt 1"},
			"/queues":                         {"invoices", "paused", "Resume"},
			"/flow":                           {"partner", "5 in 60 s", "pinned"},
			"/schedules":                      {"nightly", "30 2 * * *", "2000-01-01 02:30:00", "2000-01-04 02:30:00"},
			"/topics":                         {"orders", "https://shop.example.com/in"},
			"/events":                         {"created", "failed", string(dies)},
			"/events?state=failed":            {"failed", string(dies)},
			"/standing":                       {"label=spam", "no more", "in force", "Lift"},
			"/operations":                     {"standing cancellation", "label=spam"},
			"/operations/" + string(standing): {"no more", "In force until"},
		} {
			web.get(path).check(t, http.StatusOK, says...)
		}
	})
}

func TestBadInput(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	id := string(publish(t, b, recall.Message{Delay: time.Hour, Labels: []string{"a"}}))
	web := open(t, b, nil)
	for path, want := range map[string]int{
		"/messages?callerIPs=nowhere":                    400,
		"/messages?from=yesterday":                       400,
		"/messages?states=lost":                          400,
		"/messages?minAttempts=-1":                       400,
		"/messages?after=x":                              400,
		"/messages?after=" + id:                          400,
		"/messages/x":                                    400,
		"/messages/" + id[:len(id)-1] + "9":              404,
		"/bulk?ids=x":                                    400,
		"/bulk?labels=a&verb=burn":                       400,
		"/bulk?labels=a&policy=hope":                     400,
		"/bulk?labels=a&verb=hold&policy=abort":          400,
		"/bulk?labels=a&all=1":                           400,
		"/bulk?all=1&verb=hold":                          400,
		"/bulk?labels=a&limit=many":                      400,
		"/bulk?labels=a&guard=perhaps":                   400,
		"/bulk?labels=a&policy=wait&wait=99999":          400,
		"/bulk/confirm?labels=none":                      409,
		"/bulk/confirm":                                  409,
		"/bulk/confirm?labels=a&guard=exact&number=2":    409,
		"/bulk/runs/none":                                404,
		"/dead?states=lost":                              400,
		"/dead/x":                                        400,
		"/events?state=lost":                             400,
		"/operations/x":                                  400,
		"/operations/op_00000000000000000000000000":      404,
		"/nowhere":                                       404,
		"/messages/":                                     404,
		"//messages":                                     404,
		"/assets/" + strings.Repeat("0", 16) + "/app.go": 404,
		"/?a=%zz":                                        400,
	} {
		a := web.get(path)
		if a.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d", path, a.StatusCode, want)
		}
		if want == 400 && !strings.Contains(a.body, `role="alert"`) && !strings.Contains(a.body, "Not Found") {
			t.Errorf("GET %s does not say what is wrong: %s", path, a.body)
		}
	}
	for path, c := range map[string]struct {
		form url.Values
		want int
	}{
		"/messages/" + id + "/change": {url.Values{"do": {"burn"}}, 400},
		"/messages/x/change":          {url.Values{"do": {"cancel"}}, 400},
		"/queues/change":              {url.Values{"do": {"pause"}, "name": {"none"}}, 404},
		"/flow/change":                {url.Values{"do": {"pause"}}, 400},
		"/schedules/change":           {url.Values{"do": {"pause"}, "name": {"none"}}, 404},
		"/dead/change":                {url.Values{"do": {"retry"}}, 400},
		"/bulk/run":                   {url.Values{"labels": {"a"}, "confirm": {"1"}}, 400},
		"/operations/x/restore":       {nil, 400},
		"/operations/x/lift":          {nil, 400},
		"/standing/create":            {url.Values{"labels": {"a"}, "minutes": {"0"}}, 400},
		"/bulk/runs/none/stop":        {nil, 404},
	} {
		if a := web.do(formRequest(path, c.form)); a.StatusCode != c.want {
			t.Errorf("POST %s: status %d, want %d: %s", path, a.StatusCode, c.want, a.body)
		}
	}
	if a := web.do(formRequest("/standing/create", url.Values{"minutes": {"5"}})); a.StatusCode != 400 {
		t.Errorf("an empty filter for ever: status %d, want 400", a.StatusCode)
	}
	if n := pending(t, b); n != 1 {
		t.Errorf("%d messages wait, want 1", n)
	}
}

func TestMethods(t *testing.T) {
	web := open(t, openBroker(t, recall.Options{NoDispatch: true}), nil)
	a := web.post("/messages")
	a.check(t, http.StatusMethodNotAllowed, "does not take the method POST")
	if allow := a.Header.Get("Allow"); !strings.Contains(allow, "GET") {
		t.Errorf("Allow %q", allow)
	}
	web.get("/bulk/run").check(t, http.StatusMethodNotAllowed)
}

func TestPaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		var batch []recall.Message
		for range 120 { // all of them in one millisecond
			batch = append(batch, recall.Message{URL: "https://example.com/", Labels: []string{"x"}})
		}
		receipts, err := b.PublishBatch(t.Context(), batch)
		must(t, err)
		web := open(t, b, nil)
		next := regexp.MustCompile(`href="(\?[^"]*)" rel="next"`)
		row := regexp.MustCompile(`<a class="mono" href="[^"]*messages/(msg_\w+)"`)
		var got []string
		path := "/messages?labels=x"
		for path != "" {
			a := web.get(path)
			a.check(t, http.StatusOK)
			for _, m := range row.FindAllStringSubmatch(a.body, -1) {
				got = append(got, m[1])
			}
			path = ""
			if m := next.FindStringSubmatch(a.body); m != nil {
				path = "/messages" + strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		if len(got) != len(receipts) {
			t.Fatalf("the pages have %d messages, want %d", len(got), len(receipts))
		}
		for i, r := range receipts {
			if got[i] != string(r.ID) {
				t.Fatalf("message %d is %s, want %s", i, got[i], r.ID)
			}
		}
		for range 60 {
			_, err := b.Hold(t.Context(), recall.Filter{Labels: []string{"x"}}, recall.Limit(1))
			must(t, err)
		}
		a := web.get("/operations")
		m := regexp.MustCompile(`href="\?(before=[^"]*)" rel="next"`).FindStringSubmatch(a.body)
		if m == nil || strings.Count(a.body, `data-label="Kind"`) != 50 {
			t.Fatalf("the history is not in pages: %s", a.body)
		}
		if a = web.get("/operations?" + m[1]); strings.Count(a.body, `data-label="Kind"`) != 10 {
			t.Errorf("the second page of the history: %s", a.body)
		}
	})
}

func TestPrefix(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	id := string(publish(t, b, recall.Message{Delay: time.Hour}))
	h := dashboard.Handler(b, &dashboard.Options{Logger: quiet})
	mux := http.NewServeMux()
	mux.Handle("/a/b/", http.StripPrefix("/a/b", h))
	mux.Handle("/c/", http.StripPrefix("/c/", h))
	mux.Handle("/d", http.StripPrefix("/d", h))
	server := httptest.NewServer(mux)
	defer server.Close()
	for start, status := range map[string]int{
		"/a/b/": 200, "/a/b": 200, "/a/b/messages/" + id: 200, "/c/": 200, "/c/queues": 200,
		// An escaped slash is part of a name, and no step of the way back.
		"/a/b/messages/x%2Fy": 400, "/c/messages/x%2Fy": 400, "/a/b/none%2Fat/all": 404, "/c/none%2Fat%2Fall/x%2F": 404,
		"/a/b/messages/..%2Fqueues": 400, "/c/operations/%2F": 404,
	} {
		page := fetch(t, server.URL+start)
		if page.status != status {
			t.Errorf("%s: status %d, want %d", start, page.status, status)
		}
		checkLinks(t, start, page)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(server.URL + "/d")
	must(t, err)
	defer resp.Body.Close()
	if got := resp.Header.Get("Location"); got != "d/" {
		t.Errorf("without a slash at the end it leads to %q, want d/", got)
	}
}

var links = regexp.MustCompile(`(?:href|src|action)="([^"#]*)"`)

// checkLinks follows every link of a page. None may leave the prefix.
func checkLinks(t *testing.T, start string, page fetched) {
	t.Helper()
	prefix := regexp.MustCompile(`^/(a/b|c)`).FindString(start)
	found := links.FindAllStringSubmatch(page.body, -1)
	if len(found) < 10 {
		t.Errorf("%s has %d links", start, len(found))
	}
	for _, m := range found {
		to, err := page.at.Parse(m[1])
		must(t, err)
		if !strings.HasPrefix(to.Path, prefix+"/") {
			t.Errorf("%s links to %s, which is %s", start, m[1], to)
		}
		if !strings.Contains(m[0], "action") {
			if linked := fetch(t, to.String()); linked.status != http.StatusOK {
				t.Errorf("%s links to %s, whose status is %d", start, to, linked.status)
			}
		}
	}
}

// fetched is the page that an address leads to.
type fetched struct {
	status int
	at     *url.URL
	body   string
}

func fetch(t *testing.T, address string) fetched {
	t.Helper()
	resp, err := http.Get(address)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return fetched{resp.StatusCode, resp.Request.URL, string(body)}
}

func TestClosedBroker(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	must(t, b.Close(context.Background()))
	web := open(t, b, nil)
	for _, path := range []string{"/", "/messages", "/bulk", "/queues", "/events", "/dead"} {
		web.get(path).check(t, http.StatusServiceUnavailable, "The queue is closed.")
	}
}

// TestValuesAreExact: one value a line, with whatever else it holds.
func TestValuesAreExact(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	for _, label := range []string{"a b", "a", "b", " padded ", "x,y"} {
		publish(t, b, recall.Message{Labels: []string{label}, Delay: time.Hour})
	}
	web := open(t, b, nil)
	for labels, want := range map[string]string{
		"a b": "1", "a\r\nb\n\n": "2", " padded ": "1", "padded": "0", "x,y": "1", "a\nnone\na b": "2",
	} {
		a := web.get("/messages?" + url.Values{"labels": {labels}}.Encode())
		a.check(t, http.StatusOK, "<b>"+want+"</b> waiting")
	}
	a := web.get("/bulk?" + url.Values{"labels": {"a b", "x,y"}, "from": {"2020-01-02T03:04"}, "minAttempts": {"0"}}.Encode())
	a.check(t, http.StatusOK, `value="2020-01-02T03:04"`, "2020-01-02T03:04:00Z", "Cancel 2 messages")
}
