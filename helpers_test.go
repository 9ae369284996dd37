package recall_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// newBroker returns a broker on a reference engine. At the end of the test it
// is closed, which must leave no goroutine behind, and the engine is checked.
func newBroker(t *testing.T, opts *recall.Options) *recall.Broker {
	t.Helper()
	return newBrokerOn(t, enginetest.NewReference(), opts)
}

func newBrokerOn(t *testing.T, engine recall.Engine, opts *recall.Options) *recall.Broker {
	t.Helper()
	var o recall.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b, err := recall.New(engine, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
		if err := engine.(interface{ Check() error }).Check(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// sleep lets time pass in a bubble, and what is due by then happen.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func publish(t *testing.T, b *recall.Broker, m recall.Message) recall.MessageID {
	t.Helper()
	r, err := b.Publish(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func handle(t *testing.T, b *recall.Broker, url string, h recall.Handler) {
	t.Helper()
	if err := b.Handle(url, h); err != nil {
		t.Fatal(err)
	}
}

func closeNow(t *testing.T, b *recall.Broker, ctx context.Context) {
	t.Helper()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// done returns a context that is done.
func done() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func checkCount(t *testing.T, b *recall.Broker, want recall.Count) {
	t.Helper()
	got, err := b.Count(t.Context(), recall.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("Count: got %+v, want %+v", got, want)
	}
}

func deadLetters(t *testing.T, b *recall.Broker) (all []recall.DeadLetter) {
	t.Helper()
	for d, err := range b.DeadLetters(t.Context(), recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// onlyDead returns the one dead letter there must be.
func onlyDead(t *testing.T, b *recall.Broker) recall.DeadLetter {
	t.Helper()
	all := deadLetters(t, b)
	if len(all) != 1 {
		t.Fatalf("dead letters: got %d, want 1", len(all))
	}
	return all[0]
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a response with pairs of header names and values.
func answer(status int, header ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("answer"))}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// serve runs an HTTP server without sockets, which do not work in a bubble,
// and returns a transport that reaches it under any name.
func serve(t *testing.T, h http.HandlerFunc) *http.Transport {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	transport := &http.Transport{DialContext: l.dial, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// logs collects what a broker logs.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logs) count(text string) int { return strings.Count(l.String(), text) }
