package main

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/egress"
	"github.com/recallmq/recall/qstash"
)

// user is one who has a queue of their own: a file, and what lets them in.
type user struct {
	name             string                      // "" if there is only one
	file             string                      // with an engine, what that is called
	engine           engine                      // none: it is a file
	ping             func(context.Context) error // nil: it is a file
	tokens, readOnly []string
	keys             *qstash.Keys
	broker           *recall.Broker
	transport        *egress.Transport
}

// openUsers opens the file of every user, or none.
func (s *server) openUsers() error {
	for _, u := range s.users {
		if err := s.openUser(u); err != nil {
			return errors.Join(err, s.closeUsers())
		}
	}
	return nil
}

func (s *server) openUser(u *user) (err error) {
	u.transport, err = egress.NewTransport(&egress.Options{Slots: s.limits.slots, Policy: s.policy, Routes: s.routes})
	if err != nil {
		return usageError{err}
	}
	log := s.log
	if u.name != "" {
		log = log.With("user", u.name)
	}
	u.broker, err = u.newBroker(&recall.Options{
		OnRequest: u.keys.OnRequest, Transport: u.transport, Logger: log, Durability: s.durability,
		Slots: s.limits.slots, Timeout: s.limits.deliveryTimeout, MaxBody: s.limits.maxBody,
		DeliveredRetention: qstash.DeliveredRetention,
	})
	return err
}

// closeUsers closes what is open, all at once: their attempts have the same time
// to end.
func (s *server) closeUsers() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.shutdown)
	defer cancel()
	faults := make([]error, len(s.users))
	var wg sync.WaitGroup
	for i, u := range s.users {
		if u.broker != nil {
			wg.Go(func() {
				faults[i] = u.broker.Close(ctx)
				u.transport.CloseIdleConnections()
			})
		}
	}
	wg.Wait()
	return errors.Join(faults...)
}

// handler serves all users, each on their own broker, with what stands before
// them: health, request ids, the log of requests.
func (s *server) handler() (http.Handler, error) {
	var list []qstash.User
	limits := map[*user]*rateLimit{}
	for _, u := range s.users {
		limits[u] = newRateLimit(u.name, &s.limits)
		log := s.log
		if u.name != "" {
			log = log.With("user", u.name)
		}
		list = append(list, qstash.User{Name: u.name, Broker: u.broker, Options: &qstash.Options{
			Tokens: u.tokens, ReadOnlyTokens: u.readOnly, Keys: u.keys, MaxBody: s.limits.maxBody,
			TrustedProxies: s.proxies, AllowedOrigins: s.origins, Limit: limits[u].admit, Logger: log,
		}})
	}
	api, err := qstash.NewUsers(list...)
	if err != nil {
		return nil, err
	}
	all, err := s.withDashboard(s.withAdmin(api, limits))
	if err != nil {
		return nil, err
	}
	return withHealth(withRequestID(withAccessLog(all, s.log, s.access, s.proxies)), s), nil
}
