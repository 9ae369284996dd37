package recall

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What an endpoint receives besides the message's own headers.
const (
	headerMessageID = "Recall-Message-Id"
	headerRetried   = "Recall-Retried" // attempts before this one
	userAgent       = "Recall"         // unless the message has its own
)

// An answer of statusNonRetryable with headerNonRetryable "true" means that
// more attempts would not help.
const (
	statusNonRetryable = 489
	headerNonRetryable = "Upstash-NonRetryable-Error"
)

// maxResponseHeader bounds the headers of a response, in bytes: they are kept
// with a dead letter.
const maxResponseHeader = 64 << 10

// maxDrain is how much of a response beyond what is kept is read, so that the
// connection can be used again. Closing it is cheaper than reading more.
const maxDrain = 64 << 10

// result is how an attempt ended, before it is decided what follows. The zero
// value is success.
type result struct {
	failure   FailureClass
	reason    string
	response  *HTTPResponse // of a failure, or for a callback
	truncated bool          // its body was longer
	permanent bool          // more attempts would not help
	next      time.Duration // until the next attempt, if hasNext
	hasNext   bool
	released  bool // the attempt was not made
	cut       bool // Close has ended it
	cancelled bool // the message is not to be tried again
	durable   bool // who waits for the end of it wants it durable
	status    int  // of the endpoint's answer; 0: none
	leased    bool // by a consumer
	ended     func(AttemptEnd)
}

// deliver makes one attempt.
func (d *dispatcher) deliver(ctx context.Context, m *Message) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r = d.panicked(m, p)
		}
	}()
	if strings.HasPrefix(m.URL, localScheme) {
		return d.deliverLocal(ctx, m)
	}
	return d.deliverHTTP(ctx, m)
}

// deliverHTTP makes an attempt by one HTTP request. It asks the transport
// itself and not an [http.Client]: a redirect is an answer, and not followed.
func (d *dispatcher) deliverHTTP(ctx context.Context, m *Message) result {
	req, err := newRequest(ctx, m)
	if err != nil {
		return result{failure: FailureNetwork, reason: boundReason(err.Error()), permanent: true}
	}
	if hook := d.broker.opts.OnRequest; hook != nil {
		if err := hook(req, d.broker.delivery(m)); err != nil {
			return ownError(err)
		}
	}
	resp, err := d.transport.RoundTrip(req)
	if err != nil || resp == nil {
		return noAnswer(ctx, cmp.Or(err, errNoResponse), m.timeout(d.broker.opts))
	}
	return d.answer(resp, m.Callback != nil)
}

var errNoResponse = errors.New("the transport returned neither a response nor an error")

// newRequest builds the request of an attempt.
func newRequest(ctx context.Context, m *Message) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, m.Method, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return nil, fmt.Errorf("the request cannot be built: %w", err)
	}
	req.URL.RawPath = escapeBytes(req.URL.RawPath, badInPath)
	req.URL.RawQuery = escapeBytes(req.URL.RawQuery, badInQuery)
	req.Header = requestHeader(m)
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if user := req.URL.User; user != nil && req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	return req, nil
}

// hopHeaders are about one connection, or follow from the body, and are not
// the publisher's to set. A stray one would be refused by HTTP/2 or cost a
// connection each time.
var hopHeaders = []string{
	"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func requestHeader(m *Message) http.Header {
	h := make(http.Header, len(m.Header)+3)
	for name, values := range m.Header {
		name = http.CanonicalHeaderKey(name)
		h[name] = append(h[name], values...)
	}
	for _, name := range hopHeaders {
		delete(h, name)
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{userAgent}
	}
	h[headerMessageID] = []string{string(m.ID)}
	h[headerRetried] = []string{strconv.Itoa(m.Attempts - 1)}
	return h
}

// badInQuery tells whether a byte of a query may not stand in a request line.
func badInQuery(c byte) bool { return c <= ' ' || c >= 0x7f }

// badInPath tells whether a byte of a path has to be escaped. Package url would
// do that as well, but then escapes the whole path anew, and a "%2F" in it
// becomes a slash.
func badInPath(c byte) bool {
	return badInQuery(c) || strings.IndexByte("\"<>?\\^`{|}", c) >= 0
}

