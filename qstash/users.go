package qstash

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/bearer"
)

// User is one of several who share an address. Each has a queue of their own,
// with its own tokens and signing keys.
type User struct {
	// Name is for errors of NewUsers. It is not checked and need not be unique.
	Name string
	// Broker is the user's alone.
	Broker *recall.Broker
	// Options are those of NewHandler. Keys, if set, are the user's alone.
	Options *Options
}

// NewUsers returns a handler that serves each request on the broker of the user
// whose token it bears. Nothing that one user does can be seen or undone by
// another: they have no message, key, or deduplication id in common. A request
// without a token of any of them is refused with 401, and so is one with tokens
// of two, one in the header and one in the query. What holds for [NewHandler]
// holds here.
//
// It is an error if there are no users, if one has no broker or no token, and if
// two have the same token, broker or keys: errors.Join of all such faults, none of
// which names a token.
func NewUsers(list ...User) (http.Handler, error) {
	if err := checkUsers(list); err != nil {
		return nil, err
	}
	u := &users{}
	for _, user := range list {
		u.handlers = append(u.handlers, newHandler(user.Broker, user.Options.withDefaults()))
	}
	u.nobody = u.newNobody()
	return u, nil
}

type users struct {
	handlers []*handler
	nobody   *handler // answers those who bear no token
}

// newNobody knows no token. It answers a browser, which asks without one, if one
// of the users would.
func (u *users) newNobody() *handler {
	o := Options{Logger: u.handlers[0].o.Logger}
	for _, h := range u.handlers {
		o.AllowedOrigins = append(o.AllowedOrigins, h.o.AllowedOrigins...)
	}
	return &handler{o: o}
}

// ServeHTTP implements http.Handler.
func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.of(r).ServeHTTP(w, r)
}

// of returns the handler of the user whose token a request bears. It asks all of
// them, so that the time it takes says nothing about the token.
func (u *users) of(r *http.Request) *handler {
	header, query := bearer.From(r), queryToken(r.URL.RawQuery)
	found, n := u.nobody, 0
	for _, h := range u.handlers {
		if max(h.tokens.Grants(header), h.tokens.Grants(query)) != bearer.None {
			found = h
			n++
		}
	}
	if n != 1 {
		return u.nobody
	}
	return found
}

// checkUsers returns every fault of every user.
func checkUsers(list []User) error {
	if len(list) == 0 {
		return errors.New("qstash: there are no users")
	}
	var errs []error
	c := userCheck{list: list, tokens: owners[[sha256.Size]byte]{}, brokers: owners[*recall.Broker]{}, keys: owners[*Keys]{}}
	for i := range list {
		for _, fault := range c.faults(i) {
			errs = append(errs, fmt.Errorf("qstash: user %q (number %d) has %s", list[i].Name, i, fault))
		}
	}
	return errors.Join(errs...)
}

// userCheck knows what the users so far have.
type userCheck struct {
	list    []User
	tokens  owners[[sha256.Size]byte]
	brokers owners[*recall.Broker]
	keys    owners[*Keys]
}

func (c *userCheck) faults(i int) (faults []string) {
	shared := func(what string, owner int) {
		if owner != i {
			faults = append(faults, fmt.Sprintf("%s of user %q (number %d)", what, c.list[owner].Name, owner))
		}
	}
	b, o := c.list[i].Broker, c.list[i].Options.withDefaults()
	if b == nil {
		faults = append(faults, "no broker")
	} else {
		shared("the broker", c.brokers.take(b, i))
		if !o.Keys.canBind(b) {
			faults = append(faults, "signing keys that belong to another broker")
		}
	}
	list := tokensOf(&o)
	if len(list) == 0 {
		faults = append(faults, "no token")
	}
	for _, t := range list {
		shared("a token", c.tokens.take(t.Hash, i))
	}
	shared("the signing keys", c.keys.take(o.Keys, i))
	return faults
}

// owners tells which user has a thing, by position.
type owners[T comparable] map[T]int

// take gives a thing to a user, unless it has an owner, and returns that.
func (o owners[T]) take(thing T, user int) (owner int) {
	if owner, taken := o[thing]; taken {
		return owner
	}
	o[thing] = user
	return user
}
