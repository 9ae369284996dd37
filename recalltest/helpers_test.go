package recalltest_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/recalltest"
)

// call makes a request of the API with the token, and headers in pairs.
func call(t *testing.T, s *recalltest.Server, client *http.Client, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	status, text, err := try(s, client, method, path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, text
}

func try(s *recalltest.Server, client *http.Client, method, path, body string, headers ...string) (int, string, error) {
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer "+s.Token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(data)), err
}

func publish(t *testing.T, s *recalltest.Server, dest, body string, headers ...string) {
	t.Helper()
	if status, answer := call(t, s, s.Client(), "POST", "/v2/publish/"+dest, body, headers...); status != 200 {
		t.Fatalf("publish: got %d %s", status, answer)
	}
}

// reporter is a test that may fail.
type reporter struct {
	failures []string
	cleanups []func()
}

func (r *reporter) Helper() {}

func (r *reporter) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *reporter) Fatalf(format string, args ...any) { r.Errorf(format, args...) }

func (r *reporter) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *reporter) end() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

// take returns what was reported since.
func (r *reporter) take() string {
	text := strings.Join(r.failures, "\n")
	r.failures = nil
	return text
}

// checkNoGoroutines fails if a goroutine of this package or the broker is left.
func checkNoGoroutines(t *testing.T) {
	t.Helper()
	var stacks string
	for range 200 { // those that are ending need a moment
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		mine := 0
		for _, one := range strings.Split(stacks, "\n\n") {
			if strings.Contains(one, "recallmq/recall") && !strings.Contains(one, "testing.tRunner") && !strings.Contains(one, "testing.runTests") {
				mine++
			} else if strings.Contains(one, "net/http.(*Server)") || strings.Contains(one, "net/http.(*conn)") {
				mine++
			}
		}
		if mine == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("goroutines are left:\n%s", stacks)
}

func checkContains(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("got %s\nwithout %q", got, w)
		}
	}
}
