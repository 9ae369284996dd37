package jsonerrors_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/recallmq/recall/internal/jsonerrors"
)

// refused are requests that net/http answers itself, one for each of its ways.
var refused = []struct {
	name, request string
	status        int
	part          string
}{
	{"escape in the path", "GET /v2/publish/%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400, "malformed"},
	{"no request line", "nonsense\r\n\r\n", 400, "malformed"},
	{"method", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "malformed"},
	{"version that is none", "GET / HTPP/1.1\r\nHost: h\r\n\r\n", 400, "malformed"},
	{"header without a colon", "GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n", 400, "malformed"},
	{"name with a space", "GET / HTTP/1.1\r\nHost: h\r\nX Y: z\r\n\r\n", 400, "the request"},
	{"length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400, "malformed"},
	{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed"},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400, "missing required Host header"},
	{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed"},
	{"bad host", "GET / HTTP/1.1\r\nHost: a<b\r\n\r\n", 400, "malformed Host header"},
	{"bad name", "GET / HTTP/1.1\r\nHost: h\r\n\xff: y\r\n\r\n", 400, "the request"},
	{"bad value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n", 400, "the request"},
	{"carriage return alone", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rY: b\r\n\r\n", 400, "the request"},
	{"large headers", "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 10_000) + "\r\n\r\n", 431, "too large"},
	{"large request line", "GET /" + strings.Repeat("x", 10_000) + " HTTP/1.1\r\nHost: h\r\n\r\n", 431, "too large"},
	{"transfer encoding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "transfer encoding"},
	{"version", "GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505, "unsupported protocol version"},
	{"expectation", "GET / HTTP/1.1\r\nHost: h\r\nExpect: nonsense\r\n\r\n", 417, "expectation"},
}

func TestListener(t *testing.T) {
	for _, test := range refused {
		web := &http.Server{
			MaxHeaderBytes: 1000, // and 4 KiB that net/http adds
			Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Errorf("%s: the handler was called", test.name)
			}),
		}
		inBubble(t, test.name, jsonerrors.Listener, web, func(t *testing.T, p *pipes) {
			c := p.dial()
			defer c.Close()
			send(c, test.request)
			checkLast(t, bufio.NewReader(c), test.status, test.part)
		})
	}
}

// fake is, to the byte, what net/http answers itself.
const fake = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"

// TestHandlersAreLeftAlone has handlers write what looks like an answer of
// net/http's, in every way that brings it to the start of a write, and then makes
// a request that cannot be read on the same connection.
func TestHandlersAreLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(fake+strings.Repeat("x", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	long := fake + strings.Repeat("x", 100_000)
	begin := func(w http.ResponseWriter, status, length string) {
		w.Header().Set("Content-Length", length)
		if status == "400" {
			w.Header()["Date"] = nil
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusBadRequest)
		}
		_ = http.NewResponseController(w).Flush()
	}
	for _, test := range []struct {
		name, want string
		handle     http.HandlerFunc
	}{
		{"flushed", fake, func(w http.ResponseWriter, _ *http.Request) {
			begin(w, "", strconv.Itoa(len(fake)))
			_, _ = io.WriteString(w, fake)
			_ = http.NewResponseController(w).Flush()
		}},
		{"left to the server", fake, func(w http.ResponseWriter, _ *http.Request) {
			begin(w, "", strconv.Itoa(len(fake)))
			_, _ = io.WriteString(w, fake)
		}},
		{"an error", fake, func(w http.ResponseWriter, _ *http.Request) {
			begin(w, "400", strconv.Itoa(len(fake)))
			_, _ = io.WriteString(w, fake)
		}},
		{"more than a buffer", long, func(w http.ResponseWriter, _ *http.Request) {
			begin(w, "", strconv.Itoa(len(long)))
			_, _ = io.WriteString(w, long)
		}},
		{"a file", long, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }},
		{"an error in text", "400 Bad Request\n", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "400 Bad Request", http.StatusBadRequest)
		}},
	} {
		inBubble(t, test.name, jsonerrors.Listener, &http.Server{Handler: test.handle}, func(t *testing.T, p *pipes) {
			c := p.dial()
			defer c.Close()
			r := bufio.NewReader(c)
			for range 2 {
				send(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				if _, body := next(t, r); body != test.want {
					t.Errorf("got %.200q", body)
				}
			}
			send(c, "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n")
			checkLast(t, r, 400, "malformed")
		})
	}
}

// TestHijacked: a connection that a handler has taken is the handler's for good.
func TestHijacked(t *testing.T) {
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if below, ok := c.(interface{ NetConn() net.Conn }); !ok || below.NetConn() == nil {
			t.Errorf("got a %T, with no connection below", c)
		}
		go func() {
			_, _ = io.WriteString(c, fake)
			c.Close()
		}()
	})}
	inBubble(t, "", jsonerrors.Listener, web, func(t *testing.T, p *pipes) {
		c := p.dial()
		send(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if got, err := io.ReadAll(c); string(got) != fake || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestHooks: those that were set are called, the default handler serves, and
// what is no error passes.
func TestHooks(t *testing.T) {
	var states atomic.Int32
	type key struct{}
	web := &http.Server{
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, key{}, "mine") },
		ConnState:   func(net.Conn, http.ConnState) { states.Add(1) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, _ := r.Context().Value(key{}).(string)
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, text+string(body))
		}),
	}
	twice := func(web *http.Server, l net.Listener) net.Listener {
		jsonerrors.Listener(web, newPipes()) // of two listeners
		return jsonerrors.Listener(web, l)
	}
	inBubble(t, "set", twice, web, func(t *testing.T, p *pipes) {
		c := p.dial()
		defer c.Close()
		r := bufio.NewReader(c)
		send(c, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
		if resp, _ := next(t, r); resp.StatusCode != 100 {
			t.Errorf("got %d", resp.StatusCode)
		}
		send(c, "!")
		if _, body := next(t, r); body != "mine!" {
			t.Errorf("got %q", body)
		}
		send(c, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n") // answered by net/http
		if resp, body := next(t, r); resp.StatusCode != 200 || body != "" {
			t.Errorf("got %d %s", resp.StatusCode, body)
		}
		if states.Load() < 3 {
			t.Errorf("got %d states", states.Load())
		}
	})
	inBubble(t, "none", jsonerrors.Listener, &http.Server{}, func(t *testing.T, p *pipes) {
		c := p.dial()
		defer c.Close()
		send(c, "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n")
		if resp, body := next(t, bufio.NewReader(c)); resp.StatusCode != 404 || body != "404 page not found\n" {
			t.Errorf("got %d %s", resp.StatusCode, body)
		}
	})
}

// below is a connection that can send files and close one direction, as TCP does.
type below struct {
	net.Conn
	files, halves atomic.Int32
}

func (b *below) ReadFrom(r io.Reader) (int64, error) {
	b.files.Add(1)
	return io.Copy(b.Conn, r)
}

func (b *below) CloseWrite() error {
	b.halves.Add(1)
	return nil
}

// TestBelow: what net/http can do with a connection it still can.
func TestBelow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 100_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	web := &http.Server{
		MaxHeaderBytes: 1000,
		Handler:        http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }),
	}
	inBubble(t, "", jsonerrors.Listener, web, func(t *testing.T, p *pipes) {
		c, server := net.Pipe()
		defer c.Close()
		b := &below{Conn: server}
		p.conns <- b
		r := bufio.NewReader(c)
		send(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, body := next(t, r); len(body) != 100_000 || b.files.Load() != 1 {
			t.Errorf("got %d bytes, sent as a file %d times", len(body), b.files.Load())
		}
		send(c, "GET / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 10_000)+"\r\n\r\n")
		checkLast(t, r, 431, "too large")
		if b.halves.Load() != 1 {
			t.Errorf("one direction was closed %d times", b.halves.Load())
		}
	})
}
