package dashboard_test

import (
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

// writes are all requests that change something.
var writes = []string{
	"/messages/msg_00000000000000000000000000/change", "/queues/change", "/flow/change", "/schedules/change", "/dead/change",
	"/dead/delete", "/schedules/delete",
	"/bulk/run", "/bulk/runs/x/stop", "/operations/x/restore", "/operations/x/lift", "/standing/create",
}

func TestCrossOrigin(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	publish(t, b, recall.Message{Labels: []string{"a"}})
	web := open(t, b, nil)
	for _, path := range append(writes, "/logout", "/login") {
		for name, headers := range map[string]http.Header{
			"another site":           {"Sec-Fetch-Site": {"cross-site"}},
			"another subdomain":      {"Sec-Fetch-Site": {"same-site"}},
			"an old browser":         {"Origin": {"https://evil.example"}},
			"a page without origin":  {"Origin": {"null"}},
			"the same host, no port": {"Origin": {"http://example.com:81"}},
		} {
			r := formRequest(path, url.Values{"labels": {"a"}, "expect": {"1"}, "confirm": {"1"}})
			r.Header.Del("Sec-Fetch-Site")
			for k, v := range headers {
				r.Header[k] = v
			}
			if a := web.do(r); a.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s from %s: status %d, want 403", path, name, a.StatusCode)
			}
		}
		r := formRequest(path, nil)
		r.Header.Set("Content-Type", "text/plain")
		if a := web.do(r); a.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("POST %s as text: status %d, want 415", path, a.StatusCode)
		}
	}
	if n := pending(t, b); n != 1 {
		t.Errorf("%d messages wait, want 1", n)
	}
}

func TestReadOnly(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	publish(t, b, recall.Message{Labels: []string{"a"}})
	options := open(t, b, &dashboard.Options{ReadOnly: true})
	token := open(t, b, &dashboard.Options{Tokens: []string{"w", "both"}, ReadOnlyTokens: []string{"r", "both"}})
	token.post("/login", "token", "r").check(t, http.StatusSeeOther)
	both := open(t, b, &dashboard.Options{Tokens: []string{"w", "both"}, ReadOnlyTokens: []string{"r", "both"}})
	both.post("/login", "token", "both").check(t, http.StatusSeeOther)
	closed := open(t, b, &dashboard.Options{Tokens: []string{"w"}, ReadOnly: true})
	closed.post("/login", "token", "w").check(t, http.StatusSeeOther)
	for name, web := range map[string]*browser{"by options": options, "by options, with a token": closed, "by token": token, "by both tokens": both} {
		for _, path := range writes {
			if a := web.post(path, "labels", "a", "expect", "1", "confirm", "1", "do", "pause", "name", "q", "minutes", "1"); a.StatusCode != http.StatusForbidden {
				t.Errorf("read-only %s: POST %s: status %d, want 403", name, path, a.StatusCode)
			}
		}
		a := web.get("/bulk?labels=a")
		a.check(t, http.StatusOK, "read-only", "change nothing")
		if strings.Contains(a.body, `id="go"`) {
			t.Errorf("read-only %s: the page offers a cancellation", name)
		}
	}
	if n := pending(t, b); n != 1 {
		t.Errorf("%d messages wait, want 1", n)
	}
	token.post("/logout").check(t, http.StatusSeeOther)
}

