package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// eventLog is the server of the log, beside recall dev. The zero value is none.
type eventLog struct {
	in   doors
	web  *http.Server
	stop context.CancelFunc // ends those who follow
}

// logAddress is where the log is served, "" for the port after that of the
// server. It is on the loopback whatever --listen says: no token guards it.
func (d *dev) logAddress(given bool) (string, error) {
	port, from := strconv.Itoa(d.logPort), "--log-port"
	if !given {
		port, from = os.Getenv("QSTASH_DEV_LOG_PORT"), "QSTASH_DEV_LOG_PORT"
		if port == "" {
			return "", nil
		}
	}
	if err := checkPort(port, from); err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", port), nil
}

// startLog serves the log. Only a port that was asked for has to be free: who
// did not ask may not know that there is a log.
func (d *dev) startLog(in doors, address string) (*eventLog, error) {
	asked := address != ""
	if !asked {
		address = d.nextPort(in)
	}
	list, err := openDoors(address, d.log)
	switch {
	case err != nil && asked:
		return nil, err
	case err != nil:
		d.log.Warn("the log of events is not served; choose a port with --log-port", "error", err)
		return &eventLog{}, nil
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &eventLog{in: list, stop: stop, web: &http.Server{
		Handler:           &eventPages{users: d.users},
		ReadHeaderTimeout: defaultLimits.headerTimeout,
		IdleTimeout:       defaultLimits.idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}}
	for _, l := range list {
		go func() { _ = e.web.Serve(l) }() // ends with close
	}
	return e, nil
}

// nextPort is that after the server's, or a free one beside a server that has
// taken a free one.
func (d *dev) nextPort(in doors) string {
	port := "0"
	_, asked, err := net.SplitHostPort(d.listen)
	if at, ok := in[0].Addr().(*net.TCPAddr); ok && err == nil && asked != "0" {
		port = strconv.Itoa(at.Port + 1) // of 65535 there is none, which listening says
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func (e *eventLog) announce(d *dev) {
	if e.in != nil {
		d.say("The log of events is at %s", e.in.url())
	}
}

// close gives those who read a moment to get the rest.
func (e *eventLog) close() {
	if e.web == nil {
		return
	}
	e.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := e.web.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		_ = e.web.Close() // the reader has gone to sleep
	}
}
