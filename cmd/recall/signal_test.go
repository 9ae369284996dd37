package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/recallmq/recall/qstash"
)

// TestSecondSignal has a delivery that does not end: the first signal waits
// for it, the second does not, and the message is delivered by the next start.
func TestSecondSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs signals")
	}
	began, release := make(chan struct{}, 8), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-release
	}))
	defer endpoint.Close()
	defer close(release)

	dir := t.TempDir()
	p, url := startDev(t, dir)
	status, text, err := send("POST", url+"/v2/publish/"+endpoint.URL, qstash.DevToken, "hello")
	if err != nil || status != 200 {
		t.Fatal(status, text, err)
	}
	<-began
	begun := time.Now()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := p.await(regexp.MustCompile("Stopping")); err != nil {
		t.Fatal(err)
	}
	got, err := p.stop(os.Interrupt)
	if err != nil || got != 1 {
		t.Fatalf("got exit status %d, %v, want 1:\n%s", got, err, p.output())
	}
	if took := time.Since(begun); took > patience {
		t.Errorf("the second signal took %v", took)
	}
	startDev(t, dir)
	<-began
}

// startDev runs recall dev on q.db of the folder, until the test ends.
func startDev(t *testing.T, dir string) (p *program, url string) {
	t.Helper()
	p, err := startProgram(dir, os.Environ(), "dev", "--db", "q.db", "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	m, err := p.await(regexp.MustCompile(`running at (http://\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	return p, m[1]
}
