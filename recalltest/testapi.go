package recalltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// testPrefix is where the API for tests begins.
const testPrefix = "/recall/v1/test/"

// maxTestBody bounds the body of a call of it, in bytes.
const maxTestBody = 64 << 20

func isTestCall(r *http.Request) bool {
	return strings.HasPrefix("/"+strings.TrimLeft(r.URL.Path, "/")+"/", testPrefix)
}

// badCall is what the caller of the API for tests has done wrong.
type badCall struct {
	status int
	text   string
}

func (e *badCall) Error() string { return "recalltest: " + e.text }

func bad(format string, args ...any) error {
	return &badCall{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// testCalls serve the API for tests, by method and path.
var testCalls = map[string]func(*Server, *http.Request) (any, error){
	"GET clock":          (*Server).getClock,
	"POST clock/advance": (*Server).postAdvance,
	"POST clock/next":    (*Server).postNext,
	"POST clock/drain":   (*Server).postDrain,
	"POST clock/settle":  (*Server).postSettle,
	"POST endpoints":     (*Server).postEndpoint,
	"GET endpoints":      (*Server).getEndpoints,
	"DELETE endpoints":   (*Server).deleteEndpoint,
	"GET deliveries":     (*Server).getDeliveries,
	"GET messages":       (*Server).getMessages,
	"POST faults":        (*Server).postFault,
	"GET state":          (*Server).getState,
	"POST state":         (*Server).postState,
	"GET problems":       (*Server).getProblems,
	"POST reset":         (*Server).postReset,
}

// serveTest serves the API for tests.
func (s *Server) serveTest(w http.ResponseWriter, r *http.Request) {
	result, err := s.testCall(r)
	status := http.StatusOK
	if err != nil {
		status = http.StatusInternalServerError
		text := err.Error()
		var own *badCall
		if errors.As(err, &own) {
			status, text = own.status, own.text
		}
		result = map[string]string{"error": text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(result) // the client may have gone
}

func (s *Server) testCall(r *http.Request) (any, error) {
	path := strings.TrimPrefix(strings.Trim(r.URL.Path, "/")+"/", testPrefix[1:])
	path = strings.Trim(path, "/")
	call := testCalls[r.Method+" "+path]
	switch {
	case r.Header.Get("Authorization") != "Bearer "+s.Token:
		return nil, &badCall{http.StatusUnauthorized, "missing or wrong token"}
	case call != nil:
		return call(s, r)
	}
	for known := range testCalls {
		if strings.HasSuffix(known, " "+path) {
			return nil, &badCall{http.StatusMethodNotAllowed, "method not allowed"}
		}
	}
	return nil, &badCall{http.StatusNotFound, fmt.Sprintf("no such endpoint: %.200s", r.URL.Path)}
}

// readCall reads the JSON of a call.
func readCall(r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxTestBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return bad("the body is not the JSON that is expected: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows the JSON")
	}
	return nil
}

// clockState is what calls about the time answer.
type clockState struct {
	Now  time.Time `json:"now"`
	Next time.Time `json:"next,omitzero"` // when something happens next
}

func (s *Server) getClock(*http.Request) (any, error) {
	next, _ := s.Next()
	return clockState{s.Now().UTC(), next.UTC()}, nil
}

func (s *Server) postAdvance(r *http.Request) (any, error) {
	var call struct{ By string }
	if err := readCall(r, &call); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(call.By)
	if err != nil || d < 0 {
		return nil, bad("by: %.100q is not a duration of at least 0, such as 90s or 1h", call.By)
	}
	s.Advance(d)
	return s.getClock(r)
}

func (s *Server) postNext(r *http.Request) (any, error) {
	s.AdvanceToNext()
	return s.getClock(r)
}

func (s *Server) postDrain(r *http.Request) (any, error) {
	s.Drain()
	return s.getClock(r)
}

func (s *Server) postSettle(r *http.Request) (any, error) { return s.getClock(r) }

// scriptCall scripts an endpoint.
type scriptCall struct {
	URL    string     `json:"url"`
	Script []stepCall `json:"script"`
}

// stepCall is one step: an answer, or one of the others.
type stepCall struct {
	Status  int               `json:"status,omitempty"`
	Header  map[string]string `json:"header,omitempty"`
	Body    string            `json:"body,omitempty"`
	After   string            `json:"after,omitempty"`
	Hang    bool              `json:"hang,omitempty"`
	Reset   bool              `json:"reset,omitempty"`
	Panic   bool              `json:"panic,omitempty"`
	Forward string            `json:"forward,omitempty"`
}

func (c *stepCall) step() (step, error) {
	kinds := 0
	for _, is := range []bool{c.Hang, c.Reset, c.Panic, c.Forward != "", c.Status != 0 || c.Header != nil || c.Body != "" || c.After != ""} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return step{}, errors.New("a step is one of an answer, hang, reset, panic, forward")
	case c.Hang:
		return step{hang: true}, nil
	case c.Reset:
		return step{reset: true}, nil
	case c.Panic:
		return step{handler: panics}, nil
	case c.Forward != "":
		target, err := forwardTarget(c.Forward)
		return step{forward: target}, err
	}
	return c.answer()
}

func (c *stepCall) answer() (step, error) {
	reply := Reply{Status: c.Status, Body: c.Body, Header: http.Header{}}
	for name, value := range c.Header {
		reply.Header.Set(name, value)
	}
	if c.After != "" {
		d, err := time.ParseDuration(c.After)
		if err != nil {
			return step{}, fmt.Errorf("after: %.100q is not a duration", c.After)
		}
		reply.After = d
	}
	return step{reply: reply}, reply.check()
}

func (s *Server) postEndpoint(r *http.Request) (any, error) {
	var call scriptCall
	if err := readCall(r, &call); err != nil {
		return nil, err
	}
	if err := checkPattern(call.URL); err != nil {
		return nil, bad("url: %v", err)
	}
	var steps []step
	for i := range call.Script {
		one, err := call.Script[i].step()
		if err != nil {
			return nil, bad("script: step %d: %v", i, err)
		}
		steps = append(steps, one)
	}
	s.Endpoint(call.URL).do(steps...)
	return struct{}{}, nil
}

func (s *Server) getEndpoints(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []string{}
	for pattern := range s.routes.endpoints {
		list = append(list, pattern)
	}
	slices.Sort(list)
	return list, nil
}

// deleteEndpoint forgets the endpoint that the parameter url names, or all.
func (s *Server) deleteEndpoint(r *http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.URL.Query().Has("url") {
		s.routes = routes{}
		return struct{}{}, nil
	}
	pattern := normal(r.URL.Query().Get("url"))
	if s.routes.endpoints[pattern] == nil {
		return nil, &badCall{http.StatusNotFound, fmt.Sprintf("there is no endpoint %.200q", pattern)}
	}
	delete(s.routes.endpoints, pattern)
	return struct{}{}, nil
}

// getDeliveries lists the requests that were made, to one URL or for one message
// if the parameters say so. It first waits for what is due.
func (s *Server) getDeliveries(r *http.Request) (any, error) {
	s.Settle()
	list := s.Deliveries()
	if q := r.URL.Query(); q.Has("url") {
		list = slices.DeleteFunc(list, func(d Delivery) bool { return d.URL != q.Get("url") })
	}
	if q := r.URL.Query(); q.Has("messageId") {
		list = slices.DeleteFunc(list, func(d Delivery) bool { return string(d.MessageID) != q.Get("messageId") })
	}
	return list, nil
}

// toldMessage is a message with what has become of it.
type toldMessage struct {
	StateMessage
	Fate     fate       `json:"fate"`
	Requests []Delivery `json:"requests,omitempty"`
}

func (s *Server) getMessages(*http.Request) (any, error) {
	s.Settle()
	all, err := s.all(s.now())
	if err != nil {
		return nil, err
	}
	list := []toldMessage{}
	for _, k := range all {
		m := stateOf(&k.message)
		m.State, m.Delay = "", ""
		if !k.due.IsZero() {
			m.Due = k.due.UTC()
		}
		list = append(list, toldMessage{m, k.fate, k.requests})
	}
	return list, nil
}

func (s *Server) postFault(r *http.Request) (any, error) {
	call := struct {
		Call                Call
		Times, Status       int
		Break, Lose, Commit bool
	}{Times: 1}
	if err := readCall(r, &call); err != nil {
		return nil, err
	}
	kinds := 0
	for _, is := range []bool{call.Status != 0, call.Break, call.Lose, call.Commit} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return nil, bad("a fault is one of status, break, lose, commit")
	case call.Times < 1:
		return nil, bad("times: %d calls cannot fail", call.Times)
	case call.Status != 0 && (call.Status < 200 || call.Status > 999):
		return nil, bad("status: %d is no status of an answer", call.Status)
	case call.Commit:
		s.FailCommits(call.Times)
	case call.Break:
		s.BreakNext(call.Call, call.Times)
	case call.Lose:
		s.LoseNext(call.Call, call.Times)
	default:
		s.FailNext(call.Call, call.Times, call.Status)
	}
	return struct{}{}, nil
}

func (s *Server) getState(r *http.Request) (any, error) { return s.state(r.Context()) }

func (s *Server) postState(r *http.Request) (any, error) {
	var state State
	if err := readCall(r, &state); err != nil {
		return nil, err
	}
	if err := s.load(r.Context(), &state); err != nil {
		if errors.Is(err, recall.ErrInvalid) {
			return nil, bad("%v", err)
		}
		return nil, err
	}
	return struct{}{}, nil
}

func (s *Server) getProblems(*http.Request) (any, error) {
	return append([]string{}, s.Problems()...), nil
}

func (s *Server) postReset(*http.Request) (any, error) {
	s.Reset()
	return struct{}{}, nil
}
