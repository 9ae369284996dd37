package recalltest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Call names calls of the API, for faults: a method, a space, and how the path
// begins, "GET /v2/logs" say. An empty Call is any.
type Call string

// The calls that tests mostly want to fail.
const (
	CallAny     Call = ""
	CallPublish Call = "POST /v2/publish"
	CallEnqueue Call = "POST /v2/enqueue"
	CallBatch   Call = "POST /v2/batch"
	CallCancel  Call = "DELETE /v2/messages"
)

// fault is what becomes of some calls.
type fault struct {
	call   Call
	left   int
	status int  // 0: the connection is broken off
	late   bool // when the call was carried out
}

// FailNext makes the next n calls of a kind answer a status, and do nothing.
// Faults of the same call come one after the other. The API for tests never fails.
func (s *Server) FailNext(call Call, n, status int) {
	if status < 200 || status > 999 {
		s.problem("FailNext: %d is no status of an answer", status)
		return
	}
	s.addFault(&fault{call: call, left: n, status: status})
}

// BreakNext breaks the connection of the next n calls of a kind off; nothing is
// done.
func (s *Server) BreakNext(call Call, n int) { s.addFault(&fault{call: call, left: n}) }

// LoseNext carries the next n calls of a kind out and breaks their connections off
// before the answer: the caller cannot know, and a publish that is tried again is
// there twice unless it has a deduplication id.
func (s *Server) LoseNext(call Call, n int) { s.addFault(&fault{call: call, left: n, late: true}) }

// FailCommits makes the next n changes fail in the storage: publishing, cancelling,
// what a schedule publishes. The API answers 500, Go calls return [ErrInjected].
// Outcomes of attempts are not among them.
func (s *Server) FailCommits(n int) {
	w := s.now().watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commitFaults = n
}

func (s *Server) addFault(f *fault) {
	if f.left < 1 {
		s.problem("%d calls cannot fail", f.left)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// takeFault returns what is to become of a request, nil: nothing unusual.
func (s *Server) takeFault(r *http.Request) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !f.call.matches(r) {
			continue
		}
		if f.left--; f.left == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return f
	}
	return nil
}

func (c Call) matches(r *http.Request) bool {
	method, prefix, _ := strings.Cut(string(c), " ")
	path := "/" + strings.TrimLeft(r.URL.Path, "/")
	return (method == "" || strings.EqualFold(method, r.Method)) &&
		len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix)
}

func (f *fault) answer(w http.ResponseWriter) {
	if f.status == 0 || f.late {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": "the test wants this call to fail"})
}
