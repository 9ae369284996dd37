package qstash_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// noise is what a connection sends: bytes by chance, a request that was changed,
// one that ends too early, or several.
func noise(rng *rand.Rand) []byte {
	switch rng.IntN(4) {
	case 0:
		data := make([]byte, rng.IntN(4096))
		for i := range data {
			data[i] = byte(rng.IntN(256))
		}
		return data
	case 1:
		text := mangled(rng)
		return []byte(text[:rng.IntN(len(text)+1)])
	case 2:
		return []byte(mangled(rng) + mangled(rng))
	}
	return []byte(mangled(rng))
}

// TestRandomStreams sends noise to a server, each piece on a connection of its
// own. The server ends every connection, answers with nothing but HTTP, none of it
// a fault of its own, and serves as before.
func TestRandomStreams(t *testing.T) {
	w, rng, errorLog := newWorld(t), newRand(t), &lockedBuffer{}
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ErrorLog = log.New(errorLog, "", 0)
	server.Config.ReadTimeout = 10 * time.Second
	server.Start()
	defer server.Close()

	pieces := make(chan []byte)
	var group sync.WaitGroup
	var answered atomic.Int64
	for range 16 {
		group.Go(func() {
			for piece := range pieces {
				got, err := sendAll(t.Context(), server.Listener.Addr().String(), piece)
				if err != nil {
					t.Errorf("%q: %v", piece, err)
				}
				if fault := checkStream(got); fault != "" {
					t.Errorf("%q: %s in %q", piece, fault, got)
				}
				if len(got) > 0 {
					answered.Add(1)
				}
			}
		})
	}
	const n = 10_000
	for range n {
		pieces <- noise(rng)
	}
	close(pieces)
	group.Wait()
	if got := answered.Load(); got < n/4 {
		t.Errorf("%d of %d connections were answered", got, n)
	}
	if strings.Contains(errorLog.String(), "panic") {
		t.Errorf("log: %s", errorLog)
	}
	resp, err := http.DefaultClient.Do(clientRequest(t, "POST", server.URL+"/v2/publish/https://example.com"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("afterwards: got %d", resp.StatusCode)
	}
}

func clientRequest(t *testing.T, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return withToken(r, qstash.DevToken)
}

// sendAll sends data, says that this is all, and returns everything that comes
// back. A server may end the connection before it has read all.
func sendAll(ctx context.Context, address string, data []byte) ([]byte, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(data); err == nil {
		_ = conn.(*net.TCPConn).CloseWrite() // the server may have ended it by now
	}
	got, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return got, err
	}
	return got, nil // a reset is an end as well
}

// notFaults are answers of the fives that say something about the client: its
// HTTP is too new or too odd, or it was gone before the work was begun. That is
// what the end of its stream means.
var notFaults = []string{"501 ", "503 ", "505 "}

// checkStream says what is wrong with the answers of a connection.
func checkStream(got []byte) string {
	if len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.")) {
		return "no HTTP"
	}
	for line := range bytes.Lines(got) {
		rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
		if ok && bytes.HasPrefix(rest, []byte("5")) && !slices.ContainsFunc(notFaults, func(s string) bool { return bytes.HasPrefix(rest, []byte(s)) }) {
			return "a fault of the server's"
		}
	}
	return ""
}

// pipes is a listener whose connections stay within a bubble.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
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

// TestSlowClients has many clients that send a byte every five seconds, of the
// headers or of the body, and some that read as slowly. Others are served
// meanwhile; the slow ones are cut off, and none has published anything.
func TestSlowClients(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		b := openQuiet(t, filepath.Join(t.TempDir(), "queue.db"))
		listener := newPipes()
		server := &http.Server{
			Handler: qstash.NewHandler(b, &qstash.Options{}), ErrorLog: log.New(io.Discard, "", 0),
			ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: time.Minute,
		}
		done := make(chan error)
		go func() { done <- server.Serve(listener) }()
		start := "POST /v2/publish/https://example.com HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + qstash.DevToken + "\r\n"
		var group sync.WaitGroup
		var answers lockedBuffer
		for i := range 60 {
			text := start + "X: " + strings.Repeat("x", 1000) // headers that never end
			if i%3 == 1 {
				text = start + "Content-Length: 1000\r\n\r\n" + strings.Repeat("x", 999) // nor does the body
			}
			if i%3 == 2 {
				text = strings.Repeat("POST /v2/publish/ HTTP/1.1\r\nHost: h\r\n\r\n", 1000) // with answers that nobody reads
			}
			group.Go(func() { dribble(listener.dial(), text, len(start), i%3 != 2, &answers) })
		}
		time.Sleep(5 * time.Second)
		conn := listener.dial()
		go func() { _, _ = io.WriteString(conn, start+"Connection: close\r\nContent-Length: 0\r\n\r\n") }()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) {
			t.Errorf("beside slow clients: got %q, %v", got, err)
		}
		began := time.Now()
		group.Wait()
		if took := time.Since(began); took > 3*time.Minute {
			t.Errorf("the last slow client was cut off after %v", took)
		}
		if strings.Contains(answers.String(), "HTTP/1.1 200") {
			t.Errorf("a slow client was served: %s", &answers)
		}
		if n, err := b.Count(t.Context(), recall.Filter{}); err != nil || n.Pending != 1 {
			t.Errorf("got %+v, %v, want the one of the quick client", n, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		synctest.Wait()
	})
}

// dribble sends the first bytes at once and then one every five seconds, until
// the server has had enough.
func dribble(conn net.Conn, text string, first int, read bool, answers io.Writer) {
	defer conn.Close()
	if read {
		go func() { _, _ = io.Copy(answers, conn) }()
	}
	if _, err := io.WriteString(conn, text[:first]); err != nil {
		return
	}
	for i := first; i < len(text); i++ {
		time.Sleep(5 * time.Second)
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return
		}
	}
}
