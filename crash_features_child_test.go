package recall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// This is the process that TestCrashFeatures kills. It appends a line to the
// journal for each of these, and a byte to its standard output for each line:
//
//	boot                     the file is open
//	pub ID KIND              a publish was acknowledged
//	start ID …               a handler was called, or a consumer got a message, see featureStart
//	end ID how               the handler is about to return; ok, fails or dead
//	acking ID, acked ID      a consumer acknowledges, has acknowledged
//	dedup ID K               the publish with deduplication id K was acknowledged
//	batch LABEL              a PublishBatch of crashBatch delayed messages was acknowledged
//	cancelling, cancelled, restoring, restored LABEL
//	                         a call for the whole batch begins, was acknowledged
//	taking ID, taken ID      a Cancel of one message begins, was acknowledged
//	swallowed ID             a standing cancellation took it on arrival
//	fault …                  something that must not happen
const (
	featureFile    = "RECALL_FEATURE_FILE"
	featureJournal = "RECALL_FEATURE_JOURNAL"
	featureBegan   = "RECALL_FEATURE_BEGAN" // when the clocks of all processes began, in nanoseconds
	featureRound   = "RECALL_FEATURE_ROUND"
	featureDrain   = "RECALL_FEATURE_DRAIN" // publish nothing, and end when all is done

	featureRate   = 24 // of a period that does not end
	featureBehind = 8  // messages of a kind that a process publishes ahead
)

// featureQueues are the queues, with their parallelism.
var featureQueues = map[string]int{"one": 1, "called": 1, "two": 2, "pull": 4}

// fastClock runs ahead of the wall clock, a minute in a tenth of a second.
type fastClock struct{ began time.Time }

const fast = 600

func (c fastClock) Now() time.Time { return c.began.Add(fast * time.Since(c.began)) }

func (c fastClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d/fast, f).Stop
}

func featureOptions(began time.Time) *recall.Options {
	return &recall.Options{
		Clock: fastClock{began}, Logger: quietLogger, Backoff: atOnce, Timeout: 24 * time.Hour, UndoWindow: 24 * time.Hour,
		DeduplicationWindow: recall.MaxDeduplicationWindow, EventRetention: 365 * 24 * time.Hour, MaxEvents: 1 << 30,
	}
}

func TestCrashFeaturesChild(t *testing.T) {
	file := os.Getenv(featureFile)
	if file == "" {
		t.Skip("a part of TestCrashFeatures")
	}
	began, _ := strconv.ParseInt(os.Getenv(featureBegan), 10, 64)
	journal, err := os.OpenFile(os.Getenv(featureJournal), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c := &featureChild{
		clock: fastClock{time.Unix(0, began)}, round: os.Getenv(featureRound), journal: journal,
		room: map[string]chan struct{}{},
	}
	if c.b, err = recall.Open(file, featureOptions(time.Unix(0, began))); err != nil {
		t.Fatal(err)
	}
	c.note("boot")
	c.setUp()
	c.handlers(t)
	go c.consume()
	if os.Getenv(featureDrain) != "" {
		c.drain()
		closeNow(t, c.b, context.Background())
		return
	}
	for _, work := range c.publishers() {
		go work()
	}
	for _, work := range []func(){c.dedups, c.batches, c.takes, c.futures} {
		go work()
	}
	select {} // until it is killed
}

type featureChild struct {
	b       *recall.Broker
	clock   fastClock
	round   string
	journal *os.File
	room    map[string]chan struct{} // what may still be published, by kind
	running atomic.Int64             // attempts of the key with a parallelism
	names   atomic.Int64
	mu      sync.Mutex // keeps the two outputs in step
}

func (c *featureChild) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := fmt.Fprintf(c.journal, format+"\n", args...)
	if err == nil {
		_, err = os.Stdout.WriteString(".")
	}
	if err != nil {
		panic(err)
	}
}

func (c *featureChild) must(err error) bool {
	if err != nil {
		c.note("fault %v", err)
	}
	return err == nil
}

// name returns a name that was not used before, in no process.
func (c *featureChild) name(kind string) string {
	return fmt.Sprintf("%s.%s.%d", kind, c.round, c.names.Add(1))
}

