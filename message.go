package recall

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/internal/retrydelay"
)

// Limits of a message. The size of a body is an option, [Options.MaxBody].
const (
	// MaxURL is the longest destination, in bytes.
	MaxURL = 2048
	// MaxName is the longest queue, topic, schedule or flow-control key, in bytes.
	MaxName = 256
	// MaxLabels is how many labels a message may have, and MaxLabelBytes how
	// many bytes they may be in total.
	MaxLabels, MaxLabelBytes = 16, 512
	// MaxHeaderBytes bounds the names and values of Message.Header together.
	MaxHeaderBytes = 64 << 10
	// MaxRetries bounds Message.Retries.
	MaxRetries = 1000
	// MaxDelay is ten years of 365 days: a delay up to it is always accepted,
	// and no retry is due later. The limit of what is published is ten years by
	// the calendar, which is two or three days more.
	MaxDelay = 10 * 365 * 24 * time.Hour
	// MaxTimeout is the longest an attempt may take.
	MaxTimeout = 24 * time.Hour
	// MinPriority and MaxPriority bound Message.Priority.
	MinPriority, MaxPriority = -9, 9
)

const (
	// localScheme starts the URL of a message for a handler of this process.
	localScheme = "local:"
	// pullScheme starts the URL of a message for the consumers of a queue; the
	// name of the queue follows as it is.
	pullScheme = "pull:"
)

// Message is one delivery to make: what to send, where, and when. The first
// group of fields is the publisher's; the second is set by Recall, on messages
// that it returns, and ignored by Publish.
type Message struct {
	// URL is the destination: absolute http or https, kept byte for byte, or
	// "local:" and the name of a handler registered with [Broker.Handle]. What
	// may not stand in a request, such as a space, is escaped when it is sent.
	// Empty in a message with a Queue means that it is for whoever calls
	// [Broker.Receive] for that queue; URL is then "pull:" and the Queue.
	URL string
	// Method of the request; POST if empty.
	Method string
	// Header is sent with the request. Names are canonicalised. Headers that
	// are about one connection or follow from the body (Connection,
	// Content-Length, Transfer-Encoding, …) are kept but not sent.
	Header http.Header
	// Body is sent byte for byte; at most Options.MaxBody bytes.
	Body []byte

	// Queue, Topic, ScheduleID, FlowKey and Labels are attributes by which a
	// message can be found and cancelled. All are optional.
	Queue      string
	Topic      string
	ScheduleID string
	FlowKey    string
	Labels     []string
	// CallerIP is the address of whoever asked for the message to be sent.
	CallerIP string

	// Delay is how long to wait before the first attempt, and NotBefore the
	// time to wait for; NotBefore wins if both are given. Millisecond
	// resolution; at most ten years ahead.
	Delay     time.Duration
	NotBefore time.Time
	// Retries is how many attempts may follow the first; nil means
	// Options.Retries. See the function [Retries].
	Retries *int
	// RetryDelay says how long to wait before each retry, in milliseconds, as an
	// expression over the number of retries so far: "1000 * (1 + retried)", where
	// retried is 0 after the first attempt. Empty means Options.Backoff. It knows
	// + - * / and parentheses, pow(x, y), exp, sqrt, abs, floor, ceil, round, min
	// and max, and is QStash's Upstash-Retry-Delay. A result that is negative or
	// not a number is no wait, one of more than a day is a day; an endpoint or
	// handler that names a time itself goes before it. At most 256 bytes.
	RetryDelay string
	// Timeout bounds one attempt, also the lease of a consumer; zero means
	// Options.Timeout.
	Timeout time.Duration
	// Priority orders what is due: higher ones first, between MinPriority and
	// MaxPriority. It does not change the order within a queue.
	Priority int
	// Flow is the limit of FlowKey from this message on, see [FlowLimit]; nil
	// leaves the key as it is.
	Flow *FlowLimit
	// Callback is told how each attempt ended, and FailureCallback that the
	// message is dead.
	Callback, FailureCallback *Callback
	// DeduplicationID makes every other message with the same id that is published
	// within Options.DeduplicationWindow a duplicate of this one: it is accepted,
	// but not stored, see [Receipt]. At most 256 bytes. With DeduplicateContent an
	// id is made of destination, body and headers; one that is given goes before
	// it, and the two kinds never meet. Ids count for the whole file, but for
	// messages with a Topic: theirs count for that topic and URL. What becomes of
	// the first message – delivered, cancelled, dead – changes nothing. Both fields
	// are for publishing: messages that are read do not have them.
	DeduplicationID    string
	DeduplicateContent bool
	// Redact says what of the message is not shown.
	Redact *Redaction

	// ID names the message; ids sort in the order of publication.
	ID MessageID
	// State is where the message is in its life.
	State State
	// CreatedAt is when it was published, by the wall clock of the publisher.
	CreatedAt time.Time
	// DueAt is when the next attempt is, or was, due.
	DueAt time.Time
	// Attempts is how many attempts have been started.
	Attempts int
	// Endpoint is the name of the topic's endpoint that the message is for.
	Endpoint string
	// Source is the message that a callback is about, and Blocks the queue whose
	// next message waits until the callback is gone. Root is the message of the queue
	// whose place it keeps, where that is not Source: with a callback of a callback.
	Source MessageID
	Blocks string
	Root   MessageID
}

