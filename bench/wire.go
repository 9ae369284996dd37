package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

const (
	wireClients = 64 // connections of wrk, and goroutines that call the library
	wireToken   = "bench"
	wireEach    = 20 // messages that one bulk cancellation takes
)

//go:embed wire.lua
var wireScript []byte

// benchWire has wrk publish and cancel over HTTP with 64 connections, and does the
// same with as many goroutines and no HTTP. Server and clients share the cores.
func benchWire(b *bench) error {
	wrk, _ := exec.LookPath("wrk")
	if wrk == "" {
		b.report.note("SKIPPED: wrk is not here; scripts/setup.sh wrk brings it")
		return nil
	}
	var published, overHTTP, cancelled, cancelledHTTP series
	publishing, cancelling := b.newLimits(), b.newLimits()
	for range b.Reps {
		if err := b.bareWire(wrk, publishing, cancelling); err != nil {
			return err
		}
		for _, run := range []struct {
			into *series
			with func(*bench, *recall.Broker, int) (float64, error)
			load int // messages that are there before
		}{
			{&published, (*bench).publishDirectly, 0},
			{&overHTTP, overWire(wrk, "publish"), 0},
			{&cancelled, (*bench).cancelDirectly, wireEach},
			{&cancelledHTTP, overWire(wrk, "cancel"), wireEach},
		} {
			rate, err := b.wireRun(run.load, run.with)
			if err != nil {
				return err
			}
			*run.into = append(*run.into, rate)
		}
	}
	b.report.rates(fmt.Sprintf("publish, %d goroutines", wireClients), "msg/s", published)
	b.report.rates(fmt.Sprintf("publish by wrk, %d connections", wireClients), "msg/s", overHTTP).
		ratio("the library", overHTTP.per(published)...)
	publishing.share("publish by wrk", "msg/s", bareHandler, overHTTP)
	b.report.rates(fmt.Sprintf("bulk cancel of %d, %d goroutines", wireEach, wireClients), "calls/s", cancelled)
	b.report.rates(fmt.Sprintf("bulk cancel of %d by wrk, %d connections", wireEach, wireClients), "calls/s", cancelledHTTP).
		ratio("the library", cancelledHTTP.per(cancelled)...)
	cancelling.share("bulk cancel by wrk", "calls/s", bareHandler, cancelledHTTP)
	return nil
}

const bareHandler = "a handler that does nothing"

// bareWire has wrk make the same calls of a handler that does nothing.
func (b *bench) bareWire(wrk string, publishing, cancelling *limits) error {
	for _, run := range []struct {
		what string
		to   *limits
	}{{"publish", publishing}, {"cancel", cancelling}} {
		rate, err := b.wrkRate(wrk, run.what, b.wireCalls(), http.HandlerFunc(nothingOnWire))
		if err != nil {
			return err
		}
		run.to.add(rate)
	}
	return nil
}

// wireCalls is how many calls one run makes.
func (b *bench) wireCalls() int { return max(2000, b.HTTP/4) }

// wireRun opens a fresh file, fills it, and checks what is left.
func (b *bench) wireRun(load int, with func(*bench, *recall.Broker, int) (float64, error)) (rate float64, err error) {
	calls := b.wireCalls()
	b.settle()
	err = b.withFreshBroker(fewSlots, func(br *recall.Broker) error {
		if err := wireLoad(br, calls, load); err != nil {
			return err
		}
		if rate, err = with(b, br, calls); err != nil {
			return err
		}
		n, err := br.Count(bg, recall.Filter{})
		switch {
		case err != nil:
			return err
		case load > 0 && n.Pending != 0:
			return fmt.Errorf("%d messages are left", n.Pending)
		case load == 0 && n.Pending < calls:
			return fmt.Errorf("%d messages of %d are there", n.Pending, calls)
		}
		return nil
	})
	return rate, err
}

// wireLoad publishes each messages for every call that will cancel.
func wireLoad(br *recall.Broker, calls, each int) error {
	var msgs []recall.Message
	for i := range calls * each {
		msgs = append(msgs, wireMessage(i, wireLabel(i%calls)))
		if len(msgs) == 2000 || i == calls*each-1 {
			if _, err := br.PublishBatch(bg, msgs); err != nil {
				return err
			}
			msgs = msgs[:0]
		}
	}
	return nil
}

