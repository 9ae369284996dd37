package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/recallmq/recall"
)

// Prefix is where the calls are.
const Prefix = "/recall/v1/admin/"

// DefaultMaxRequest has room for a message of the largest size, in base64.
const DefaultMaxRequest = 32 << 20

// Options configure a handler. The zero value of a field means its default; nil
// options are all defaults.
type Options struct {
	// Access says what a request may do: see [Tokens] and [Trusted]. Default: every
	// request is refused. It is called by many goroutines at once.
	Access func(*http.Request) Access
	// MaxRequest is the largest body of a request, in bytes. Default
	// [DefaultMaxRequest].
	MaxRequest int64
	// AllowLocal lets requests publish to handlers of this process, "local:…".
	AllowLocal bool
	// CallerIP returns what messages keep as the address of their publisher,
	// whatever the request says; "" is none. Default: what the request says.
	CallerIP func(*http.Request) string
	// Logger receives what people should know, with the context of the request.
	// Default slog.Default.
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Access == nil {
		c.Access = func(*http.Request) Access { return None }
	}
	if c.MaxRequest == 0 {
		c.MaxRequest = DefaultMaxRequest
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// NewHandler returns a handler that serves the calls on b, under [Prefix]. It is safe
// for concurrent use, and does not close b.
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
		h.fail(w, r, err, nil)
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	access := h.o.Access(r)
	if access == None {
		return ErrUnauthorized
	}
	name, ok := strings.CutPrefix(r.URL.Path, Prefix)
	call, known := calls[name]
	switch {
	case !ok || !known:
		return errNoCall
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return errMethod
	case access != Full && !call.reads:
		return ErrForbidden
	}
	if h.o.CallerIP != nil {
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, h.o.CallerIP(r)))
	}
	r.Body = http.MaxBytesReader(w, r.Body, h.o.MaxRequest)
	return call.serve(h, w, r)
}

// callerKey is that of what Options.CallerIP has returned, in the context of a call.
type callerKey struct{}

// setCaller puts the address of the caller in the place of what the message says.
func setCaller(ctx context.Context, m *recall.Message) {
	if ip, known := ctx.Value(callerKey{}).(string); known {
		m.CallerIP = ip
	}
}

// call serves one name. An error that it returns is answered; what it has written
// already is not.
type call struct {
	reads bool // it changes nothing, and tells no secret
	serve func(h *handler, w http.ResponseWriter, r *http.Request) error
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
	h.o.Logger.ErrorContext(r.Context(), "admin: a request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	answer(w, http.StatusInternalServerError, &wireError{Error: "internal error", Code: "internal"})
}

// RequestFor returns an Options.MaxRequest with room for a message whose body has
// maxBody bytes: base64 takes a third more.
func RequestFor(maxBody int) int64 { return int64(maxBody)/3*4 + requestRoom }

// requestRoom is for what stands beside a body, and for a filter with many ids.
const requestRoom = 8 << 20