// Retries returns n as Message.Retries wants it.
func Retries(n int) *int { return &n }

// State is where a live message is in its life. All states but StateInFlight
// are pending, and pending messages can be cancelled.
type State string

// The states of a live message.
const (
	StateDelayed  State = "delayed"  // waits for its due time
	StateReady    State = "ready"    // due, waits for a free slot, its handler or a consumer
	StateRetrying State = "retrying" // an attempt failed, the next one is not due yet
	StateHeld     State = "held"     // paused until it is released, due or not
	// StateQueueBlocked: it waits, due or not, for others of its queue, or until the
	// queue is resumed.
	StateQueueBlocked State = "queue blocked"
	// StateFlowWaiting: it is due, and waits for room in the limit of its
	// flow-control key, or until the key is resumed.
	StateFlowWaiting State = "flow waiting"
	StateInFlight    State = "in flight" // leased to an attempt; too late to cancel
)

var allStates = []State{
	StateDelayed, StateReady, StateRetrying, StateHeld, StateQueueBlocked, StateFlowWaiting, StateInFlight,
}

// phase is the state that an index entry keeps; a State is derived from it,
// the due time and the clock.
type phase uint8

const (
	phaseNone      phase = iota // no such message, or unlinked
	phasePending                // claimable when due
	phaseInFlight               // leased to an attempt
	phaseMarked                 // taken by a cancellation whose commit is under way
	phaseFinishing              // outcome decided, commit under way
	phaseGone                   // delivered, cancelled or dead-lettered, durably
)

// moves lists every step a message may take. Anything else is a bug, which
// tests turn into a failure.
var moves = [...][]phase{
	phaseNone:      {phasePending},
	phasePending:   {phaseInFlight, phaseMarked, phaseFinishing}, // finishing: a crash ended its last attempt
	phaseInFlight:  {phasePending, phaseFinishing, phaseGone},
	phaseMarked:    {phasePending, phaseGone}, // pending: the commit was refused
	phaseFinishing: {phaseGone},
	phaseGone:      {phaseNone},
}

// MessageID names a message: "msg_" and a ULID. The ULID's time is the time of
// publication in milliseconds; its entropy holds the sequence number and a
// keyed check, so ids sort in publication order and no index of them is needed.
type MessageID string

const (
	idPrefix = "msg_"
	idLength = len(idPrefix) + ulid.EncodedSize
)

// ParseMessageID returns s as an id if it has the form of one. It does not
// tell whether such a message exists. Errors match [ErrInvalid].
func ParseMessageID(s string) (MessageID, error) {
	if _, err := MessageID(s).ulid(); err != nil {
		return "", err
	}
	return MessageID(s), nil
}

func messageID(u ulid.ULID) MessageID {
	var text [idLength]byte
	copy(text[:], idPrefix)
	_ = u.MarshalTextTo(text[len(idPrefix):]) // fails only for a buffer of another size
	return MessageID(text[:])
}

func (id MessageID) ulid() (u ulid.ULID, err error) {
	if !strings.HasPrefix(string(id), idPrefix) || len(id) != idLength {
		return u, invalid("ID", "%q is not a message id", clip(string(id)))
	}
	if u, err = ulid.ParseStrict(string(id[len(idPrefix):])); err != nil {
		return u, invalid("ID", "%q is not a message id", clip(string(id)))
	}
	return u, nil
}

