package qstash

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/recallmq/recall"
)

// What a local QStash is known by: the SDKs connect to it with no settings.
// These are public. A server that others can reach needs a token of its own.
const (
	DevToken             = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="
	DevCurrentSigningKey = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
	DevNextSigningKey    = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
)

// DefaultCancelWait is how long a bulk cancellation waits for messages in
// flight, so that a cancel a moment after a publish does not fail by chance.
const DefaultCancelWait = 300 * time.Millisecond

// Options configure a handler. The zero value of a field means its default;
// nil options are all defaults.
type Options struct {
	// Token is what requests must bear. Default DevToken.
	Token string
	// CurrentSigningKey and NextSigningKey are what GET /v2/keys returns.
	// Default those of the dev server.
	CurrentSigningKey, NextSigningKey string
	// CancelWait is how long a bulk cancellation waits for messages in flight
	// in total. Default DefaultCancelWait; negative: it does not wait.
	CancelWait time.Duration
	// StrictPaths refuses DELETE /v2/messages/ (with the slash), which some
	// clients send by mistake when they cancel a message with an empty id, and
	// which otherwise cancels everything, as QStash does.
	StrictPaths bool
	// AllowLocal lets requests publish to handlers of this process, "local:…".
	AllowLocal bool
	// MaxBody is the largest message body; it should be that of the broker.
	// Default recall.DefaultMaxBody.
	MaxBody int
	// Logger receives what people should know. Default slog.Default.
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Token == "" {
		c.Token = DevToken
	}
	if c.CurrentSigningKey == "" {
		c.CurrentSigningKey = DevCurrentSigningKey
	}
	if c.NextSigningKey == "" {
		c.NextSigningKey = DevNextSigningKey
	}
	if c.CancelWait == 0 {
		c.CancelWait = DefaultCancelWait
	}
	if c.MaxBody == 0 {
		c.MaxBody = recall.DefaultMaxBody
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// NewHandler returns a handler that serves QStash's API on b. Nothing that
// cleans paths may stand before it, such as http.ServeMux: destinations have
// "//" in them.
func NewHandler(b *recall.Broker, o *Options) http.Handler {
	return &handler{b: b, o: o.withDefaults()}
}

type handler struct {
	b *recall.Broker
	o Options
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recovered(w, r)
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	call, rest, err := find(r)
	if err != nil {
		return err
	}
	if !h.authorized(r) {
		return httpError(http.StatusUnauthorized, "missing or wrong token")
	}
	return call(h, w, r, rest)
}

// recovered turns a panic into an answer.
func (h *handler) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // net/http's own way to cut a connection
	}
	h.fail(w, r, panicked(p))
}
