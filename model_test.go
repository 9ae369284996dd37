package recall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// TestModel tells random stories to a broker and to a map of what every
// message should be, and compares them after each step. Time is that of a
// bubble, so both know to the millisecond when an attempt is due.
func TestModel(t *testing.T) {
	t.Run("Reference", func(t *testing.T) {
		checkModel(t, 60, func(*rapid.T) modelEngine {
			r := enginetest.NewReference()
			return modelEngine{open: func(o *recall.Options) (*recall.Broker, error) {
				r = r.Reopen()
				return recall.New(r, o)
			}}
		})
	})
	t.Run("SyncNever", func(t *testing.T) { checkModel(t, 25, embeddedModel(t, recall.SyncNever)) })
	t.Run("SyncAlways", func(t *testing.T) { checkModel(t, 8, embeddedModel(t, recall.SyncAlways)) })
}

func embeddedModel(t *testing.T, d recall.Durability) func(*rapid.T) modelEngine {
	dir, story := t.TempDir(), 0
	return func(*rapid.T) modelEngine {
		story++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", story))
		return modelEngine{
			open: func(o *recall.Options) (*recall.Broker, error) {
				o.Durability = d
				return recall.Open(path, o)
			},
			done: func() { _ = os.Remove(path) },
		}
	}
}

// modelEngine opens a broker, and opens it again on what the last one left.
type modelEngine struct {
	open func(*recall.Options) (*recall.Broker, error)
	done func()
}

func checkModel(t *testing.T, stories int, begin func(*rapid.T) modelEngine) {
	steps := 40
	if os.Getenv("RECALL_SOAK") != "" {
		stories, steps = stories*20, 80
	}
	enginetest.Checks(t, stories, steps)
	rapid.Check(t, func(rt *rapid.T) {
		e := begin(rt)
		if e.done != nil {
			defer e.done()
		}
		rapid.SyncTest(rt, func(rt *rapid.T) {
			m := newModel(rt, e)
			defer func() { _ = m.shut() }() // of what a failure left open
			rt.Repeat(map[string]func(*rapid.T){
				"publish":           m.publish,
				"let an attempt go": m.letGo,
				"register":          m.register,
				"cancel":            m.cancel,
				"cancelMatching":    m.cancelMatching,
				"restore":           m.restore,
				"cancel the future": m.cancelFuture,
				"lift":              m.lift,
				"change":            m.change,
				"update":            m.update,
				"dead letters":      m.deadLetters,
				"delete dead":       m.deleteDead,
				"advance":           m.advance,
				"reopen":            m.reopen,
				"":                  m.compare,
			})
		})
	})
}

const (
	modelTimeout = time.Hour // of every attempt
	lateURL      = "local:late"
)

// modelBackoff differs from retry to retry, so that a wrong count shows.
func modelBackoff(retried int) time.Duration { return time.Duration(retried+1) * 17 * time.Second }

// model is what a broker should hold. The pieces of a script say what becomes
// of a message's attempts, one after the other: o delivered, f failed, p
// failed for good, h held until it is let go (then delivered).
type model struct {
	engine modelEngine
	broker *recall.Broker
	late   bool // lateURL has a handler
	number int  // of the next message

	live []*modelMessage // in the order of publication
	dead []*modelMessage // in the order of arrival
	gone []*modelMessage

	ops      []*modelOp       // cancellations in bulk
	standing []*modelStanding // oldest first

	mu    sync.Mutex // guards what the endpoints see
	ended map[string]chan string
	tried map[string]int // attempts by number of the message
}

type modelMessage struct {
	id        recall.MessageID
	name      string // a number, the start of its body
	msg       recall.Message
	script    string
	retries   int
	number    int // of publication
	due       time.Time
	after     time.Time // its next attempt begins no earlier, due or not
	attempts  int
	tries     int // deliveries of this name that endpoints should have seen
	inFlight  bool
	began     time.Time
	requested bool
	single    bool // also by a call for it alone, which nothing undoes here
	held      bool
	by        recall.OperationID // that has cancelled it
}

