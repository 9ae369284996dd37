package jsonerrors_test

import (
	"bufio"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections within the process.
type pipes struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// inBubble runs a test with a server that is closed at the end, and then has left
// nothing behind.
func inBubble(t *testing.T, name string, wrap func(*http.Server, net.Listener) net.Listener, web *http.Server, f func(t *testing.T, p *pipes)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if web.ErrorLog == nil {
				web.ErrorLog = log.New(io.Discard, "", 0)
			}
			p := newPipes()
			l := wrap(web, p)
			go func() { _ = web.Serve(l) }()
			defer func() {
				web.Close()
				time.Sleep(time.Second) // net/http gives clients half of one to read an error
			}()
			f(t, p)
		})
	})
}

// send writes a request, and does not wait until it is read.
func send(c io.Writer, text string) {
	go func() { _, _ = io.WriteString(c, text) }()
}

// head is what comes before the body.
type head struct {
	StatusCode int
	Header     http.Header
	Close      bool
}

// next reads one response with its body.
func next(t *testing.T, r *bufio.Reader) (head, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return head{resp.StatusCode, resp.Header, resp.Close}, string(body)
}

// checkLast checks that an answer is an error in JSON, and that nothing follows.
func checkLast(t *testing.T, r *bufio.Reader, status int, part string) {
	t.Helper()
	resp, body := next(t, r)
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/json" || !resp.Close {
		t.Errorf("got %d %v, close %t, want %d in JSON and the end", resp.StatusCode, resp.Header, resp.Close, status)
	}
	var answer map[string]string
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer) != 1 || !strings.Contains(answer["error"], part) {
		t.Errorf("got %s, want an error with %q", body, part)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("behind it: %q, %v", rest, err)
	}
}
