package egress_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/egress"
)

func newTransport(t *testing.T, o *egress.Options) *egress.Transport {
	t.Helper()
	tr, err := egress.NewTransport(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// newServer answers with what it was asked for.
func newServer(t *testing.T, start func(http.Handler) *httptest.Server) *httptest.Server {
	t.Helper()
	s := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, rt http.RoundTripper, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestPolicyOnConnections(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	for _, policy := range []*egress.Policy{{}, {Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}} {
		tr := newTransport(t, &egress.Options{Policy: policy})
		for _, url := range []string{s.URL, "http://localhost" + port} {
			var refused *egress.RefusedError
			if got, err := get(t, tr, url); !errors.As(err, &refused) || !refused.Addr.IsLoopback() {
				t.Errorf("%s: got %q, %v", url, got, err)
			}
		}
	}
	for _, policy := range []*egress.Policy{nil, {AllowPrivate: true}, {Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}} {
		if got, err := get(t, newTransport(t, &egress.Options{Policy: policy}), s.URL+"/x"); err != nil || !strings.HasSuffix(got, "/x hello") {
			t.Errorf("%+v: got %q, %v", policy, got, err)
		}
	}
}

// TestMain has a proxy, which package http asks the environment for only once.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "proxy: %s", r.RequestURI)
	}))
	defer proxy.Close()
	_ = os.Setenv("HTTP_PROXY", proxy.URL)
	m.Run()
}

// TestProxy is left aside where there is a policy: it would connect to what is
// not allowed.
func TestProxy(t *testing.T) {
	const private = "http://10.255.255.1/"
	if got, err := get(t, newTransport(t, nil), private); err != nil || got != "proxy: "+private {
		t.Errorf("without a policy: got %q, %v", got, err)
	}
	policy := &egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	var refused *egress.RefusedError
	if got, err := get(t, newTransport(t, &egress.Options{Policy: policy}), private); !errors.As(err, &refused) {
		t.Errorf("with a policy: got %q, %v", got, err)
	}
}

// TestRouteWithoutHost has a request whose host is only in its URL.
func TestRouteWithoutHost(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	tr := newTransport(t, &egress.Options{Routes: []egress.Route{{From: "https://api.example.com", To: s.URL}}})
	r := &http.Request{Method: "GET", Header: http.Header{}, URL: &url.URL{Scheme: "https", Host: "api.example.com", Path: "/"}}
	before := *r.URL
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "GET api.example.com / " || *r.URL != before || r.Host != "" {
		t.Errorf("got %q, and the request is now for %v, %q", body, r.URL, r.Host)
	}
}

func TestRoute(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	tr := newTransport(t, &egress.Options{
		Policy: &egress.Policy{}, // the target of a route is not held against it
		Routes: []egress.Route{
			{From: "https://API.example.com", To: s.URL},
			{From: "http://other.test:8080/", To: s.URL},
			{From: "https://api.example.com", To: "http://127.0.0.1:1"},
			{From: "https://127.0.0.1:9", To: s.URL},
		},
	})
	for url, want := range map[string]string{
		"https://api.example.com/a//b%2Fc?x=1": "PUT api.example.com /a//b%2Fc?x=1 hello",
		"https://api.example.COM:443/":         "PUT api.example.COM:443 / hello",
		"http://other.test:8080/a":             "PUT other.test:8080 /a hello",
		"http://127.0.0.1:9/":                  "", // another scheme
		"https://127.0.0.1:8/":                 "", // another port
		s.URL:                                  "",
	} {
		got, err := get(t, tr, url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", url, got, err, want)
		}
	}
}

// TestRouteToTLS checks that the certificate is held against the target.
func TestRouteToTLS(t *testing.T) {
	s := newServer(t, httptest.NewTLSServer)
	tr := newTransport(t, &egress.Options{Routes: []egress.Route{{From: "http://api.example.com", To: s.URL}}})
	if got, err := get(t, tr, "http://api.example.com/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestBadRoutes(t *testing.T) {
	for _, text := range []string{
		"", "https://a", "=", "https://a=", "=http://b", "a=http://b", "https://a=b", "ftp://a=http://b", "https://=http://b", "https://a=http://:80",
		"https://a/x=http://b", "https://a=http://b/x", "https://u@a=http://b", "https://a=http://b?x", "https://a#x=http://b", "https://a:x=http://b",
	} {
		if r, err := egress.ParseRoute(text); err == nil {
			t.Errorf("%q: got %+v", text, r)
		}
	}
	_, err := egress.NewTransport(&egress.Options{Routes: []egress.Route{{From: "first"}, {From: "https://a", To: "second"}}})
	if err == nil || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "second") {
		t.Errorf("got %v", err)
	}
	if r, err := egress.ParseRoute("https://a=http://[::1]:80/"); err != nil || r != (egress.Route{From: "https://a", To: "http://[::1]:80/"}) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestRefusedIsDead delivers to an address that is not allowed: the first
// attempt is the last, and says why.
func TestRefusedIsDead(t *testing.T) {
	s := newServer(t, httptest.NewServer)
	ended := make(chan struct{})
	path := filepath.Join(t.TempDir(), "queue.db")
	b, err := recall.Open(path, &recall.Options{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			defer close(ended) // a second attempt would panic
			return newTransport(t, &egress.Options{Policy: &egress.Policy{}}).RoundTrip(r)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), recall.Message{URL: s.URL}); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := b.Close(context.Background()); err != nil { // waits for the outcome
		t.Fatal(err)
	}
	b, err = recall.Open(path, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	n := 0
	for d, err := range b.DeadLetters(t.Context(), recall.Filter{}) {
		if n++; err != nil || d.Attempts != 1 || !strings.Contains(d.Reason, "127.0.0.1, which is not allowed") {
			t.Errorf("got %+v, %v", d, err)
		}
	}
	if n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