func newModel(t *rapid.T, e modelEngine) *model {
	m := &model{engine: e, ended: map[string]chan string{}, tried: map[string]int{}}
	m.open(t)
	// Order in queues is another test's, TestModelDelivery.
	for _, name := range []string{"q1", "q2"} {
		if err := m.broker.SetQueue(context.Background(), name, recall.MaxParallelism); err != nil {
			t.Fatalf("SetQueue: %v", err)
		}
	}
	return m
}

func (m *model) open(t *rapid.T) {
	b, err := m.engine.open(&recall.Options{
		Slots:     1000, // never the reason to wait
		Backoff:   modelBackoff,
		Timeout:   modelTimeout,
		Transport: roundTripper(m.roundTrip),
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	m.broker = b
	m.handle(t, "local:job")
	if m.late {
		m.handle(t, lateURL)
	}
}

func (m *model) handle(t *rapid.T, url string) {
	err := m.broker.Handle(url, func(ctx context.Context, d *recall.Delivery) error {
		switch m.attempt(ctx, string(d.Body)) {
		case "o":
			return nil
		case "p":
			return recall.Permanent(errors.New("refused"))
		}
		return errors.New("failed")
	})
	if err != nil {
		t.Fatalf("Handle: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// roundTrip is the endpoint of every http message.
func (m *model) roundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
	switch m.attempt(r.Context(), string(body)) {
	case "o":
	case "p":
		resp.StatusCode = 489
		resp.Header.Set("Upstash-NonRetryable-Error", "true")
	case "":
		return nil, r.Context().Err()
	default:
		resp.StatusCode = 500
	}
	return resp, nil
}

// attempt plays the next piece of a message's script, "name script".
func (m *model) attempt(ctx context.Context, body string) string {
	name, script, _ := strings.Cut(body, " ")
	m.mu.Lock()
	piece := scriptPiece(script, m.tried[name])
	m.tried[name]++
	hold := make(chan string, 1)
	if piece == "h" {
		m.ended[name] = hold
	}
	m.mu.Unlock()
	if piece != "h" {
		return piece
	}
	select {
	case end := <-hold:
		return end
	case <-ctx.Done():
		return ""
	}
}

// scriptPiece returns what the n-th attempt does; the last piece goes on.
func scriptPiece(script string, n int) string {
	return script[min(n, len(script)-1):][:1]
}

// draw makes up messages that are new.
func (m *model) draw(t *rapid.T) (added []*modelMessage, msgs []recall.Message) {
	n := rapid.IntRange(1, 3).Draw(t, "messages")
	for range n {
		x := &modelMessage{name: fmt.Sprint(len(m.live) + len(m.dead) + len(m.gone) + len(added))}
		x.script = rapid.StringOfN(rapid.RuneFrom([]rune("offph")), 1, 4, -1).Draw(t, "script")
		x.retries = rapid.IntRange(0, 3).Draw(t, "retries")
		delay := rapid.SampledFrom([]time.Duration{0, 0, time.Second, 30 * time.Second, 2 * time.Hour}).Draw(t, "delay")
		x.msg = recall.Message{
			URL:  rapid.SampledFrom([]string{"local:job", lateURL, "https://a.test/x", "http://b.test:81/y"}).Draw(t, "url"),
			Body: []byte(x.name + " " + x.script), Retries: recall.Retries(x.retries), Delay: delay,
			Queue:    rapid.SampledFrom([]string{"", "q1", "q2"}).Draw(t, "queue"),
			Labels:   rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2, rapid.ID[string]).Draw(t, "labels"),
			CallerIP: rapid.SampledFrom([]string{"", "10.0.0.1", "2001:DB8::1"}).Draw(t, "ip"),
		}
		if delay > 0 && rapid.Bool().Draw(t, "by not-before") {
			x.msg.Delay, x.msg.NotBefore = 0, time.Now().Add(delay)
		}
		x.due = time.Now().Add(delay)
		msgs, added = append(msgs, x.msg), append(added, x)
	}
	return added, msgs
}

func (m *model) publish(t *rapid.T) {
	added, msgs := m.draw(t)
	var receipts []recall.Receipt
	var err error
	if len(msgs) == 1 {
		var r recall.Receipt
		r, err = m.broker.Publish(context.Background(), msgs[0])
		receipts = []recall.Receipt{r}
	} else {
		receipts, err = m.broker.PublishBatch(context.Background(), msgs)
	}
	if err != nil {
		t.Fatalf("Publish: %v", err)
	}
	for i, r := range receipts {
		m.add(t, added[i], r)
	}
	m.settle(time.Now())
}

func (m *model) add(t *rapid.T, x *modelMessage, r recall.Receipt) {
	x.id, x.msg.ID, x.msg.CreatedAt = r.ID, r.ID, r.CreatedAt
	x.number = m.number
	m.number++
	if x.by = m.taker(x, time.Now()); r.CancelledBy != x.by {
		t.Fatalf("message %s was cancelled on arrival by %q, want %q", x.name, r.CancelledBy, x.by)
	}
	if x.by != "" {
		m.gone = append(m.gone, x)
		return
	}
	m.live = append(m.live, x)
}

// settle plays everything that happens until the given time.
func (m *model) settle(until time.Time) {
	for {
		next, at := m.next()
		if next == nil || at.After(until) {
			return
		}
		if next.inFlight { // its time is up
			m.endAttempt(next, "f", at)
			continue
		}
		piece := scriptPiece(next.script, next.tries)
		next.attempts++
		next.tries++
		next.inFlight, next.began = true, at
		if piece != "h" {
			m.endAttempt(next, piece, at)
		}
	}
}

// next returns what happens next, and when: a message is due or an attempt
// times out.
func (m *model) next() (next *modelMessage, at time.Time) {
	for _, x := range m.live {
		when := x.due
		if when.Before(x.after) {
			when = x.after
		}
		switch {
		case x.inFlight:
			when = x.began.Add(modelTimeout)
		case x.held:
			continue
		case x.msg.URL == lateURL && !m.late:
			continue
		}
		if next == nil || when.Before(at) {
			next, at = x, when
		}
	}
	return next, at
}

func (m *model) endAttempt(x *modelMessage, piece string, at time.Time) {
	x.inFlight = false
	switch {
	case piece == "o", x.requested:
		m.drop(x)
	case piece == "p" || x.attempts > x.retries:
		m.live = slices.DeleteFunc(m.live, func(o *modelMessage) bool { return o == x })
		m.dead = append(m.dead, x)
	default:
		x.due = at.Add(modelBackoff(x.attempts - 1))
		if x.by = m.taker(x, at); x.by != "" {
			m.drop(x)
		}
	}
}

func (m *model) drop(x *modelMessage) {
	m.live = slices.DeleteFunc(m.live, func(o *modelMessage) bool { return o == x })
	m.gone = append(m.gone, x)
}

// held returns the messages in flight.
func (m *model) held() (held []*modelMessage) {
	for _, x := range m.live {
		if x.inFlight {
			held = append(held, x)
		}
	}
	return held
}

// letGo ends an attempt that is held.
func (m *model) letGo(t *rapid.T) {
	held := m.held()
	if len(held) == 0 {
		t.Skip("none is held")
	}
	x := rapid.SampledFrom(held).Draw(t, "message")
	piece := rapid.SampledFrom([]string{"o", "f", "p"}).Draw(t, "end")
	m.mu.Lock()
	m.ended[x.name] <- piece
	m.mu.Unlock()
	synctest.Wait()
	m.endAttempt(x, piece, time.Now())
	m.settle(time.Now())
}

func (m *model) register(t *rapid.T) {
	if m.late {
		t.Skip("it has a handler")
	}
	m.late = true
	for _, x := range m.live {
		if x.msg.URL == lateURL {
			x.after = time.Now()
		}
	}
	m.handle(t, lateURL)
	m.settle(time.Now())
}

func (m *model) cancel(t *rapid.T) {
	all := slices.Concat(m.live, m.gone)
	if len(all) == 0 {
		t.Skip("no messages")
	}
	x := rapid.SampledFrom(all).Draw(t, "message")
	if held := m.held(); len(held) > 0 && rapid.Bool().Draw(t, "a held one") {
		x = rapid.SampledFrom(held).Draw(t, "held message")
	}
	var opts []recall.CancelOption
	sticky := rapid.Bool().Draw(t, "sticky")
	if sticky {
		opts = append(opts, recall.Sticky)
	}
	var want error
	switch {
	case !slices.Contains(m.live, x):
		want = recall.ErrNotFound
	case x.inFlight && sticky:
		x.requested, x.single = true, true
	case x.inFlight:
		want = recall.ErrNotCancellable
	default:
		m.drop(x)
	}
	if err := m.broker.Cancel(context.Background(), x.id, opts...); !errors.Is(err, want) {
		t.Fatalf("Cancel of %s: got %v, want %v", x.name, err, want)
	}
}

func (m *model) filter(t *rapid.T) recall.Filter {
	maybe := func(name string, values ...string) []string {
		if rapid.IntRange(0, 2).Draw(t, "by "+name) > 0 {
			return nil
		}
		return rapid.SliceOfN(rapid.SampledFrom(values), 0, 3).Draw(t, name)
	}
	f := recall.Filter{
		Labels:    maybe("label", "a", "b", "c", "none"),
		Queues:    maybe("queue", "q1", "q2"),
		URLs:      maybe("url", "local:job", lateURL, "https://a.test/x"),
		Hosts:     maybe("host", "A.test", "b.test", "b.test:81"),
		Paths:     maybe("path", "/x", "/y"),
		CallerIPs: maybe("ip", "10.0.0.1", "2001:db8:0::1", "10.0.0.0/8", "2001:db8::ffff/32"),
	}
	if rapid.IntRange(0, 3).Draw(t, "by state") == 0 {
		f.States = rapid.SliceOfN(rapid.SampledFrom([]recall.State{
			recall.StateDelayed, recall.StateReady, recall.StateRetrying, recall.StateHeld, recall.StateInFlight,
		}), 0, 3).Draw(t, "states")
	}
	if rapid.IntRange(0, 3).Draw(t, "by attempts") == 0 {
		f.MinAttempts = rapid.IntRange(1, 3).Draw(t, "attempts")
	}
	if all := slices.Concat(m.live, m.dead, m.gone); len(all) > 0 && rapid.IntRange(0, 3).Draw(t, "by id") == 0 {
		f.IDs = []recall.MessageID{}
		for _, x := range rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(t, "ids") {
			f.IDs = append(f.IDs, x.id)
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "by date") == 0 {
		f.To = time.Now().Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "to"))
	}
	return f
}

func (m *model) deadLetters(t *rapid.T) {
	if len(m.dead) == 0 {
		t.Skip("no dead letters")
	}
	x := rapid.SampledFrom(m.dead).Draw(t, "dead letter")
	var id recall.DeadLetterID
	for d, err := range m.broker.DeadLetters(context.Background(), recall.Filter{IDs: []recall.MessageID{x.id}}) {
		if err != nil {
			t.Fatalf("DeadLetters: %v", err)
		}
		id = d.ID
	}
	m.dead = slices.DeleteFunc(m.dead, func(o *modelMessage) bool { return o == x })
	if rapid.Bool().Draw(t, "delete") {
		n, err := m.broker.DeleteDeadLetters(context.Background(), id)
		if err != nil || n != 1 {
			t.Fatalf("DeleteDeadLetters: got %d, %v", n, err)
		}
		m.gone = append(m.gone, x)
		return
	}
	receipts, err := m.broker.RetryDeadLetters(context.Background(), id)
	if err != nil || len(receipts) != 1 {
		t.Fatalf("RetryDeadLetters: got %d receipts, %v", len(receipts), err)
	}
	again := *x
	again.attempts, again.due, again.requested, again.single = 0, time.Now(), false, false
	m.add(t, &again, receipts[0])
	m.settle(time.Now())
}

func (m *model) advance(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 17 * time.Second, time.Minute, time.Hour}).Draw(t, "by")
	time.Sleep(d)
	synctest.Wait()
	m.settle(time.Now())
}

