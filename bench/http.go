package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

const httpSlots = 64

// benchHTTP delivers preloaded messages to a receiver in this process and
// compares with a client that does nothing but POST. Both share the cores with
// the receiver.
func benchHTTP(b *bench) error {
	r, err := startReceiver()
	if err != nil {
		return err
	}
	defer r.close()
	var bare, delivered series
	lat := newLatencies()
	for range b.Reps {
		one, err := postRate(r, httpSlots, b.Window, lat)
		if err != nil {
			return err
		}
		bare = append(bare, one)
		if one, err = b.httpDrain(r); err != nil {
			return err
		}
		delivered = append(delivered, one)
	}
	b.report.rates(fmt.Sprintf("bare POST loop, %d connections", httpSlots), "per s", bare).latency(lat.quantiles())
	b.report.rates(fmt.Sprintf("delivery, %d slots", httpSlots), "per s", delivered).
		ratio("bare POST", delivered.per(bare)...).atLeast(12, 0.6)
	return nil
}

// httpDrain preloads messages for the receiver, opens the file with slots and
// returns the rate from the first request to the last.
func (b *bench) httpDrain(r *receiver) (rate float64, err error) {
	path := b.path("http.db")
	defer os.Remove(path)
	s := shape{n: b.HTTP, url: r.url, due: overdue(b.HTTP, true)}
	if err := preload(path, s); err != nil {
		return 0, err
	}
	b.settle()
	all := r.expect(b.HTTP)
	err = withBroker(path, httpSlots, func(br *recall.Broker) error {
		if err := r.wait(all); err != nil {
			return err
		}
		return waitIdle(br)
	})
	if err != nil {
		return 0, err
	}
	return r.rate(), nil
}

// receiver is an endpoint that takes everything and keeps nothing.
type receiver struct {
	url      string
	server   *http.Server
	requests atomic.Int64

	mu          sync.Mutex
	first, last time.Time
	wanted      atomic.Int64
	reached     chan struct{}
}

func startReceiver() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + listener.Addr().String() + "/hook"}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go r.server.Serve(listener) //nolint:errcheck // ends with ErrServerClosed
	return r, nil
}

func (r *receiver) close() { r.server.Close() }

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	n := r.requests.Add(1)
	if n == 1 || n == r.wanted.Load() {
		r.mark(n)
	}
}

func (r *receiver) mark(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == 1 {
		r.first = time.Now()
	}
	if n == r.wanted.Load() {
		r.last = time.Now()
		close(r.reached)
	}
}

// expect starts counting anew and returns what is closed with request n.
func (r *receiver) expect(n int) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests.Store(0)
	r.reached = make(chan struct{})
	r.wanted.Store(int64(n))
	return r.reached
}

func (r *receiver) wait(all <-chan struct{}) error {
	select {
	case <-all:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%d requests arrived, then none for too long", r.requests.Load())
	}
}

func (r *receiver) rate() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return float64(r.wanted.Load()-1) / r.last.Sub(r.first).Seconds()
}

// postRate is the bare loop: requests made, sent and read to the end. Its
// transport keeps a connection per worker; the default one keeps two per host.
func postRate(r *receiver, connections int, window time.Duration, lat *latencies) (float64, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxIdleConns: 0, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	r.expect(0)
	return parallel(connections, window, lat, func(n int) error { return post(client, r.url, bodyOf(n)) })
}

func post(client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the receiver said %s", res.Status)
	}
	return nil
}