func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		id := publish(t, b, recall.Message{})
		web := open(t, b, &dashboard.Options{Tokens: []string{"secret", ""}})
		for _, path := range []string{"/", "/messages", "/messages/" + string(id) + "/raw", "/bulk?labels=x"} {
			a := web.get(path)
			if a.StatusCode != http.StatusSeeOther || !strings.Contains(a.Header.Get("Location"), "login") || strings.Contains(a.body, "hook") {
				t.Errorf("GET %s without a login: %d to %q", path, a.StatusCode, a.Header.Get("Location"))
			}
		}
		for _, path := range writes {
			web.post(path).check(t, http.StatusUnauthorized)
		}
		live := httptest.NewRequest(http.MethodGet, "/", nil)
		live.Header.Set("Recall-Fragment", "live")
		web.do(live).check(t, http.StatusUnauthorized)
		web.get("/assets/x/app.css").check(t, http.StatusOK)
		for _, wrong := range []string{"", "Secret", "secret ", "secre"} {
			web.post("/login", "token", wrong).check(t, http.StatusUnauthorized, "not a token that is known")
		}
		a := web.post("/login", "token", "secret", "next", "messages/"+string(id))
		a.check(t, http.StatusSeeOther)
		if to := a.Header.Get("Location"); to != "./messages/"+string(id) {
			t.Errorf("a login leads to %q", to)
		}
		c := web.cookie
		if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "" || strings.Contains(c.Value, "secret") {
			t.Fatalf("the cookie is %+v", c)
		}
		web.get("/").check(t, http.StatusOK, "Log out")
		for _, next := range []string{"https://evil.example", "//evil.example", "/evil", "javascript:alert(1)", "a/../../b", `\\evil`} {
			if to := web.post("/login", "token", "secret", "next", next).Header.Get("Location"); to != "./" {
				t.Errorf("a login with next %q leads to %q", next, to)
			}
		}
		r := formRequest("/login", url.Values{"token": {"secret"}})
		r.Header.Set("X-Forwarded-Proto", "https")
		if web.do(r); !web.cookie.Secure {
			t.Error("the cookie is not secure behind TLS")
		}
		old := web.cookie
		web.post("/logout").check(t, http.StatusSeeOther)
		web.cookie = old
		web.get("/").check(t, http.StatusSeeOther) // the session is gone, not only the cookie
		web.post("/login", "token", "secret")
		time.Sleep(13 * time.Hour)
		web.get("/").check(t, http.StatusSeeOther)
	})
}

// TestNoTokens: a token that is missing in the environment lets nobody in.
func TestNoTokens(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	web := open(t, b, &dashboard.Options{Tokens: []string{""}})
	web.get("/").check(t, http.StatusSeeOther)
	web.post("/login", "token", "").check(t, http.StatusUnauthorized)
}

func TestUsers(t *testing.T) {
	shop, mail := openBroker(t, recall.Options{NoDispatch: true}), openBroker(t, recall.Options{NoDispatch: true})
	id := publish(t, shop, recall.Message{Labels: []string{"of-the-shop"}})
	h, err := dashboard.NewUsers(
		dashboard.User{Name: "shop", Broker: shop, Options: &dashboard.Options{Tokens: []string{"s"}, Logger: quiet}},
		dashboard.User{Name: "mail", Broker: mail, Options: &dashboard.Options{Tokens: []string{"m"}, Logger: quiet}},
	)
	must(t, err)
	s, m := &browser{t: t, h: h}, &browser{t: t, h: h}
	s.post("/login", "token", "s")
	m.post("/login", "token", "m")
	s.get("/messages").check(t, http.StatusOK, "of-the-shop", ">shop<")
	if a := m.get("/messages"); strings.Contains(a.body, "of-the-shop") || !strings.Contains(a.body, ">mail<") {
		t.Errorf("one user sees what is the other's: %s", a.body)
	}
	m.get("/messages/"+string(id)).check(t, http.StatusNotFound)
	for name, users := range map[string][]dashboard.User{
		"none":       nil,
		"no broker":  {{Name: "a", Options: &dashboard.Options{Tokens: []string{"a"}}}},
		"no token":   {{Name: "a", Broker: shop}},
		"empty":      {{Name: "a", Broker: shop, Options: &dashboard.Options{Tokens: []string{""}}}},
		"same token": {{Broker: shop, Options: &dashboard.Options{Tokens: []string{"a"}}}, {Broker: mail, Options: &dashboard.Options{ReadOnlyTokens: []string{"a"}}}},
	} {
		if _, err := dashboard.NewUsers(users...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHeaders(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	web := open(t, b, nil)
	page := web.get("/")
	for _, a := range []answer{page, web.get("/nowhere"), web.get("/messages?states=lost"), web.get("/assets/x/app.js"), web.post("/bulk/run")} {
		policy := a.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("the policy %q lacks %q", policy, part)
			}
		}
		if strings.Contains(policy, "unsafe") || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers are %v", a.Header)
		}
	}
	m := regexp.MustCompile(`href="\./(assets/\w+/app\.css)"`).FindStringSubmatch(page.body)
	if m == nil {
		t.Fatalf("no style sheet: %s", page.body)
	}
	if got := web.get("/" + m[1]).Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("Cache-Control of an asset: %q", got)
	}
}

