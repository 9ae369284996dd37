package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net/http"

	"github.com/recallmq/recall"
)

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = http.NewResponseController(w).SetWriteDeadline(writeDeadline()) // a call may have taken longer than a server gives an answer
	w.WriteHeader(status)
	_ = encoder(w).Encode(body) // the client is gone if this fails
}

func encoder(w interface{ Write([]byte) (int, error) }) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// one makes a call of a function that answers with one object. What it returns
// beside an error goes with the error.
func one[Q, A any](reads bool, f func(ctx context.Context, h *handler, q *Q) (A, error)) call {
	return call{reads, func(h *handler, w http.ResponseWriter, r *http.Request) error {
		q, err := read[Q](r)
		if err != nil {
			return err
		}
		a, err := f(r.Context(), h, q)
		if err != nil {
			h.fail(w, r, err, a)
			return nil
		}
		answer(w, http.StatusOK, a)
		return nil
	}}
}

// none is the answer that says no more than that it was done.
type none struct{}

// done makes a call of a function that answers nothing.
func done[Q any](f func(ctx context.Context, b *recall.Broker, q *Q) error) call {
	return one(false, func(ctx context.Context, h *handler, q *Q) (none, error) { return none{}, f(ctx, h.b, q) })
}

// line is one of a list: an item, the end, or why there is no more.
type line[T any] struct {
	Item  *T         `json:"item,omitempty"`
	End   *end       `json:"end,omitempty"`
	Error *wireError `json:"error,omitempty"`
}

// end tells what to go on behind, if the list was cut at its limit.
type end struct {
	Next string `json:"next,omitempty"`
}

// page is what requests for lists have in common.
type page struct {
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"` // 0: all of it
}

func (p page) check() error {
	if p.Limit < 0 {
		return &recall.InvalidError{Field: "limit", Reason: "it is negative"}
	}
	return nil
}

// paged is a request for a list.
type paged interface{ paging() page }

func (p page) paging() page { return p }

// many makes a call of a function that lists. key names an item, to go on behind.
func many[Q paged, T any](list func(ctx context.Context, b *recall.Broker, q *Q) iter.Seq2[T, error], key func(*T) string) call {
	return call{true, func(h *handler, w http.ResponseWriter, r *http.Request) error {
		q, err := read[Q](r)
		if err != nil {
			return err
		}
		p := (*q).paging()
		if err := p.check(); err != nil {
			return err
		}
		s := &stream[T]{h: h, w: w, r: r, limit: p.Limit, key: key}
		return s.write(list(r.Context(), h.b, q))
	}}
}

// stream writes a list, line by line.
type stream[T any] struct {
	h     *handler
	w     http.ResponseWriter
	r     *http.Request
	limit int
	key   func(*T) string

	out  *bufio.Writer // nil until there is a first line
	sent int
	last string
}

// write answers with an error only as long as nothing was sent: later it is a line.
func (s *stream[T]) write(items iter.Seq2[T, error]) error {
	for item, err := range items {
		switch {
		case err != nil && s.out == nil:
			return err
		case err != nil:
			return s.finish(line[T]{Error: s.h.describe(s.r, err, nil)})
		case s.limit > 0 && s.sent == s.limit:
			return s.finish(line[T]{End: &end{Next: s.last}})
		}
		s.sent++
		s.last = s.key(&item)
		if !s.send(line[T]{Item: &item}) {
			return nil // the client is gone
		}
	}
	return s.finish(line[T]{End: &end{}})
}

func (s *stream[T]) finish(l line[T]) error {
	if s.send(l) {
		_ = s.out.Flush() // the client is gone if this fails
	}
	return nil
}

// streamBuffer is how much is written at a time.
const streamBuffer = 32 << 10

func (s *stream[T]) send(l line[T]) bool {
	if s.out == nil {
		s.w.Header().Set("Content-Type", "application/jsonl")
		s.w.Header().Set("Cache-Control", "no-store")
		s.out = bufio.NewWriterSize(patientWriter{s.w}, streamBuffer)
	}
	return encoder(s.out).Encode(l) == nil
}

// patientWriter gives each write time of its own: a long answer is not cut off by
// the limit of a server for a whole one, and a client that reads nothing is.
type patientWriter struct{ http.ResponseWriter }

func (w patientWriter) Write(p []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(writeDeadline()) // where there is none, there is none to move
	return w.ResponseWriter.Write(p)
}