// validate checks what the publisher set, in the order of the fields.
func (m *Message) validate(o *Options, now time.Time) error {
	for _, check := range []error{
		checkDestination(m),
		checkMethod(m.Method),
		checkHeader(m.Header),
		checkSize("Body", len(m.Body), o.MaxBody),
		checkName("Queue", m.Queue),
		checkName("Topic", m.Topic),
		checkName("ScheduleID", m.ScheduleID),
		checkName("FlowKey", m.FlowKey),
		checkLabels(m.Labels),
		checkIP(m.CallerIP),
		checkTimes(m, now),
		checkRetries("Retries", m.Retries),
		checkRetryDelay(m.RetryDelay),
		checkPriority(m.Priority),
		checkFlow(m.FlowKey, m.Flow),
		checkCallback("Callback", m.Callback, maxCallbackDepth, now),
		checkCallback("FailureCallback", m.FailureCallback, maxCallbackDepth, now),
		checkText("DeduplicationID", m.DeduplicationID, MaxName),
		checkRedaction(m.Redact),
		checkSize("Message", moreSize(m), MaxHeaderBytes),
	} {
		if check != nil {
			return check
		}
	}
	return nil
}

// resolve returns m as engines want it: validated, defaults filled in, DueAt
// decided, and nothing left of an earlier life.
func (m Message) resolve(o *Options, now time.Time) (Message, error) {
	if err := m.validate(o, now); err != nil {
		return m, err
	}
	if m.isPulled() {
		m.URL = pullScheme + m.Queue
	}
	if m.Method == "" {
		m.Method = http.MethodPost
	}
	if m.Retries == nil {
		m.Retries = o.Retries
	}
	if m.Timeout == 0 {
		m.Timeout = o.Timeout
	}
	if m.CallerIP != "" {
		m.CallerIP = canonicalIP(m.CallerIP)
	}
	m.Header = canonicalHeader(m.Header)
	m.DueAt = now.Add(m.Delay)
	if !m.NotBefore.IsZero() {
		m.DueAt = m.NotBefore
	}
	if m.DueAt.Before(now) { // a time long gone must not come before what was due all along
		m.DueAt = now
	}
	m.ID, m.State, m.Attempts, m.CreatedAt = "", "", 0, now
	m.Endpoint, m.Source, m.Blocks, m.Root = "", "", "", ""
	m.setDeduplication()
	return m, nil
}

func checkPriority(n int) error {
	if n < MinPriority || n > MaxPriority {
		return invalid("Priority", "%d is not between %d and %d", n, MinPriority, MaxPriority)
	}
	return nil
}

// isPulled tells whether the publisher left it to the consumers of the queue to
// fetch m.
func (m *Message) isPulled() bool { return m.URL == "" && m.Queue != "" && m.Topic == "" }

// checkDestination is checkURL for a message, which may be for consumers.
func checkDestination(m *Message) error {
	switch {
	case m.isPulled():
		return nil
	case m.URL == "" && m.Topic != "":
		return invalid("URL", "it is empty; to the endpoints of a topic publishes PublishTopic")
	case !strings.HasPrefix(m.URL, pullScheme):
		return checkURL(m.URL)
	case m.Queue == "" || m.URL != pullScheme+m.Queue:
		return invalid("URL", "%q is for the consumers of another queue than %q", clip(m.URL), clip(m.Queue))
	}
	return nil
}

func checkURL(s string) error {
	if s == "" {
		return invalid("URL", "it is empty")
	}
	if err := checkText("URL", s, MaxURL); err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(s, localScheme); ok {
		return checkLocal(name)
	}
	u, err := url.Parse(s)
	if err != nil {
		return invalid("URL", "%q does not parse", clip(s))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return invalid("URL", "%q: the scheme must be http, https or local", clip(s))
	}
	if u.Hostname() == "" {
		return invalid("URL", "%q has no host", clip(s))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return invalid("URL", "%q: there is no such port", clip(s))
		}
	}
	return nil
}

func checkLocal(name string) error {
	if name == "" || strings.ContainsAny(name, " \t/?#") {
		return invalid("URL", "%q: a local handler needs a name without spaces and slashes", clip(localScheme+name))
	}
	return nil
}

func checkMethod(s string) error {
	switch s {
	case "", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions:
		return nil
	}
	return invalid("Method", "%q is not a method that Recall delivers", clip(s))
}

