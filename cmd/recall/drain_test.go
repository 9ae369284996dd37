package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"syscall"
	"testing"
)

// startServe runs recall serve on q.db of the folder, until the test ends.
func startServe(t *testing.T, args ...string) (p *program, host string) {
	t.Helper()
	args = append([]string{"serve", "--db", "q.db", "--token", "secret", "--listen", "127.0.0.1:0"}, args...)
	p, err := startProgram(t.TempDir(), os.Environ(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	m, err := p.await(regexp.MustCompile(`running at http://(\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	return p, m[1]
}

// TestRunningRequestEnds sends the signal in the middle of a request.
func TestRunningRequestEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs signals")
	}
	p, host := startServe(t)
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v2/publish/http://example.com?upstash-delay=1h HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"+
		"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatal(resp, err) // the handler reads
	}
	defer resp.Body.Close()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := p.await(regexp.MustCompile("Stopping")); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "0123456789")
	resp, err = http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	if status, err := p.end(); status != 0 || err != nil {
		t.Errorf("got exit status %d, %v:\n%s", status, err, p.output())
	}
}

// TestDrainDelay serves on while /readyz says no. The second signal ends that.
func TestDrainDelay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs signals")
	}
	p, host := startServe(t, "--drain-delay", "1h")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := p.await(regexp.MustCompile("Stopping")); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{"/readyz": 503, "/healthz": 200, "/v2/keys": 200} {
		if status, text, err := send("GET", "http://"+host+target, "secret", ""); status != want || err != nil {
			t.Errorf("%s: got %d %s, %v", target, status, text, err)
		}
	}
	if status, err := p.stop(syscall.SIGTERM); status != 1 || err != nil {
		t.Errorf("got exit status %d, %v", status, err)
	}
}

// TestDeliveryTimeout has an endpoint that does not answer.
func TestDeliveryTimeout(t *testing.T) {
	release := make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer endpoint.Close()
	defer close(release)
	p, host := startServe(t, "--delivery-timeout", "50ms", "--allow-private")
	if status, text, err := send("POST", "http://"+host+"/v2/publish/"+endpoint.URL, "secret", ""); status != 200 || err != nil {
		t.Fatal(status, text, err)
	}
	if _, err := p.await(regexp.MustCompile("no answer within 50ms")); err != nil {
		t.Error(err)
	}
}

// TestSlowClient is cut off by the server's timeouts.
func TestSlowClient(t *testing.T) {
	_, host := startServe(t, "--header-timeout", "50ms")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /v2/keys HTTP/1.1\r\nHost: ")
	if text, err := io.ReadAll(c); err != nil {
		t.Errorf("got %q, %v", text, err)
	}
}
