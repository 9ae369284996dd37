package qstash

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/bearer"
)

// DefaultCancelWait is how long a bulk cancellation waits for messages in
// flight, so that a cancel a moment after a publish does not fail by chance.
const DefaultCancelWait = 300 * time.Millisecond

// Options configure a handler. The zero value of a field means its default;
// nil options are all defaults.
type Options struct {
	// Token is what requests must bear, and Tokens are others that do as well.
	// Default, if there is no token at all, DevToken. An empty text among several
	// is none.
	Token  string
	Tokens []string
	// ReadOnlyTokens let their bearers read messages, lists and records, and
	// nothing else: the rest is 403, and so are the signing keys. A token that is
	// also one of the others is for reading only.
	ReadOnlyTokens []string
	// Keys sign deliveries, are what GET /v2/keys returns, and can be rotated.
	// Give their OnRequest to the broker. Default those of the dev server, with
	// which nothing is signed.
	Keys *Keys
	// AllowedOrigins are the web pages that may call this server from a browser,
	// such as "https://console.upstash.com", or "*" for all. Default none. A page
	// still needs the token; but that of a local server is public.
	AllowedOrigins []string
	// CancelWait is how long a bulk cancellation waits for messages in flight
	// in total. Default DefaultCancelWait; negative: it does not wait.
	CancelWait time.Duration
	// CancelPolicy is what a bulk cancellation does about messages in flight. The
	// default is [recall.Stop], after CancelWait. With [recall.Sticky] or
	// [recall.Abort] it goes on: the running attempts are the last, and the answer
	// counts these messages too. That is what hosted QStash does since 2026.
	CancelPolicy recall.Policy
	// StrictPaths refuses DELETE /v2/messages/ (with the slash), which some
	// clients send by mistake when they cancel a message with an empty id, and
	// which otherwise cancels everything, as QStash does. It also refuses the same
	// of the dead letter queue.
	StrictPaths bool
	// AllowLocal lets requests publish to handlers of this process, "local:…".
	AllowLocal bool
	// MaxBody is the largest message body; it should be that of the broker.
	// Default recall.DefaultMaxBody.
	MaxBody int
	// Limit, if set, is asked about each request with a right token before it is
	// served, with the context of the request and that token. What it does not
	// allow is 429, with the headers that the SDKs read. It is called by many
	// goroutines at once. Default: no limit.
	Limit func(ctx context.Context, token string) Quota
	// TrustedProxies are the addresses of proxies in front of this handler, whose
	// X-Forwarded-For is believed: see [CallerIP]. Default none.
	TrustedProxies []netip.Prefix
	// Logger receives what people should know, with the context of the request.
	// Default slog.Default.
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Token == "" && len(c.Tokens)+len(c.ReadOnlyTokens) == 0 {
		c.Token = DevToken
	}
	if c.Keys == nil {
		c.Keys = NewKeys(DevCurrentSigningKey, DevNextSigningKey)
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
//
// It panics if Options.Keys belong to another broker.
func NewHandler(b *recall.Broker, o *Options) http.Handler {
	return newHandler(b, o.withDefaults())
}

func newHandler(b *recall.Broker, o Options) *handler {
	if err := o.Keys.Bind(b); err != nil {
		panic(err)
	}
	return &handler{b: b, o: o, tokens: tokensOf(&o), actions: newActions()}
}

type handler struct {
	b       *recall.Broker
	o       Options
	tokens  bearer.Tokens
	actions *actions
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.recovered(w, r)
	if h.cors(w, r) {
		return
	}
	if err := h.serve(w, r); err != nil {
		h.fail(w, r, err)
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	call, rest, err := find(r)
	if err != nil {
		return err
	}
	if err := h.limit(w, r); err != nil {
		return err
	}
	if err := h.admit(r); err != nil {
		return err
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