// setUp is what a program does at each start.
func (c *featureChild) setUp() {
	ctx := context.Background()
	for q, parallelism := range featureQueues {
		c.must(c.b.SetQueue(ctx, q, parallelism))
	}
	_, err := c.b.AddEndpoints(ctx, "topic",
		recall.Endpoint{Name: "a", URL: "local:a"}, recall.Endpoint{Name: "b", URL: "local:b"})
	c.must(err)
	for _, s := range []recall.Schedule{
		{ID: "all", Cron: "* * * * *", CatchUp: recall.CatchUpAll, Message: recall.Message{URL: "local:plain"}},
		{ID: "fan", Cron: "* * * * *", Message: recall.Message{Topic: "topic"}},
	} {
		_, err := c.b.SetSchedule(ctx, s)
		c.must(err)
	}
	for _, kind := range []string{"one", "called", "two", "pull", "topic", "plain", "hopeless", "rate", "parallel"} {
		c.room[kind] = make(chan struct{}, featureBehind)
		for range featureBehind {
			c.room[kind] <- struct{}{}
		}
	}
}

// more lets another message of a kind be published.
func (c *featureChild) more(kind string) {
	select {
	case c.room[kind] <- struct{}{}:
	default:
	}
}

// kindOf is the kind that a message was published as.
func kindOf(m *recall.Message) string {
	switch {
	case m.Source != "" || m.ScheduleID != "":
		return ""
	case m.Queue != "":
		return m.Queue
	case m.Topic != "":
		return m.Topic
	}
	return strings.TrimPrefix(m.URL, "local:")
}

// started notes an attempt, and makes room for what comes behind the message.
func (c *featureChild) started(d *recall.Delivery) {
	c.note("start %s %d %s %q %q %q %q %d %q", d.ID, d.Attempt, d.URL, d.Queue, d.FlowKey, d.ScheduleID, d.Endpoint,
		d.DueAt.UnixMilli(), d.Source)
	if d.Attempt == 1 {
		c.more(kindOf(&d.Message))
	}
}

func (c *featureChild) handlers(t *testing.T) {
	for _, name := range []string{"plain", "hopeless", "a", "b", "rate", "parallel", "callback", "failed"} {
		handle(t, c.b, "local:"+name, func(_ context.Context, d *recall.Delivery) error {
			c.started(d)
			switch how := c.attempt(name, d); how {
			case "ok":
				c.note("end %s ok", d.ID)
				return nil
			case "dead":
				c.note("end %s dead", d.ID)
				return recall.Permanent(errCrashAttempt)
			}
			c.note("end %s fails", d.ID)
			return errCrashAttempt
		})
	}
}

// attempt makes an attempt, and says how it ends.
func (c *featureChild) attempt(name string, d *recall.Delivery) string {
	if d.Redact != nil && d.Source == "" && string(d.Body) != "secret" {
		c.note("fault %s: a handler got %q", d.ID, d.Body)
	}
	switch {
	case name == "hopeless":
		return "dead"
	case name == "parallel":
		defer c.running.Add(-1)
		if n := c.running.Add(1); n > 2 {
			c.note("fault %s: %d attempts of a key run", d.ID, n)
		}
		time.Sleep(rand.N(2 * time.Millisecond)) // real time of a real process
	case name == "plain" && d.ScheduleID == "" && d.Attempt == 1 && d.ID[len(d.ID)-1]%3 == 0:
		return "fails"
	}
	return "ok"
}

// publishers publish one kind each, as fast as it is delivered.
func (c *featureChild) publishers() (works []func()) {
	told := &recall.Callback{URL: "local:callback"}
	failed := &recall.Callback{URL: "local:failed"}
	rate := &recall.FlowLimit{Rate: featureRate, Period: recall.MaxFlowPeriod}
	for kind, m := range map[string]recall.Message{
		"one":      {Queue: "one", URL: "local:plain"},
		"called":   {Queue: "called", URL: "local:plain", Callback: told, FailureCallback: failed},
		"two":      {Queue: "two", URL: "local:plain"},
		"pull":     {Queue: "pull"},
		"topic":    {Topic: "topic"},
		"plain":    {URL: "local:plain", Callback: told, Body: []byte("secret"), Redact: &recall.Redaction{Body: true}},
		"hopeless": {URL: "local:hopeless", Callback: told, FailureCallback: failed},
		"rate":     {URL: "local:rate", FlowKey: "rate", Flow: rate},
		"parallel": {URL: "local:parallel", FlowKey: "parallel", Flow: &recall.FlowLimit{Parallelism: 2}},
	} {
		works = append(works, func() { c.publisher(kind, m) })
	}
	return works
}

func (c *featureChild) publisher(kind string, m recall.Message) {
	ctx := context.Background()
	for range c.room[kind] {
		m.Priority = rand.IntN(19) - 9
		if kind != "topic" {
			r, err := c.b.Publish(ctx, m)
			if c.must(err) {
				c.note("pub %s %s", r.ID, kind)
			}
			continue
		}
		m.Labels = []string{c.name("topic")}
		receipts, err := c.b.PublishTopic(ctx, "topic", m)
		c.must(err)
		for _, r := range receipts {
			c.note("pub %s %s", r.ID, kind)
		}
	}
}

