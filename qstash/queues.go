package qstash

import (
	"errors"
	"net/http"

	"github.com/recallmq/recall"
)

var queueRoutes = []route{
	{"v2/queues", map[string]call{http.MethodGet: (*handler).listQueues, http.MethodPost: (*handler).upsertQueue}},
	{"v2/queues/", map[string]call{
		http.MethodGet: (*handler).getQueue, http.MethodDelete: (*handler).deleteQueue, http.MethodPost: (*handler).actOnQueue,
	}},
}

// queue is what GET returns. SDKs need all of it.
type queue struct {
	Name        string `json:"name"`
	Parallelism int    `json:"parallelism"`
	CreatedAt   int64  `json:"createdAt"`
	UpdatedAt   int64  `json:"updatedAt"`
	Lag         int    `json:"lag"` // messages that are not done: those in flight, too
	Paused      bool   `json:"paused"`
}

func queueBody(q *recall.QueueInfo) queue {
	return queue{
		Name: q.Name, Parallelism: q.Parallelism, CreatedAt: millis(q.CreatedAt), UpdatedAt: millis(q.UpdatedAt),
		Lag: q.Lag + q.InFlight, Paused: q.Paused,
	}
}

func (h *handler) listQueues(w http.ResponseWriter, r *http.Request, _ string) error {
	list, err := h.b.Queues(r.Context())
	if err != nil {
		return err
	}
	out := make([]queue, len(list))
	for i := range list {
		out[i] = queueBody(&list[i])
	}
	answer(w, http.StatusOK, out)
	return nil
}

func (h *handler) getQueue(w http.ResponseWriter, r *http.Request, rest string) error {
	name := nameIn(rest)
	q, err := h.b.Queue(r.Context(), name)
	if err != nil {
		return queueNotFound(name, err)
	}
	answer(w, http.StatusOK, queueBody(&q))
	return nil
}

func queueNotFound(name string, err error) error {
	if errors.Is(err, recall.ErrNotFound) {
		return notFound("queue %.100s not found", name)
	}
	return err
}

// upsertQueue sets what the body says of a queue, and makes the queue if there is
// none.
func (h *handler) upsertQueue(w http.ResponseWriter, r *http.Request, _ string) error {
	var body struct {
		QueueName   string `json:"queueName"`
		Parallelism *int   `json:"parallelism"`
		Paused      *bool  `json:"paused"`
	}
	if err := readObject(r, &body); err != nil {
		return err
	}
	if !isName(body.QueueName) {
		return badQueue(body.QueueName)
	}
	u := recall.QueueUpdate{Paused: body.Paused}
	if p := body.Parallelism; p != nil {
		switch u.Parallelism = *p; {
		case *p < 1:
			return badRequest("parallelism: %d is not a number of at least 1", *p)
		case *p > recall.MaxParallelism:
			return httpError(http.StatusPreconditionFailed, "parallelism: %d is more than the limit of %d", *p, recall.MaxParallelism)
		}
	}
	if err := h.b.UpdateQueue(r.Context(), body.QueueName, u); err != nil {
		return err
	}
	return done(w)
}

// deleteQueue takes the messages of a queue back and deletes it. Of a message in
// flight the running attempt is the last. A queue that does not exist is deleted
// already.
func (h *handler) deleteQueue(w http.ResponseWriter, r *http.Request, rest string) error {
	res, err := h.b.CancelQueue(r.Context(), nameIn(rest), recall.Sticky, recall.Reason("its queue was deleted"))
	if err != nil && !errors.Is(err, recall.ErrNotFound) {
		return err
	}
	answer(w, http.StatusOK, struct {
		Cancelled int                `json:"cancelled"`
		Operation recall.OperationID `json:"operation,omitempty"` // to restore the messages
	}{res.Cancelled, res.Operation})
	return nil
}

func (h *handler) actOnQueue(w http.ResponseWriter, r *http.Request, rest string) (err error) {
	name, action := cutAction(rest)
	switch action {
	case "pause":
		err = h.b.PauseQueue(r.Context(), name)
	case "resume":
		err = h.b.ResumeQueue(r.Context(), name)
	default:
		return noAction(action, "pause", "resume")
	}
	if err != nil {
		return queueNotFound(name, err)
	}
	return done(w)
}
