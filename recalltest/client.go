package recalltest

import (
	"fmt"
	"net/http"
	"net/url"
)

// Client returns an HTTP client that reaches the server, at its URL, without a
// socket: also in a [Bubble]. Requests to other hosts are refused. Requests need
// the token like any other.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: toServer{s}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// toServer is its transport.
type toServer struct{ s *Server }

// RoundTrip implements http.RoundTripper.
func (t toServer) RoundTrip(req *http.Request) (*http.Response, error) {
	if own, err := url.Parse(t.s.URL); err != nil || req.URL.Host != own.Host {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, fmt.Errorf("recalltest: this client reaches %s only, not %s", t.s.URL, req.URL.Host)
	}
	return inProcess{t.s.Handler(), t.s}.RoundTrip(req)
}

// Handler returns what serves the API, for servers of one's own. Beside QStash's
// API and Recall's it has the one for tests, under /recall/v1/test. Nothing that
// cleans paths may stand before it.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.served.Add(1)
	}
	s.mu.Unlock()
	if closed {
		panic(http.ErrAbortHandler)
	}
	defer s.served.Done()
	if isTestCall(r) {
		s.serveTest(w, r)
		return
	}
	f := s.takeFault(r)
	if f != nil && !f.late {
		f.answer(w)
		return
	}
	world := s.now()
	if r.Method == http.MethodDelete && !s.o.bubble {
		s.settleBefore(world)
	}
	if f != nil {
		world.api.ServeHTTP(&recorder{header: http.Header{}}, r)
		f.answer(w)
		return
	}
	world.api.ServeHTTP(w, r)
}