// reopen closes the broker without patience: attempts that are held are cut
// short and not counted.
func (m *model) reopen(t *rapid.T) {
	if err := m.shut(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for _, x := range slices.Clone(m.live) {
		switch {
		case !x.inFlight:
		case x.requested:
			m.drop(x)
		default:
			x.inFlight = false
			x.attempts--
			x.after = time.Now()
		}
	}
	m.open(t)
	m.settle(time.Now())
}

func (m *model) shut() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return m.broker.Close(ctx)
}

func (m *model) compare(t *rapid.T) {
	synctest.Wait()
	now := time.Now()
	ctx := context.Background()
	var want []string
	var count recall.Count
	for _, x := range m.live {
		switch {
		case x.requested: // out of every match
			continue
		case x.inFlight:
			count.InFlight++
		default:
			count.Pending++
		}
		want = append(want, outline(x.name, x.at(now)))
	}
	var got []string
	for l, err := range m.broker.List(ctx, recall.Filter{}) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		name, _, _ := strings.Cut(string(l.Body), " ")
		got = append(got, outline(name, l))
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Fatalf("the broker has\n%s\nwant\n%s", g, w)
	}
	if c, err := m.broker.Count(ctx, recall.Filter{}); err != nil || c != count {
		t.Fatalf("Count: got %+v, %v, want %+v", c, err, count)
	}
	for _, x := range m.gone {
		if _, err := m.broker.Get(ctx, x.id); !errors.Is(err, recall.ErrNotFound) {
			t.Fatalf("Get of %s, which is gone: %v", x.name, err)
		}
		if x.by == "" {
			continue
		}
		if op, err := m.broker.WhoCancelled(ctx, x.id); err != nil || op.ID != x.by {
			t.Fatalf("who cancelled %s: got %s, %v, want %s", x.name, op.ID, err, x.by)
		}
	}
	m.compareDead(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range slices.Concat(m.live, m.dead, m.gone) {
		if x.tries != m.tried[x.name] {
			t.Fatalf("message %s was tried %d times, want %d", x.name, m.tried[x.name], x.tries)
		}
	}
}