func wireLabel(i int) string { return "l" + strconv.Itoa(i) }

func wireMessage(i int, label string) recall.Message {
	m := recall.Message{URL: "http://127.0.0.1:9/hook", Delay: time.Hour, Body: bodyOf(i)}
	if label != "" {
		m.Labels = []string{label}
	}
	return m
}

func (b *bench) publishDirectly(br *recall.Broker, calls int) (float64, error) {
	return directly(calls, func(i int) error {
		_, err := br.Publish(bg, wireMessage(i, ""))
		return err
	})
}

func (b *bench) cancelDirectly(br *recall.Broker, calls int) (float64, error) {
	return directly(calls, func(i int) error {
		res, err := br.CancelMatching(bg, recall.Filter{Labels: []string{wireLabel(i)}})
		if err == nil && res.Cancelled != wireEach {
			err = fmt.Errorf("%d messages cancelled", res.Cancelled)
		}
		return err
	})
}

// directly makes calls from all goroutines and returns how many a second.
func directly(calls int, call func(int) error) (float64, error) {
	var next atomic.Int64
	errs := make([]error, wireClients)
	start := time.Now()
	var wg sync.WaitGroup
	for w := range wireClients {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(calls) && errs[w] == nil; i = next.Add(1) - 1 {
				errs[w] = call(int(i))
			}
		})
	}
	wg.Wait()
	return float64(calls) / time.Since(start).Seconds(), errors.Join(errs...)
}

// overWire serves the broker and has wrk make the calls; it is stopped when they
// are answered.
func overWire(wrk, what string) func(*bench, *recall.Broker, int) (float64, error) {
	return func(b *bench, br *recall.Broker, calls int) (float64, error) {
		return b.wrkRate(wrk, what, calls, qstash.NewHandler(br, &qstash.Options{Token: wireToken}))
	}
}

// nothingOnWire answers each call and does nothing else.
func nothingOnWire(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "{}")
}

// wrkRate has wrk make calls of a handler and returns how many a second were answered.
func (b *bench) wrkRate(wrk, what string, calls int, h http.Handler) (float64, error) {
	script := filepath.Join(b.dir, "wire.lua")
	if err := os.WriteFile(script, wireScript, 0o600); err != nil {
		return 0, err
	}
	counted := &countedCalls{Handler: h, wanted: int64(calls), reached: make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	server := &http.Server{Handler: counted, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener) //nolint:errcheck // ends with ErrServerClosed
	defer server.Close()
	ctx, stop := context.WithTimeout(bg, patience)
	defer stop()
	cmd := exec.CommandContext(ctx, wrk, "-t2", "-c"+strconv.Itoa(wireClients), "-d600s", "-s", script, //nolint:gosec // found in PATH
		"http://"+listener.Addr().String(), "--", what, wireToken, strconv.Itoa(calls), strconv.Itoa(len(bodyOf(0))))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	select {
	case <-counted.reached:
	case <-ctx.Done():
	}
	took := time.Since(start)
	stop()
	_ = cmd.Wait() // it was stopped
	if n := counted.good.Load(); n < int64(calls) {
		return 0, fmt.Errorf("%d of %d calls were answered, %d with an error: %s", n, calls, counted.bad.Load(), said.String())
	}
	return float64(calls) / took.Seconds(), nil
}

// countedCalls counts answers and says when there are enough.
type countedCalls struct {
	http.Handler
	wanted    int64
	good, bad atomic.Int64
	reached   chan struct{}
}

func (c *countedCalls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := &statusOf{ResponseWriter: w}
	c.Handler.ServeHTTP(status, r)
	switch {
	case r.Method == http.MethodGet: // wrk has nothing left to cancel
	case status.code >= http.StatusBadRequest:
		c.bad.Add(1)
	case c.good.Add(1) == c.wanted:
		close(c.reached)
	}
}

// statusOf notes the status of an answer.
type statusOf struct {
	http.ResponseWriter
	code int
}

func (s *statusOf) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (s *statusOf) Unwrap() http.ResponseWriter { return s.ResponseWriter }
