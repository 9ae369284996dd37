package main

import (
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/recallmq/recall"
)

// receiver is an endpoint on loopback that counts what is delivered to it.
type receiver struct {
	listener net.Listener
	server   *http.Server
	mu       sync.Mutex
	seen     map[recall.MessageID]int
	arrived  chan struct{} // has room for one hint
}

func startReceiver() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{listener: l, seen: map[recall.MessageID]int{}, arrived: make(chan struct{}, 1)}
	r.server = &http.Server{Handler: r}
	go func() { _ = r.server.Serve(l) }() // ends with close
	return r, nil
}

func (r *receiver) url() string { return "http://" + r.listener.Addr().String() }

func (r *receiver) close() { _ = r.server.Close() }

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	r.mu.Lock()
	r.seen[recall.MessageID(req.Header.Get("Recall-Message-Id"))]++
	r.mu.Unlock()
	select {
	case r.arrived <- struct{}{}:
	default:
	}
	w.WriteHeader(http.StatusNoContent)
}

// count returns how many messages arrived, and how many deliveries were
// repeats.
func (r *receiver) count() (messages, repeats int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.seen {
		repeats += n - 1
	}
	return len(r.seen), repeats
}

func (r *receiver) has(id recall.MessageID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[id] > 0
}