// compareDead compares the dead letters, those of one instant in any order.
func (m *model) compareDead(t *rapid.T) {
	var got, want []string
	for d, err := range m.broker.DeadLetters(context.Background(), recall.Filter{}) {
		if err != nil {
			t.Fatalf("DeadLetters: %v", err)
		}
		got = append(got, fmt.Sprintf("%s attempts=%d", d.Message.ID, d.Attempts))
	}
	for _, x := range m.dead {
		want = append(want, fmt.Sprintf("%s attempts=%d", x.id, x.attempts))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("dead letters: got %q, want %q", got, want)
	}
}

// at returns the message as it should be at the given time.
func (x *modelMessage) at(now time.Time) recall.Message {
	m := x.msg
	m.Attempts, m.DueAt, m.State = x.attempts, x.due, recall.StateDelayed
	switch {
	case x.inFlight:
		m.State = recall.StateInFlight
	case x.held:
		m.State = recall.StateHeld
	case !x.due.After(now):
		m.State = recall.StateReady
	case x.attempts > 0:
		m.State = recall.StateRetrying
	}
	return m
}

// outline says what is known of a message. That of one whose attempt was cut
// short, or that waits for a handler, leaves the due time open.
func outline(name string, m recall.Message) string {
	due := "past"
	if m.State == recall.StateDelayed || m.State == recall.StateRetrying {
		due = m.DueAt.UTC().Format(time.StampMilli)
	}
	return fmt.Sprintf("%s: %s %s attempts=%d due=%s queue=%q labels=%q", name, m.ID, m.State, m.Attempts, due, m.Queue, m.Labels)
}
