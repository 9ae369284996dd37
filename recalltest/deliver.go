package recalltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/recallmq/recall"
)

// headerMessageID is in every delivery.
const headerMessageID = "Recall-Message-Id"

// deliveries is the transport of a world's broker: it makes no connection but to
// where an endpoint is told to forward.
type deliveries struct {
	s *Server
	w *world
}

var (
	errReset      = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	errUnscripted = errors.New("no endpoint is scripted for this destination")
)

// RoundTrip implements http.RoundTripper.
func (d deliveries) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readAll(req.Body)
	if err != nil {
		return nil, err
	}
	a, err := d.w.watch.arrive(req.Context(), recall.MessageID(req.Header.Get(headerMessageID)))
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, errors.New("recalltest: a request that is no delivery")
	}
	answered := d.w.watch.requested(Delivery{
		MessageID: a.message.ID, Attempt: a.message.Attempts, URL: a.message.URL,
		Method: req.Method, Header: req.Header.Clone(), Body: string(body), At: d.w.clock.Now(),
	})
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := d.answer(req, a)
	if err != nil {
		answered(0, err)
		return nil, err
	}
	answered(resp.StatusCode, nil)
	return resp, nil
}

func readAll(body io.ReadCloser) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (d deliveries) answer(req *http.Request, a *attempt) (*http.Response, error) {
	d.s.mu.Lock()
	e := d.s.routes.find(a.message.URL)
	d.s.mu.Unlock()
	switch {
	case e != nil:
	case d.s.o.loopback && isLoopback(req.URL.Hostname()):
		return d.outside(req, a, d.s.forward)
	default:
		d.s.problemOnce("a delivery to %s, for which no endpoint is scripted", a.message.URL)
		return nil, errUnscripted
	}
	now := e.next()
	switch {
	case now.hang:
		return nil, d.wait(req.Context(), a, -1)
	case now.reset:
		return nil, errReset
	case now.handler != nil:
		if d.s.o.bubble {
			d.w.watch.pass(a)
		}
		return d.outside(req, a, inProcess{now.handler, d.s})
	case now.forward != nil:
		return d.send(req, a, now)
	case now.reply.After > 0:
		if err := d.wait(req.Context(), a, now.reply.After); err != nil {
			return nil, err
		}
	}
	return now.reply.response(req), nil
}

// realPatience is how long, in real time, a handler or a server of this machine may
// take to answer before it counts as one that waits for a time.
var realPatience = 2 * time.Second

// outside has a handler or a server of this machine answer. Of one that takes long
// nobody can tell whether it works or waits, for the end of the attempt perhaps: so
// the clock need not wait for it any longer.
func (d deliveries) outside(req *http.Request, a *attempt, to http.RoundTripper) (*http.Response, error) {
	if d.s.o.bubble {
		return to.RoundTrip(req)
	}
	until, _ := req.Context().Deadline() // every attempt has one
	defer d.w.watch.goOn(a)
	defer afterReal(realPatience, func() { d.w.watch.park(a, until) })()
	return to.RoundTrip(req)
}

// wait lets time pass, for ever if it is negative, or until ctx is done.
func (d deliveries) wait(ctx context.Context, a *attempt, after time.Duration) error {
	until, _ := ctx.Deadline() // every attempt has one
	passed := make(chan struct{})
	if after >= 0 {
		until = earlier(until, d.w.clock.Now().Add(after))
		defer d.w.clock.AfterFunc(after, func() { close(passed) })()
	}
	d.w.watch.park(a, until)
	defer d.w.watch.goOn(a)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-passed:
		return nil
	}
}

// send forwards a request.
func (d deliveries) send(req *http.Request, a *attempt, now step) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host, req.URL.User = now.forward.Scheme, now.forward.Host, nil
	if prefix := strings.TrimSuffix(now.forward.EscapedPath(), "/"); prefix != "" {
		req.URL.Path, req.URL.RawPath = strings.TrimSuffix(now.forward.Path, "/")+req.URL.Path, prefix+req.URL.EscapedPath()
	}
	req.Host = ""
	return d.outside(req, a, d.s.forward)
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (r Reply) response(req *http.Request) *http.Response {
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	header := r.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(strings.NewReader(r.Body)), ContentLength: int64(len(r.Body)), Request: req,
	}
}
