package recalltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
)

// inProcess calls a handler as a server would, without a connection.
type inProcess struct {
	handler http.Handler
	s       *Server
}

// caller is the address that handlers see.
const caller = "127.0.0.1:1"

// RoundTrip implements http.RoundTripper. The handler has ended when it returns.
func (p inProcess) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	r, err := arriving(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	w := &recorder{header: http.Header{}}
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				p.s.o.log.Error("recalltest: a handler panicked", "url", req.URL.String(), "panic", v, "stack", string(debug.Stack()))
			}
			resp, err = nil, io.EOF // what a client sees of a connection that is closed
		}
	}()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	p.handler.ServeHTTP(w, r)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return w.response(req), nil
}

// arriving is a request as a server reads it: of the URL there is what the request
// line holds.
func arriving(req *http.Request) (*http.Request, error) {
	line := req.URL.RequestURI()
	u, err := url.ParseRequestURI(line)
	if err != nil {
		return nil, fmt.Errorf("recalltest: %w", err)
	}
	r := req.Clone(req.Context())
	r.URL, r.RequestURI, r.RemoteAddr = u, line, caller
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.Header.Del("Host")
	r.Proto, r.ProtoMajor, r.ProtoMinor, r.Close = "HTTP/1.1", 1, 1, false
	return r, nil
}

// recorder is an http.ResponseWriter that keeps what is written.
type recorder struct {
	header http.Header
	sent   http.Header // as it was with the status
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 { // others are on the way to an answer
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush implements http.Flusher: there is nobody to flush to.
func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }

func (w *recorder) response(req *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	r := Reply{Status: w.status, Header: w.sent, Body: w.body.String()}
	if req.Method == http.MethodHead {
		r.Body = ""
	}
	if r.Body != "" && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", http.DetectContentType(w.body.Bytes()))
	}
	return r.response(req)
}
