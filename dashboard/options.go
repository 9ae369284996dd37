package dashboard

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/recallmq/recall"
)

// Options configure a [Handler]. The zero value of every field means its default,
// and a nil *Options is all defaults.
type Options struct {
	// Tokens are asked for by a login page; each of them lets its bearer do
	// everything. With no Tokens and no ReadOnlyTokens there is no login. An empty
	// text is no token, and lets nobody in: what a program reads from its
	// environment may be missing there.
	Tokens []string
	// ReadOnlyTokens let their bearers look and change nothing. For a token that is
	// in both lists this one holds.
	ReadOnlyTokens []string
	// ReadOnly refuses every change, with 403, whoever asks for it.
	ReadOnly bool
	// Title is shown at the top of every page, to tell one queue from another.
	// Default "Recall".
	Title string
	// Logger receives the errors that are nobody's bad input. Default
	// slog.Default.
	Logger *slog.Logger
}

// User is one of several users of one dashboard, each with a broker of their own:
// the token of the login says whose it is.
type User struct {
	Name    string // shown beside the title
	Broker  *recall.Broker
	Options *Options // needs a token at least, see [NewUsers]
}

// Handler returns the dashboard of one broker. It starts no goroutine but for a
// bulk call that somebody has confirmed, which ends with the broker at the latest.
// Safe for concurrent use; it outlives the broker, and then says that it is closed.
func Handler(b *recall.Broker, opts *Options) http.Handler {
	h := newHandler()
	h.add(User{Broker: b, Options: opts})
	return h
}

// NewUsers returns the dashboard of several users. A user without a token, a token
// that two users have, and no users at all are a *[recall.InvalidError].
func NewUsers(users ...User) (http.Handler, error) {
	if len(users) == 0 {
		return nil, invalid("User", "there is none")
	}
	h := newHandler()
	owner := map[string]int{}
	for i, u := range users {
		if u.Broker == nil {
			return nil, invalid("Broker", "user %q has none", u.Name)
		}
		if u.Options == nil {
			u.Options = &Options{}
		}
		found := false
		for _, token := range slices.Concat(u.Options.Tokens, u.Options.ReadOnlyTokens) {
			if j, taken := owner[token]; taken && j != i {
				return nil, invalid("Tokens", "users %q and %q have the same one", users[j].Name, u.Name)
			}
			if token != "" {
				owner[token], found = i, true
			}
		}
		if !found {
			return nil, invalid("Tokens", "user %q has none", u.Name)
		}
		h.add(u)
	}
	return h, nil
}

func invalid(field, format string, args ...any) error {
	return &recall.InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// site is what one user sees.
type site struct {
	name, title string
	broker      *recall.Broker
	clock       recall.Clock
	readOnly    bool
	open        bool // there is no login
	keys        []key
	log         *slog.Logger
	watch       watch
	runs        runs
}

func newSite(u User) *site {
	o := u.Options
	if o == nil {
		o = &Options{}
	}
	s := &site{
		name: u.Name, title: cmp.Or(o.Title, "Recall"), broker: u.Broker, clock: u.Broker.Options().Clock,
		readOnly: o.ReadOnly, open: len(o.Tokens)+len(o.ReadOnlyTokens) == 0, keys: keysOf(o), log: o.Logger,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	return s
}