// consume fetches what is for consumers; most of it is acknowledged.
func (c *featureChild) consume() {
	ctx := context.Background()
	for {
		got, err := c.b.Receive(ctx, "pull", 3)
		if err != nil {
			return // it was closed
		}
		for _, r := range got {
			c.started(&r.Delivery)
			switch rand.IntN(8) {
			case 0:
				c.must(r.Nack(ctx, 0))
			case 1:
				c.must(r.DeadLetter(ctx, "broken"))
			default:
				c.note("acking %s", r.ID)
				if c.must(r.Ack(ctx)) {
					c.note("acked %s", r.ID)
				}
			}
		}
	}
}

// dedups publishes each id twice, and some of the process before again.
func (c *featureChild) dedups() {
	round, _ := strconv.Atoi(c.round)
	for k := round * 5; ; k++ {
		for range 2 {
			r, err := c.b.Publish(context.Background(), recall.Message{
				URL: "local:plain", DeduplicationID: strconv.Itoa(k), Labels: []string{fmt.Sprintf("dedup.%d", k)},
			})
			if c.must(err) {
				c.note("dedup %s %d", r.ID, k)
			}
		}
	}
}

// batches cancels batches that wait, and by turns takes that back.
func (c *featureChild) batches() {
	ctx := context.Background()
	for i := 0; ; i++ {
		label := c.name("batch")
		msgs := make([]recall.Message, crashBatch)
		for j := range msgs {
			msgs[j] = recall.Message{URL: "local:plain", Labels: []string{label}, Delay: recall.MaxDelay}
		}
		_, err := c.b.PublishBatch(ctx, msgs)
		c.must(err)
		c.note("batch %s", label)
		c.note("cancelling %s", label)
		res, err := c.b.CancelMatching(ctx, recall.Filter{Labels: []string{label}})
		c.must(err)
		c.note("cancelled %s", label)
		if i%2 == 0 {
			c.note("restoring %s", label)
			_, err := c.b.Restore(ctx, res.Operation)
			c.must(err)
			c.note("restored %s", label)
		}
	}
}

// takes cancels single messages in a race with their delivery.
func (c *featureChild) takes() {
	for {
		r, err := c.b.Publish(context.Background(), recall.Message{URL: "local:plain", Delay: rand.N(10 * time.Second)})
		c.must(err)
		c.note("pub %s take", r.ID)
		c.note("taking %s", r.ID)
		err = c.b.Cancel(context.Background(), r.ID)
		if err == nil {
			c.note("taken %s", r.ID)
		} else if !errors.Is(err, recall.ErrNotCancellable) && !errors.Is(err, recall.ErrNotFound) {
			c.must(err)
		}
	}
}

// futures cancels what is not there yet.
func (c *featureChild) futures() {
	ctx := context.Background()
	for {
		m := recall.Message{URL: "local:plain", Labels: []string{c.name("future")}}
		op, err := c.b.CancelFuture(ctx, recall.Filter{Labels: m.Labels}, c.clock.Now().Add(1000*time.Hour))
		c.must(err)
		r, err := c.b.Publish(ctx, m)
		c.must(err)
		if r.CancelledBy != op {
			c.note("fault %s was published under the standing cancellation %s", r.ID, op)
		}
		c.note("swallowed %s", r.ID)
		c.must(c.b.LiftCancellation(ctx, op))
		r, err = c.b.Publish(ctx, m)
		c.must(err)
		c.note("pub %s lifted", r.ID)
	}
}

// drain waits until what can be delivered is, with what follows of that.
func (c *featureChild) drain() {
	ctx := context.Background()
	c.must(c.b.PauseSchedule(ctx, "all"))
	c.must(c.b.PauseSchedule(ctx, "fan"))
	c.untilQuiet()
	// It is durable only behind what was not durable yet.
	_, err := c.b.Publish(ctx, recall.Message{URL: "local:plain", Delay: recall.MaxDelay})
	c.must(err)
	c.untilQuiet()
}

func (c *featureChild) untilQuiet() {
	for {
		busy, err := c.b.Count(context.Background(), recall.Filter{States: []recall.State{
			recall.StateReady, recall.StateRetrying, recall.StateQueueBlocked, recall.StateInFlight,
		}})
		c.must(err)
		waits, err := c.b.Count(context.Background(), recall.Filter{FlowKeys: []string{"parallel"}})
		c.must(err)
		if busy == (recall.Count{}) && waits == (recall.Count{}) {
			return
		}
		time.Sleep(time.Millisecond) // real time of a real process
	}
}
