package recalltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// Reporter is what a check needs of a test. It is small, so that one can test
// that a check fails.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// TB is what [New] needs of a test; *testing.T, *testing.B and *testing.F have it.
type TB interface {
	Reporter
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// closedHost is the host of servers without a listener. The name is reserved:
// nothing resolves it.
const closedHost = "recall.test"

// Server is a QStash for one test. Its methods are safe for concurrent use, but
// those that wait for deliveries – Advance and its relatives, Settle, the checks,
// Reset, Close – must not be called by an endpoint's handler: they would wait for
// it.
type Server struct {
	// URL is the address of the server, what SDKs want as QSTASH_URL.
	URL string
	// Token is what requests must bear, what SDKs want as QSTASH_TOKEN.
	Token string

	o       *options
	report  func(format string, args ...any) // to the test; nil: there is none
	web     *http.Server
	forward *http.Transport
	served  sync.WaitGroup // requests that are being answered

	moving sync.Mutex // held by who moves the time

	mu       sync.Mutex // guards what follows
	closed   bool
	world    *world
	routes   routes
	faults   []*fault
	problems []string
	told     map[string]bool // of those that are told once
}

// world is what Reset replaces.
type world struct {
	keys   *qstash.Keys // that deliveries are signed with
	clock  clock
	broker *recall.Broker
	watch  *watch
	api    http.Handler
	dir    string
}

// New starts a server that is closed with the test. What goes wrong in it – a
// delivery to an endpoint that was not scripted, say – fails the test. It listens
// on a free port of the loopback interface unless an option says otherwise, takes
// nothing from the environment, and keeps its messages in a temporary file that
// it does not sync.
func New(t TB, opts ...Option) *Server {
	t.Helper()
	s, err := start(t.Errorf, opts)
	if err != nil {
		t.Fatalf("recalltest: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("recalltest: %v", err)
		}
	})
	return s
}

// Start is [New] without a test, for programs: whoever calls it closes the server,
// and asks [Server.Problems] what went wrong.
func Start(opts ...Option) (*Server, error) { return start(nil, opts) }

func start(report func(string, ...any), opts []Option) (*Server, error) {
	o := collect(opts)
	s := &Server{
		URL: "http://" + closedHost, Token: o.token,
		o: o, report: report, forward: &http.Transport{DisableCompression: true}, told: map[string]bool{},
	}
	w, err := s.open()
	if err != nil {
		return nil, err
	}
	s.world = w
	if o.noListener {
		return s, nil
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.URL = "http://" + l.Addr().String()
	s.web = &http.Server{Handler: s.Handler(), MaxHeaderBytes: 4 << 20, ReadHeaderTimeout: 10 * time.Second}
	l = qstash.Listener(s.web, l)
	s.served.Add(1)
	go func() {
		defer s.served.Done()
		_ = s.web.Serve(l) // ends with Close
	}()
	return nil
}

// slots is how many attempts may hang or be slow at a time.
const slots = 4096

// open makes a new world.
func (s *Server) open() (*world, error) {
	w := &world{clock: clock(bubbleClock{}), keys: qstash.NewKeys(s.o.currentKey, s.o.nextKey)}
	if !s.o.bubble {
		w.clock = newVirtualClock(s.o.start)
	}
	dir, err := os.MkdirTemp("", "recalltest-")
	if err != nil {
		return nil, err
	}
	w.dir = dir
	opts := &recall.Options{
		Durability: recall.SyncNever, Slots: slots, WaitFinish: true, DeliveredRetention: qstash.DeliveredRetention, Clock: w.clock, Logger: s.o.log,
		Transport: deliveries{s, w}, OnRequest: w.keys.OnRequest,
	}
	if s.o.seeded {
		opts.Random = newRandom(s.o.seed)
	}
	engine, err := recall.OpenEngine(filepath.Join(dir, "queue.db"), opts)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	w.watch = newWatch(s.o)
	if w.broker, err = recall.New(watched(engine, w.watch), opts); err != nil {
		return nil, errors.Join(err, engine.Close(), os.RemoveAll(dir))
	}
	w.api = s.newAPI(w)
	return w, nil
}

// newAPI serves QStash's API. A bulk cancellation does not wait for messages in
// flight itself, as the time may stand still: see settleBefore.
func (s *Server) newAPI(w *world) http.Handler {
	o := &qstash.Options{Token: s.o.token, Keys: w.keys, Logger: s.o.log}
	if !s.o.bubble {
		o.CancelWait = -1
	}
	return qstash.NewHandler(w.broker, o)
}

// close ends a world.
func (w *world) close() error {
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	w.watch.close()
	err := w.broker.Close(cut)
	return errors.Join(err, os.RemoveAll(w.dir))
}

// Close ends the server: attempts that run are cut short, and nothing is left
// behind, no file and no goroutine. [New] has it called at the end of the test;
// calling it again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	closed, w := s.closed, s.world
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	var errs [2]error
	if s.web != nil {
		errs[0] = s.web.Close()
	}
	errs[1] = w.close()
	s.forward.CloseIdleConnections()
	s.served.Wait()
	return errors.Join(errs[:]...)
}

// Reset makes the server as it was at first: no messages, queues, topics,
// schedules or endpoints, nothing recorded, no faults to come, the clock at its
// start. Attempts that run are cut short. Its address stays.
func (s *Server) Reset() {
	s.moving.Lock()
	defer s.moving.Unlock()
	fresh, err := s.open()
	if err != nil {
		s.problem("reset: %v", err)
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = fresh.close()
		return
	}
	old := s.world
	s.world, s.routes, s.faults, s.problems, s.told = fresh, routes{}, nil, nil, map[string]bool{}
	s.mu.Unlock()
	if err := old.close(); err != nil {
		s.problem("reset: %v", err)
	}
}

func (s *Server) now() *world {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world
}

// Broker returns the broker behind the API, for what a test does in Go. After
// [Server.Reset] it is another one.
func (s *Server) Broker() *recall.Broker { return s.now().broker }

// Clock returns the clock that the server goes by, for programs under test that
// are to live in the same time. After [Server.Reset] it is another one.
func (s *Server) Clock() recall.Clock { return s.now().clock }

// Now returns the time of the server.
func (s *Server) Now() time.Time { return s.now().clock.Now() }

// Env returns the settings that QStash's SDKs take from the environment, as
// os/exec wants them: address, token and signing keys.
func (s *Server) Env() []string {
	return []string{
		"QSTASH_URL=" + s.URL,
		"QSTASH_TOKEN=" + s.Token,
		"QSTASH_CURRENT_SIGNING_KEY=" + s.o.currentKey,
		"QSTASH_NEXT_SIGNING_KEY=" + s.o.nextKey,
	}
}

// Problems returns what has gone wrong so far and would have failed a test.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.problems...)
}

// problem fails the test.
func (s *Server) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !s.keepProblem(text) {
		return
	}
	s.o.log.Error("recalltest: " + text)
	if s.report != nil {
		s.report("recalltest: %s", text)
	}
}

// keepProblem reports false when the test may have ended.
func (s *Server) keepProblem(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.problems = append(s.problems, text)
	return true
}

// problemOnce is problem that does not repeat itself.
func (s *Server) problemOnce(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	told := s.told[text]
	s.told[text] = true
	s.mu.Unlock()
	if !told {
		s.problem("%s", text)
	}
}