// escapeBytes escapes the bad bytes, and leaves the others as they are.
func escapeBytes(s string, bad func(byte) bool) string {
	if !slices.ContainsFunc([]byte(s), bad) {
		return s
	}
	var out strings.Builder
	for i := range len(s) {
		if bad(s[i]) {
			fmt.Fprintf(&out, "%%%02X", s[i])
		} else {
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// noAnswer is the result of a request that was not answered.
func noAnswer(ctx context.Context, err error, timeout time.Duration) result {
	if ctx.Err() == context.DeadlineExceeded {
		return result{failure: FailureTimeout, reason: fmt.Sprintf("no answer within %v", timeout)}
	}
	p := (*permanentError)(nil) // of a transport that knows better than to try again
	return result{failure: FailureNetwork, reason: boundReason(errorText(err)), permanent: errors.As(err, &p)}
}

// answer reads a response and judges it. The status decides: what becomes of
// the body does not matter. It is kept of a failure, and if it is asked for.
func (d *dispatcher) answer(resp *http.Response, asked bool) (r result) {
	if resp.Body == nil { // a transport of the caller's may be careless
		resp.Body = http.NoBody
	}
	defer resp.Body.Close()
	r.status = resp.StatusCode
	delivered := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if !delivered || asked {
		r.response, r.truncated = d.keep(resp)
	}
	_, _ = io.CopyN(io.Discard, readable(resp), maxDrain)
	if delivered {
		return r
	}
	r.failure, r.reason = FailureStatus, statusReason(resp.StatusCode)
	r.permanent = resp.StatusCode == statusNonRetryable && strings.EqualFold(resp.Header.Get(headerNonRetryable), "true")
	r.next, r.hasNext = askedDelay(resp.Header, d.broker.clock.Now())
	return r
}

// keep copies what a dead letter holds of a response, and a callback tells of it.
func (d *dispatcher) keep(resp *http.Response) (kept *HTTPResponse, truncated bool) {
	kept = &HTTPResponse{Status: resp.StatusCode, Header: boundHeader(resp.Header)}
	most := d.broker.opts.MaxResponse
	kept.Body, _ = io.ReadAll(io.LimitReader(readable(resp), int64(most)+1))
	if truncated = len(kept.Body) > most; truncated {
		kept.Body = kept.Body[:most:most]
	}
	return kept, truncated
}

// readable is the body of a response. After 101 there is none but a connection,
// and no context would end a read of it.
func readable(resp *http.Response) io.Reader {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return http.NoBody
	}
	return resp.Body
}

// boundHeader returns h, or of a header that is too large the part that fits,
// in the order of the names.
func boundHeader(h http.Header) http.Header {
	if headersSize(h) <= maxResponseHeader {
		return h
	}
	kept := make(http.Header)
	size := 0
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if size += headerSize(name, h[name]); size > maxResponseHeader {
			break
		}
		kept[name] = h[name]
	}
	return kept
}

func headerSize(name string, values []string) (n int) {
	for _, v := range values {
		n += len(name) + len(v)
	}
	return n
}

func headersSize(h http.Header) (n int) {
	for name, values := range h {
		n += headerSize(name, values)
	}
	return n
}

func statusReason(status int) string {
	text := strings.TrimSpace(fmt.Sprintf("the endpoint answered %d %s", status, http.StatusText(status)))
	if status >= 300 && status <= 399 {
		text += ", and redirects are not followed"
	}
	return text
}

// NewTransport returns the transport of a broker that was given none, with room
// for an attempt in each slot, to build one of one's own from: set what should
// be different, and give it to Options.Transport. slots should be Options.Slots.
// Package egress does so to keep deliveries out of private networks.
func NewTransport(slots int) *http.Transport { return newTransport(slots) }

// newTransport keeps a connection per slot: the two per host of http.DefaultTransport make a busy
// endpoint three times slower, as most attempts connect anew. A host gets no more
// than that: an attempt that finds none idle waits for one of those that others
// are giving back, and as it has a slot itself there is one to come.
func newTransport(slots int) *http.Transport {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           slots,
		MaxIdleConnsPerHost:    slots,
		MaxConnsPerHost:        slots,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true, // a response is kept as it was sent
	}
}

// redacted returns a destination as it may be logged: scheme and host, since the rest
// may hold secrets. What stays in the process has none.
func redacted(dest string) string {
	scheme, rest, ok := strings.Cut(dest, "://")
	if !ok || strings.HasPrefix(dest, pullScheme) {
		return dest
	}
	out := scheme + "://" + hostOf(dest)
	if strings.ContainsAny(rest, "/?#") {
		out += "/…"
	}
	return out
}
