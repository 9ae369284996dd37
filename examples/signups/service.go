package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/recallmq/recall"
)

// service keeps who has signed up, welcomes them, and asks them after three days
// how it goes, unless they have left by then.
type service struct {
	b    *recall.Broker
	mail mailer
	mux  *http.ServeMux
}

// mailer sends a mail, once for each id.
type mailer func(ctx context.Context, id recall.MessageID, to, text string) error

// newService registers what the queue calls. Messages wait until it has.
func newService(b *recall.Broker, mail mailer) (*service, error) {
	s := &service{b: b, mail: mail, mux: http.NewServeMux()}
	s.mux.HandleFunc("PUT /users/{name}", s.signUp)
	s.mux.HandleFunc("DELETE /users/{name}", s.leave)
	return s, errors.Join(
		b.Handle("local:welcome", s.mailing("Welcome!")),
		b.Handle("local:survey", s.mailing("How do you like it?")),
	)
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

type user struct {
	Mail string `json:"mail"`
}

// signUp stores a user and what follows from that in one commit: there is no user
// without the mails, and no mail without the user, whenever the process dies.
func (s *service) signUp(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	u := user{}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&u); err != nil || u.Mail == "" {
		http.Error(w, `want {"mail":"…"}`, http.StatusBadRequest)
		return
	}
	err := s.b.Update(r.Context(), func(tx *recall.Tx) error {
		users, err := tx.Bucket("users")
		if err != nil {
			return err
		}
		if users.Get([]byte(name)) != nil {
			return nil // who calls again changes nothing
		}
		if err := users.Put([]byte(name), []byte(u.Mail)); err != nil {
			return err
		}
		_, err = tx.PublishBatch([]recall.Message{
			{URL: "local:welcome", Body: []byte(u.Mail), Labels: []string{"user-" + name}},
			{URL: "local:survey", Body: []byte(u.Mail), Labels: []string{"user-" + name}, Delay: 3 * 24 * time.Hour},
		})
		return err
	})
	s.answer(w, err)
}

// leave forgets a user, and takes back what still waits for them.
func (s *service) leave(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	err := s.b.Update(r.Context(), func(tx *recall.Tx) error {
		users, err := tx.Bucket("users")
		if err != nil {
			return err
		}
		if err := users.Delete([]byte(name)); err != nil {
			return err
		}
		// A mail that is on its way may go out; it is the last try.
		_, err = tx.CancelMatching(recall.Filter{Labels: []string{"user-" + name}}, recall.Sticky)
		return err
	})
	s.answer(w, err)
}

// mailing is a handler that sends a text. An error means that the queue tries
// again later. The id is the same in each attempt: a mail service takes it as
// idempotency key, so that nobody gets a mail twice.
func (s *service) mailing(text string) recall.Handler {
	return func(ctx context.Context, d *recall.Delivery) error {
		return s.mail(ctx, d.ID, string(d.Body), text)
	}
}

// answer turns errors into statuses.
func (s *service) answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, recall.ErrInvalid): // a name that is too long for a label, say
		http.Error(w, err.Error(), http.StatusBadRequest)
	default: // full, closing, failed: the caller may try again
		http.Error(w, fmt.Sprint("not now: ", err), http.StatusServiceUnavailable)
	}
}
