package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"sync"
)

// shop takes orders and reminds customers who have not paid: after a day, after
// three, and after a week. When the money comes the reminders are taken back.
// Every morning it mails a report.
type shop struct {
	queue *queue
	self  string // where the queue delivers to
	mail  func(ctx context.Context, text string) error
	mux   *http.ServeMux

	mu   sync.Mutex
	open map[string]bool // orders that are not paid
	sent map[string]bool // messages whose mail went out: a delivery may come twice
}

func newShop(q *queue, self string, mail func(context.Context, string) error) *shop {
	s := &shop{queue: q, self: self, mail: mail, mux: http.NewServeMux(), open: map[string]bool{}, sent: map[string]bool{}}
	s.handle("POST /orders/{id}", s.order)
	s.handle("POST /orders/{id}/paid", s.paid)
	s.handle("POST /hooks/remind/{id}", s.remind)
	s.handle("POST /hooks/report", s.report)
	return s
}

// start has the report sent every morning. It may be called at each start.
func (s *shop) start(ctx context.Context) error {
	return s.queue.schedule(ctx, "report", "0 8 * * *", s.self+"/hooks/report")
}

// ServeHTTP implements http.Handler.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// handle turns errors into 503, after which QStash tries again.
func (s *shop) handle(pattern string, serve func(*http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := serve(r); err != nil {
			log.Print(err)
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
}

func (s *shop) order(r *http.Request) error {
	id := r.PathValue("id")
	s.mu.Lock()
	s.open[id] = true
	s.mu.Unlock()
	for _, delay := range []string{"1d", "3d", "7d"} {
		err := s.queue.publish(r.Context(), s.self+"/hooks/remind/"+id, delay,
			"Upstash-Delay", delay, "Upstash-Label", "order-"+id, "Upstash-Retries", "3",
			"Upstash-Deduplication-Id", id+"-"+delay) // a caller may try again
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *shop) paid(r *http.Request) error {
	id := r.PathValue("id")
	if err := s.queue.cancel(r.Context(), "order-"+id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, id)
	return nil
}

func (s *shop) remind(r *http.Request) error {
	return s.once(r, "order "+r.PathValue("id")+" is not paid yet")
}

func (s *shop) report(r *http.Request) error {
	s.mu.Lock()
	open := len(s.open)
	s.mu.Unlock()
	return s.once(r, fmt.Sprintf("orders that are not paid: %d", open))
}

// once mails a text, unless that was done for the same message before.
func (s *shop) once(r *http.Request, text string) error {
	id := r.Header.Get("Upstash-Message-Id")
	s.mu.Lock()
	done := s.sent[id]
	s.mu.Unlock()
	if done {
		return nil
	}
	if err := s.mail(r.Context(), text); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[id] = true
	return nil
}
