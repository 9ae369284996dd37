package recall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Delivery is one attempt at a message, as a [Handler] and Options.OnRequest
// see it.
type Delivery struct {
	Message
	Attempt   int       // 1 for the first
	StartedAt time.Time // when the attempt began, by Options.Clock
}

// delivery is an attempt at m that begins now.
func (b *Broker) delivery(m *Message) *Delivery {
	return &Delivery{Message: *m, Attempt: m.Attempts, StartedAt: b.clock.Now()}
}

// Handler takes messages in process. Returning nil means delivered; an error,
// a panic or runtime.Goexit is a failed attempt, see [Permanent] and
// [RetryAfter]. Handlers are called from many goroutines at once, at most
// Options.Slots, and may call the broker with the context they are given. Their
// goroutines are used again, as those of net/http are: what a handler changes of its
// goroutine – labels of a profile, a thread that it locks – it has to undo.
//
// The context ends at the attempt's deadline, and when the patience of
// [Broker.Close] ends; an attempt that then returns an error is not counted. A
// handler that ignores its context keeps its slot, and Close waiting, until it
// returns. A handler must not wait for a Close of its own broker: with the
// handler's context Close is refused, with another it would wait for ever.
type Handler func(ctx context.Context, d *Delivery) error

// Handle registers h for messages whose URL is url, "local:" and a name, in
// place of an earlier one; nil takes the registration back. It may be called
// at any time. Messages without a handler stay pending and can be cancelled;
// they use no attempt and start when their handler is registered. An attempt
// that is running keeps the handler it began with.
//
// Errors: [ErrInvalid] for what is not the URL of a local handler,
// [ErrClosed]. Safe for concurrent use.
func (b *Broker) Handle(url string, h Handler) error {
	if err := b.begin(context.Background()); err != nil {
		return err
	}
	defer b.end()
	if !strings.HasPrefix(url, localScheme) {
		return invalid("URL", "%q: a handler needs %q and a name", clip(url), localScheme)
	}
	if err := checkURL(url); err != nil {
		return err
	}
	b.handlers.set(url, h)
	if b.dispatch != nil {
		b.dispatch.handlersChanged()
	}
	return nil
}

// handlersChanged makes the dispatcher look for messages that waited for a
// handler.
func (d *dispatcher) handlersChanged() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// handlers are the registered handlers. A change makes a new table, so readers
// take no lock and claims share one list of URLs.
type handlers struct {
	mu    sync.Mutex // held by writers
	table atomic.Pointer[handlerTable]
}

type handlerTable struct {
	byURL map[string]Handler
	urls  []string // the keys, sorted
}

func (h *handlers) load() *handlerTable {
	if t := h.table.Load(); t != nil {
		return t
	}
	return &handlerTable{}
}

func (h *handlers) set(url string, handler Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byURL := maps.Clone(h.load().byURL)
	if byURL == nil {
		byURL = make(map[string]Handler)
	}
	if handler == nil {
		delete(byURL, url)
	} else {
		byURL[url] = handler
	}
	h.table.Store(&handlerTable{byURL, slices.Sorted(maps.Keys(byURL))})
}

func (h *handlers) get(url string) Handler { return h.load().byURL[url] }

// urls is shared between callers, which only read it.
func (h *handlers) urls() []string { return h.load().urls }

// Permanent wraps err to say that more attempts would not help: the message
// goes to the dead letter queue at once. It may be wrapped in turn, and
// [errors.Is] finds err through it. Permanent(nil) is nil, so it can wrap the
// error of a call that may succeed.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// RetryAfter wraps err to say when the next attempt should be made, instead of
// the backoff; the attempt counts as any other, and after the last one the
// message is a dead letter. A negative d means now; more than [MaxDelay] means
// MaxDelay. It may be wrapped in turn, and [errors.Is] finds err through it.
// RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{clampDelay(d), err}
}

type retryAfterError struct {
	delay time.Duration
	err   error
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// ownError is the result of an attempt that failed in the caller's own code, a
// handler or a hook, which may say what should follow.
func ownError(err error) result {
	r := result{failure: FailureHandler, reason: boundReason(errorText(err))}
	if p := (*permanentError)(nil); errors.As(err, &p) {
		r.permanent = true
	}
	if a := (*retryAfterError)(nil); errors.As(err, &a) {
		r.next, r.hasNext = a.delay, true
	}
	return r
}

// errorText is err.Error() of an error that may be broken.
func errorText(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("%T, whose text panics", err)
		}
	}()
	return err.Error()
}

// deliverLocal makes an attempt in process.
func (d *dispatcher) deliverLocal(ctx context.Context, m *Message) result {
	h := d.broker.handlers.get(m.URL)
	if h == nil { // unregistered since the claim, which will not find it again
		return result{released: true, reason: "the handler is not registered any more"}
	}
	err := h(ctx, d.broker.delivery(m))
	if err == nil {
		return result{}
	}
	r := ownError(err)
	if ctx.Err() == context.DeadlineExceeded && errors.Is(err, context.DeadlineExceeded) {
		r.failure = FailureTimeout
	}
	return r
}

// panicked is the result of an attempt that panicked, in a handler, a hook or
// a transport. It must be called by the deferred function that recovered.
func (d *dispatcher) panicked(m *Message, p any) result {
	text := panicText(p)
	d.broker.log.Error("recall: an attempt panicked", "message", m.ID, "attempt", m.Attempts,
		"url", redacted(m.URL), "reason", text, "stack", string(debug.Stack()))
	return result{failure: FailureHandler, reason: boundReason("panic: " + text)}
}

// panicText is the text of a panic value that may be broken.
func panicText(p any) string {
	if err, ok := p.(error); ok {
		return errorText(err)
	}
	return fmt.Sprint(p) // recovers from panics of String methods by itself
}

// attemptMark is what the context of an attempt carries.
type attemptMark struct {
	broker *Broker
	id     MessageID
	pulled bool // by a consumer, for whom Close does not wait
}

type attemptKey struct{}

// attemptOf returns the message whose attempt ctx belongs to, or "". A
// cancellation made from inside an attempt must not wait for that attempt.
func attemptOf(ctx context.Context) MessageID {
	if mark, ok := ctx.Value(attemptKey{}).(*attemptMark); ok {
		return mark.id
	}
	return ""
}

// isAttempt tells whether ctx belongs to an attempt that b is running.
func (b *Broker) isAttempt(ctx context.Context) bool {
	mark, ok := ctx.Value(attemptKey{}).(*attemptMark)
	return ok && mark.broker == b && !mark.pulled
}