func checkHeader(h http.Header) error {
	size := 0
	for name, values := range h {
		if !isToken(name) {
			return invalid("Header", "%q is not a header name", clip(name))
		}
		for _, v := range values {
			if !isHeaderValue(v) {
				return invalid("Header", "the value of %s has control characters", name)
			}
			size += len(name) + len(v)
		}
	}
	return checkSize("Header", size, MaxHeaderBytes)
}

// canonicalHeader returns h, or a copy of it if a name is not in its canonical
// form. Names that become one keep all their values.
func canonicalHeader(h http.Header) http.Header {
	canonical := true
	for name := range h {
		canonical = canonical && name == http.CanonicalHeaderKey(name)
	}
	if canonical {
		return h
	}
	out := make(http.Header, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		key := http.CanonicalHeaderKey(name)
		out[key] = append(out[key], h[name]...)
	}
	return out
}

func checkSize(field string, size, limit int) error {
	if size > limit {
		return overLimit(field, "%d bytes are more than the limit of %d", size, limit)
	}
	return nil
}

func checkName(field, s string) error { return checkText(field, s, MaxName) }

// checkText refuses what could not be shown, searched for or sent in a header.
func checkText(field, s string, limit int) error {
	if err := checkSize(field, len(s), limit); err != nil {
		return err
	}
	if !utf8.ValidString(s) {
		return invalid(field, "it is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return invalid(field, "%q has control characters", clip(s))
		}
	}
	return nil
}

func checkLabels(labels []string) error {
	if len(labels) > MaxLabels {
		return overLimit("Labels", "%d labels are more than the limit of %d", len(labels), MaxLabels)
	}
	size := 0
	for _, l := range labels {
		if l == "" {
			return invalid("Labels", "a label is empty")
		}
		if err := checkText("Labels", l, MaxLabelBytes); err != nil {
			return err
		}
		size += len(l)
	}
	return checkSize("Labels", size, MaxLabelBytes)
}

func checkIP(s string) error {
	if s == "" {
		return nil
	}
	if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
		return invalid("CallerIP", "%q is not an IP address", clip(s))
	}
	return nil
}

// canonicalIP gives every spelling of one address the same text, so that a
// filter finds them all. What is no address is returned as it is.
func canonicalIP(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return s
	}
	return a.Unmap().String()
}

func checkRetryDelay(text string) error {
	if text == "" {
		return nil
	}
	if _, err := retrydelay.Parse(text); err != nil {
		return invalid("RetryDelay", "%q: %v", clip(text), err)
	}
	return nil
}

func checkTimes(m *Message, now time.Time) error {
	latest := now.AddDate(10, 0, 0)
	switch {
	case m.Delay < 0:
		return invalid("Delay", "%v is negative", m.Delay)
	case now.Add(m.Delay).After(latest):
		return overLimit("Delay", "%v is more than ten years", m.Delay)
	case m.NotBefore.After(latest):
		return overLimit("NotBefore", "%s is more than ten years ahead", m.NotBefore.UTC().Format(time.RFC3339))
	case m.Timeout < 0:
		return invalid("Timeout", "%v is negative", m.Timeout)
	case m.Timeout > MaxTimeout:
		return overLimit("Timeout", "%v is more than %v", m.Timeout, MaxTimeout)
	}
	return nil
}

func checkRetries(field string, n *int) error {
	switch {
	case n == nil:
		return nil
	case *n < 0:
		return invalid(field, "%d is negative", *n)
	case *n > MaxRetries:
		return overLimit(field, "%d is more than %d", *n, MaxRetries)
	}
	return nil
}

// isToken tells whether s is a token of RFC 9110, as header names must be.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func isHeaderValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// clip shortens s for an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:most], ""), len(s))
}

// hostOf returns the host of a destination in lower case, with its port if it
// names one, or "" for a local handler and for consumers.
func hostOf(dest string) string {
	_, rest, ok := strings.Cut(dest, "://")
	if !ok || strings.HasPrefix(dest, pullScheme) { // the name of a queue may be anything
		return ""
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	return strings.ToLower(rest)
}

// pathOf returns the path of a destination without its query, as written.
func pathOf(dest string) string {
	_, rest, ok := strings.Cut(dest, "://")
	if !ok || strings.HasPrefix(dest, pullScheme) {
		return ""
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}
