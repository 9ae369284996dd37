package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// receiver is an endpoint on loopback that counts what is delivered to it.
type receiver struct {
	listener net.Listener
	server   *http.Server
	arrived  chan struct{} // has room for one hint

	mu   sync.Mutex
	seen map[recall.MessageID]bool
	out  io.Writer // shows what arrives, if not nil
}

func startReceiver() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{listener: l, seen: map[recall.MessageID]bool{}, arrived: make(chan struct{}, 1)}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(l) }() // ends with close
	return r, nil
}

func (r *receiver) url() string { return "http://" + r.listener.Addr().String() }

func (r *receiver) close() { _ = r.server.Close() }

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, recall.DefaultMaxBody))
	if err != nil {
		return // the connection broke: not delivered
	}
	r.record(recall.MessageID(req.Header.Get("Recall-Message-Id")), req.URL.Path, body)
	select {
	case r.arrived <- struct{}{}:
	default:
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) record(id recall.MessageID, path string, body []byte) {
	const shown = 60
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[id] = true
	if r.out != nil {
		fmt.Fprintf(r.out, "The receiver got %s at %s: %q\n", id, path, body[:min(shown, len(body))])
	}
}

// show prints from now on what arrives.
func (r *receiver) show(out io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = out
}

// count returns how many different messages arrived.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

func (r *receiver) ids() map[recall.MessageID]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.seen)
}
