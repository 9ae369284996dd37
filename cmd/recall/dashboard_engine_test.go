package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall/internal/parttest"
)

// mending is an endpoint that refuses what comes until it is mended.
type mending struct {
	mu       sync.Mutex
	mended   bool
	refused  int
	accepted int
}

func (m *mending) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mended {
		m.accepted++
		return
	}
	m.refused++
	w.WriteHeader(http.StatusBadGateway)
}

func (m *mending) mend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mended = true
}

func (m *mending) got() (refused, accepted int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused, m.accepted
}

// TestDashboardOnEngine looks at the dashboard of a server on PostgreSQL with a browser:
// what waits, a cancellation and its undo, and dead letters. The database has to agree.
func TestDashboardOnEngine(t *testing.T) {
	browser := parttest.NeedBrowser(t, "../../dashboard/browser")
	for name, addresses := range map[string]func(*testing.T) []string{
		"one database":  func(t *testing.T) []string { return []string{engineAddress(t)} },
		"two databases": func(t *testing.T) []string { return databases(t) },
	} {
		t.Run(name, func(t *testing.T) { browseEngine(t, browser, addresses(t)) })
	}
}

func browseEngine(t *testing.T, browser *parttest.Browser, addresses []string) {
	t.Helper()
	m := &mending{}
	endpoint := httptest.NewServer(m)
	defer endpoint.Close()
	_, url := startOn(t, strings.Join(addresses, " "), "--dashboard", "/dashboard")
	ask := func(method, path, body string) string {
		t.Helper()
		status, text, err := send(method, url+path, "secret", body)
		if err != nil || status != 200 {
			t.Fatalf("%s %s: %d %s, %v", method, path, status, text, err)
		}
		return text
	}
	publish := func(n int, path string) {
		t.Helper()
		for range n {
			ask("POST", "/v2/publish/"+endpoint.URL+path, "scheduled for the browser")
		}
	}
	publish(7, "/look?upstash-delay=1h&upstash-label=look")
	publish(40, "/campaign?upstash-delay=1h&upstash-label=campaign")
	publish(3, "/hook?upstash-retries=0&upstash-label=hook")
	await := func(what string, ready func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patienceOfTests); !ready(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				refused, accepted := m.got()
				t.Fatalf("no %s: the endpoint has refused %d and accepted %d", what, refused, accepted)
			}
		}
	}
	await("dead letters", func() bool { return strings.Count(ask("GET", "/v2/dlq", ""), `"dlqId"`) == 3 })
	m.mend()
	screenshots := t.TempDir()
	browser.Run(t, "served", map[string]string{"url": url + "/dashboard/", "token": "secret", "screenshots": screenshots})
	if t.Failed() {
		return
	}
	await("delivery of what was retried", func() bool { _, accepted := m.got(); return accepted == 3 })
	if refused, _ := m.got(); refused != 3 {
		t.Errorf("the endpoint has refused %d, want 3", refused)
	}
	if text := ask("POST", "/recall/v1/count", ""); !strings.Contains(text, fmt.Sprintf(`"pending":%d`, 7+40)) {
		t.Errorf("got %s, want 47 pending: what was cancelled is back", text)
	}
	if entries, err := os.ReadDir(screenshots); err != nil || len(entries) > 0 {
		t.Errorf("pictures are left: %v, %v", entries, err)
	}
}
