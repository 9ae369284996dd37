package admin

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/recallmq/recall"
)

// Local returns a client of a broker in this process. It may do everything, by the
// code that serves others: requests and answers are those of the wire, and only the
// connection is missing. It does not close b.
func Local(b *recall.Broker) *Client {
	h := NewHandler(b, &Options{Access: Trusted, AllowLocal: true, Logger: b.Options().Logger})
	return &Client{base: "http://local", http: &http.Client{Transport: InProcess(h)}}
}

// InProcess returns a transport that has every request answered by h, without a
// connection. Answers stream: what h writes waits until it is read. Closing the body
// of an answer makes the writes of h fail.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper. The goroutine of h ends when it returns,
// which a closed body makes it do.
func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil { // a call that answers at once would win against it
		return nil, err
	}
	r := req.Clone(req.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, ready: make(chan struct{})}
	go p.serve(w, r)
	select {
	case <-w.ready:
	case <-req.Context().Done():
		_ = body.CloseWithError(req.Context().Err())
		return nil, req.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: body, ContentLength: -1, Request: req,
	}, nil
}

func (p inProcess) serve(w *pipeWriter, r *http.Request) {
	var end error
	defer func() {
		if v := recover(); v != nil {
			end = io.ErrUnexpectedEOF // what a client sees of a connection that is cut
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				defer panic(v)
			}
		}
		r.Body.Close()
		w.WriteHeader(http.StatusOK)
		_ = w.out.CloseWithError(end) // never fails
	}()
	p.h.ServeHTTP(w, r)
}

// pipeWriter is the http.ResponseWriter of such a request.
type pipeWriter struct {
	header, sent http.Header
	status       int
	out          *io.PipeWriter
	once         sync.Once
	ready        chan struct{} // closed when status and sent are set
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}
