package recalltest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Endpoint is a scripted destination. What it is told to do it does in that order,
// one step for each request, and the last step again and again; told nothing it
// answers 200. Its methods return it, so that a script reads in one line, and are
// safe for concurrent use.
type Endpoint struct {
	s       *Server
	pattern string

	// Guarded by s.mu:
	script []step
	at     int
}

// step is what an endpoint does with one request. The zero step answers 200.
type step struct {
	reply   Reply
	hang    bool
	reset   bool
	handler http.Handler // instead of reply
	forward *url.URL
}

// Reply is an answer of an [Endpoint].
type Reply struct {
	Status int // 200 if it is 0
	Header http.Header
	Body   string
	After  time.Duration // how long the endpoint takes, by the server's clock
}

// Endpoint returns the endpoint for a URL, making it if there is none. It stands
// for this very URL, with any query unless the URL has one of its own; a URL that
// ends in a slash stands for all beneath it, too, and one without a path for its
// whole host. Of several that match, the longest counts.
//
// Scheme and host are compared in any letter case, the rest byte for byte.
func (s *Server) Endpoint(url string) *Endpoint {
	if err := checkPattern(url); err != nil {
		s.problem("Endpoint(%q): %v", url, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.routes.at(s, url)
}

func (e *Endpoint) do(steps ...step) *Endpoint {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.script = append(e.script, steps...)
	return e
}

// next is what to do with a request.
func (e *Endpoint) next() step {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if len(e.script) == 0 {
		return step{}
	}
	now := e.script[min(e.at, len(e.script)-1)]
	e.at = min(e.at+1, len(e.script))
	return now
}

// Respond answers with the statuses in turn.
func (e *Endpoint) Respond(statuses ...int) *Endpoint {
	for _, status := range statuses {
		e.Reply(Reply{Status: status})
	}
	return e
}

// Reply answers with a status, headers and a body, and may take its time.
func (e *Endpoint) Reply(r Reply) *Endpoint {
	if err := r.check(); err != nil {
		e.s.problem("endpoint %s: %v", e.pattern, err)
		return e
	}
	return e.do(step{reply: r})
}

// Slow answers 200 after d, by the server's clock, if the attempt is not timed out
// or cancelled before.
func (e *Endpoint) Slow(d time.Duration) *Endpoint { return e.Reply(Reply{After: d}) }

// Hang never answers: the attempt ends when it times out, is cancelled by
// recall.Abort, or the server is closed.
func (e *Endpoint) Hang() *Endpoint { return e.do(step{hang: true}) }

// Reset breaks the connection off before an answer.
func (e *Endpoint) Reset() *Endpoint { return e.do(step{reset: true}) }

// Panic panics while it serves the request, which a server of package net/http
// turns into a connection that is closed without an answer.
func (e *Endpoint) Panic() *Endpoint {
	return e.Handle(panics)
}

// Handle has a handler serve the request, within the process: that of the program
// under test, for instance. It may use the server, but not wait for deliveries; see
// [Concurrent] about handlers that wait for each other. Outside a bubble the clock waits
// for it, but for no longer than two seconds of real time: then it may be moved, up to
// where the attempt times out.
func (e *Endpoint) Handle(h http.Handler) *Endpoint {
	if h == nil {
		e.s.problem("endpoint %s: the handler is nil", e.pattern)
		return e
	}
	return e.do(step{handler: h})
}

// Forward sends the request on to a server of this machine, "http://127.0.0.1:3000"
// say, whatever host it was for. Path, query, headers and body stay as they are; a
// path of target is put before that of the request. Other machines are refused. The
// clock waits for the answer as for a handler's, see [Endpoint.Handle].
func (e *Endpoint) Forward(target string) *Endpoint {
	u, err := forwardTarget(target)
	if err != nil {
		e.s.problem("endpoint %s: %v", e.pattern, err)
		return e
	}
	return e.do(step{forward: u})
}

// Requests returns what this endpoint was sent, in the order in which it began,
// the attempts that it has not answered included.
func (e *Endpoint) Requests() []Delivery {
	return e.s.deliveriesTo(func(dest string) bool {
		e.s.mu.Lock()
		defer e.s.mu.Unlock()
		return e.s.routes.find(dest) == e
	})
}

var panics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the endpoint panics as it was told to") })

func (r Reply) check() error {
	if r.Status != 0 && (r.Status < 200 || r.Status > 999) {
		return fmt.Errorf("%d is no status of an answer", r.Status)
	}
	if r.After < 0 {
		return fmt.Errorf("it cannot answer after %v", r.After)
	}
	return nil
}

func checkPattern(dest string) error {
	u, err := url.Parse(dest)
	if err != nil || !isHTTP(normal(dest)) || u.Host == "" {
		return errors.New("it is not the URL of anything that could be delivered to")
	}
	return nil
}

// forwardTarget reads the address of a server of this machine.
func forwardTarget(target string) (*url.URL, error) {
	u, err := url.Parse(target)
	if err != nil || !isHTTP(target) || !isLoopback(u.Hostname()) || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("cannot forward to %q: it is not the address of a server of this machine", target)
	}
	return u, nil
}

// routes are the endpoints by what they match.
type routes struct{ endpoints map[string]*Endpoint }

func (r *routes) at(s *Server, pattern string) *Endpoint {
	pattern = normal(pattern)
	if r.endpoints == nil {
		r.endpoints = map[string]*Endpoint{}
	}
	if r.endpoints[pattern] == nil {
		r.endpoints[pattern] = &Endpoint{s: s, pattern: pattern}
	}
	return r.endpoints[pattern]
}

// find returns the endpoint for a destination, or nil.
func (r *routes) find(dest string) *Endpoint {
	dest = normal(dest)
	path, _, _ := strings.Cut(dest, "?")
	for _, exact := range []string{dest, path} {
		if e := r.endpoints[exact]; e != nil {
			return e
		}
	}
	for i := len(path); i > len("https:/"); i-- {
		if path[i-1] != '/' && i != hostEnd(path) {
			continue
		}
		if e := r.endpoints[path[:i]]; e != nil {
			return e
		}
	}
	return nil
}

// hostEnd is where the host of a URL ends; what has none is all host.
func hostEnd(dest string) int {
	scheme, rest, ok := strings.Cut(dest, "://")
	if i := strings.IndexAny(rest, "/?#"); ok && i >= 0 {
		return len(scheme) + len("://") + i
	}
	return len(dest)
}

// normal is a URL with scheme and host in lower case, and no credentials.
func normal(dest string) string {
	dest, _, _ = strings.Cut(dest, "#")
	end := hostEnd(dest)
	scheme, host, ok := strings.Cut(dest[:end], "://")
	if !ok {
		return dest
	}
	host = host[strings.LastIndexByte(host, '@')+1:]
	return strings.ToLower(scheme) + "://" + strings.ToLower(host) + dest[end:]
}

func (e *Endpoint) String() string { return fmt.Sprintf("endpoint %s", e.pattern) }