func TestLongForm(t *testing.T) {
	web := open(t, openBroker(t, recall.Options{NoDispatch: true}), nil)
	web.post("/bulk/run", "ids", strings.Repeat("x", 2<<20)).check(t, http.StatusRequestEntityTooLarge)
	web.post("/login", "token", strings.Repeat("x", 2<<20)).check(t, http.StatusRequestEntityTooLarge)
}

// inline finds what a policy would have to allow: scripts and styles in a page.
// Values of attributes are cut out first.
var (
	inline = regexp.MustCompile(`(?i)<script(?: [^>]*)?>[^<]|<style|<[^>]*\s(?:on\w+|style)\s*=|<[^>]*'`)
	values = regexp.MustCompile(`"[^"]*"`)
	scheme = regexp.MustCompile(`(?i)(?:href|src|action)="\s*[a-z]+:`)
)

func TestMarkup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const markup = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}`
		b := openBroker(t, recall.Options{Transport: answers{markup}})
		ctx := t.Context()
		_, topic := b.AddEndpoints(ctx, markup, recall.Endpoint{Name: markup, URL: "https://example.com/?q=" + url.QueryEscape(markup)})
		_, schedule := b.SetSchedule(ctx, recall.Schedule{ID: markup, Cron: "0 0 * * *", Message: recall.Message{Topic: markup}})
		must(t, topic, schedule, b.SetQueue(ctx, markup, 2), b.PinFlow(ctx, markup, recall.FlowLimit{Rate: 1}))
		m := recall.Message{
			URL: "https://example.com/" + markup, Labels: []string{markup}, Queue: markup, FlowKey: markup, Retries: recall.Retries(0),
			Header: http.Header{"X-A": {markup}}, Body: []byte(markup), Delay: time.Hour,
		}
		waits := publish(t, b, m)
		m.Delay, m.Queue, m.FlowKey = 0, "", ""
		dies := publish(t, b, m)
		synctest.Wait()
		op, err := b.CancelFuture(ctx, recall.Filter{Labels: []string{markup + "2"}}, time.Now().Add(time.Hour), recall.Reason(markup))
		must(t, err)
		web := open(t, b, &dashboard.Options{Title: markup})
		q := url.QueryEscape(markup)
		for _, path := range []string{
			"/", "/messages", "/messages?labels=" + q, "/messages/" + string(waits), "/messages/" + string(dies), "/dead",
			"/dead/" + string(firstDead(t, b).ID), "/dead/delete?id=" + string(firstDead(t, b).ID), "/schedules/delete?name=" + q, "/queues", "/flow", "/schedules", "/topics", "/events", "/standing", "/operations",
			"/operations/" + string(op), "/bulk?labels=" + q, "/bulk/confirm?labels=" + q, "/bulk?from=" + q, "/bulk?verb=" + q,
			"/messages?states=" + q, "/events?state=" + q, "/?notice=" + q, "/messages?after=" + q, "/" + q,
		} {
			a := web.get(path)
			if strings.Contains(a.body, "<script>alert") || strings.Contains(a.body, "<img") || inline.MatchString(values.ReplaceAllString(a.body, "")) || scheme.MatchString(a.body) {
				t.Errorf("%s has markup that is not its own: %s", path, a.body)
			}
			if a.StatusCode == http.StatusOK && !strings.Contains(path, "notice") && !strings.Contains(a.body, "&lt;script&gt;") {
				t.Errorf("%s does not show what was published", path)
			}
			if a.StatusCode >= 500 {
				t.Errorf("%s: status %d", path, a.StatusCode)
			}
		}
		raw := web.get("/messages/" + string(waits) + "/raw")
		if raw.body != markup || raw.Header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(raw.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("the raw body is %q with %v", raw.body, raw.Header)
		}
	})
}
