package recall_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// TestModelDelivery tells random stories of queues, topics, flow control,
// priorities, duplicates, callbacks and a schedule, with restarts. It does not
// predict who is delivered when, as TestModel does: a ledger keeps books of what
// the handlers see, and every entry is held against the rules.
func TestModelDelivery(t *testing.T) {
	stories, steps := 12, 30
	if os.Getenv("RECALL_SOAK") != "" {
		stories, steps = stories*20, 80
	}
	enginetest.Checks(t, stories, steps)
	dir, story := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		story++
		path := filepath.Join(dir, strconv.Itoa(story)+".db")
		defer func() { _ = os.Remove(path) }()
		rapid.SyncTest(rt, func(rt *rapid.T) {
			d := &deliveries{path: path, books: newLedger(rapid.SampledFrom([]int{1, 1000}).Draw(rt, "slots"))}
			d.open(rt)
			defer func() { _ = d.broker.Close(done()) }() // of what a failure left open
			d.begin(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"publish":    d.publish,
				"set queue":  d.setQueue,
				"pause":      d.pauseQueue,
				"pause flow": d.pauseFlow,
				"cancel":     d.cancel,
				"restore":    d.restore,
				"schedule":   d.pauseSchedule,
				"advance":    d.advance,
				"reopen":     d.reopen,
				"":           d.check,
			})
			d.drain(rt)
		})
	})
}

const (
	flowPlaces = 2                // at a time of the key "f"
	flowRate   = 2                // in each period of the key "r"
	flowPeriod = 10 * time.Second // of the key "r"
	tickPeriod = 2 * time.Minute  // of the schedule
)

var parcelURLs = []string{"local:a", "local:b"}

// deliveries is a broker and what was done to it.
type deliveries struct {
	path   string
	broker *recall.Broker
	books  *ledger
	names  int
	undo   []undoable
}

// undoable is a cancellation that can be restored.
type undoable struct {
	id    recall.OperationID
	taken []*parcel
}

func must(t *rapid.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (d *deliveries) open(t *rapid.T) {
	b, err := recall.Open(d.path, &recall.Options{
		Slots: d.books.slots, Backoff: modelBackoff, Timeout: modelTimeout, Durability: recall.SyncNever,
		UndoWindow: 1000 * time.Hour, Logger: quietLogger,
	})
	must(t, "Open", err)
	d.broker = b
	for _, url := range parcelURLs {
		must(t, "Handle", b.Handle(url, d.books.attempt))
	}
	must(t, "Handle", b.Handle("local:told", d.books.told))
	must(t, "Handle", b.Handle("local:tick", d.books.tick))
}

// begin makes the topic and the schedule.
func (d *deliveries) begin(t *rapid.T) {
	ctx := context.Background()
	_, err := d.broker.AddEndpoints(ctx, "both", recall.Endpoint{URL: parcelURLs[0]}, recall.Endpoint{URL: parcelURLs[1]})
	must(t, "AddEndpoints", err)
	time.Sleep(time.Second)
	_, err = d.broker.SetSchedule(ctx, recall.Schedule{
		ID: "tick", Cron: "*/2 * * * *", CatchUp: recall.CatchUpAll, Message: recall.Message{URL: "local:tick"},
	})
	must(t, "SetSchedule", err)
	d.books.since = time.Now()
	for name := range d.books.queues {
		must(t, "SetQueue", d.broker.SetQueue(ctx, name, 1))
	}
}

func (d *deliveries) publish(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "messages") {
		d.publishOne(t)
	}
}

func (d *deliveries) publishOne(t *rapid.T) {
	d.names++
	m := drawParcel(t, strconv.Itoa(d.names))
	urls := []string{m.URL}
	if m.Topic != "" {
		urls = parcelURLs
	}
	var parcels []*parcel
	for _, url := range urls {
		one := m
		one.URL = url
		parcels = append(parcels, d.books.add(one))
	}
	receipts, err := d.send(m)
	must(t, "Publish", err)
	if len(receipts) != len(parcels) {
		t.Fatalf("%d receipts for %d URLs", len(receipts), len(parcels))
	}
	for i, r := range receipts {
		d.books.receipt(t, parcels[i], r)
	}
}

func (d *deliveries) send(m recall.Message) ([]recall.Receipt, error) {
	if m.Topic != "" {
		list, err := d.broker.PublishTopic(context.Background(), m.Topic, m)
		receipts := make([]recall.Receipt, len(list))
		for i := range list {
			receipts[i] = list[i].Receipt
		}
		return receipts, err
	}
	r, err := d.broker.Publish(context.Background(), m)
	return []recall.Receipt{r}, err
}

// drawParcel makes up a message. Its body is a name and a script: o delivered, f
// failed, p failed for good; in capitals it takes its time.
func drawParcel(t *rapid.T, name string) recall.Message {
	script := rapid.StringOfN(rapid.RuneFrom([]rune("oOfFp")), 1, 3, -1).Draw(t, "script")
	m := recall.Message{
		Body:            []byte(name + " " + script),
		Queue:           rapid.SampledFrom([]string{"", "q0", "q1"}).Draw(t, "queue"),
		FlowKey:         rapid.SampledFrom([]string{"", "f", "f", "r"}).Draw(t, "flow key"),
		Priority:        rapid.IntRange(-2, 2).Draw(t, "priority"),
		Retries:         recall.Retries(rapid.IntRange(0, 2).Draw(t, "retries")),
		Delay:           rapid.SampledFrom([]time.Duration{0, 0, time.Second, 3 * time.Minute}).Draw(t, "delay"),
		DeduplicationID: rapid.SampledFrom([]string{"", "", "d0", "d1"}).Draw(t, "deduplication id"),
	}
	switch m.FlowKey {
	case "f":
		m.Flow = &recall.FlowLimit{Parallelism: flowPlaces}
	case "r":
		m.Flow = &recall.FlowLimit{Rate: flowRate, Period: flowPeriod}
	}
	if rapid.Bool().Draw(t, "with callbacks") {
		told := &recall.Callback{URL: "local:told", Retries: recall.Retries(3)}
		m.Callback, m.FailureCallback = told, told
	}
	if rapid.IntRange(0, 3).Draw(t, "to the topic") == 0 {
		m.Topic = "both"
	} else {
		m.URL = rapid.SampledFrom(parcelURLs).Draw(t, "url")
	}
	return m
}

func drawQueue(t *rapid.T) string { return rapid.SampledFrom([]string{"q0", "q1"}).Draw(t, "queue") }

func (d *deliveries) setQueue(t *rapid.T) {
	name, places := drawQueue(t), rapid.IntRange(1, 3).Draw(t, "places")
	d.books.change(func() { d.books.queues[name].places = places })
	must(t, "SetQueue", d.broker.SetQueue(context.Background(), name, places))
}

// pauseQueue pauses or resumes. The books know of a pause when the call is over,
// and of its end when the call begins.
func (d *deliveries) pauseQueue(t *rapid.T) {
	name := drawQueue(t)
	q := d.books.queues[name]
	if !q.paused {
		must(t, "PauseQueue", d.broker.PauseQueue(context.Background(), name))
		d.books.change(func() { q.paused = true })
		return
	}
	d.books.change(func() { q.paused = false })
	must(t, "ResumeQueue", d.broker.ResumeQueue(context.Background(), name))
}

// pauseFlow does the same with a flow key.
func (d *deliveries) pauseFlow(t *rapid.T) {
	if !d.books.flowPaused {
		must(t, "PauseFlow", d.broker.PauseFlow(context.Background(), "f"))
		d.books.change(func() { d.books.flowPaused = true })
		return
	}
	d.books.change(func() { d.books.flowPaused = false })
	must(t, "ResumeFlow", d.broker.ResumeFlow(context.Background(), "f"))
}

func (d *deliveries) cancel(t *rapid.T) {
	var f recall.Filter
	if rapid.Bool().Draw(t, "by queue") {
		f.Queues = []string{drawQueue(t)}
	} else {
		f.URLs = []string{rapid.SampledFrom(parcelURLs).Draw(t, "url")}
	}
	taken := d.books.waiting(f)
	res, err := d.broker.CancelMatching(context.Background(), f, recall.Skip)
	if err != nil || res.Cancelled != len(taken) {
		t.Fatalf("CancelMatching of %s: got %+v, %v, want %d", f, res, err, len(taken))
	}
	d.books.change(func() {
		for _, p := range taken {
			p.cancelled = true
		}
	})
	if len(taken) > 0 {
		d.undo = append(d.undo, undoable{res.Operation, taken})
	}
}

func (d *deliveries) restore(t *rapid.T) {
	if len(d.undo) == 0 {
		t.Skip("nothing to restore")
	}
	i := rapid.IntRange(0, len(d.undo)-1).Draw(t, "operation")
	op := d.undo[i]
	d.undo = slices.Delete(d.undo, i, i+1)
	d.books.change(func() {
		for _, p := range op.taken {
			p.cancelled, p.after = false, time.Now()
		}
	})
	res, err := d.broker.Restore(context.Background(), op.id)
	if err != nil || res.Restored != len(op.taken) {
		t.Fatalf("Restore: got %+v, %v, want %d", res, err, len(op.taken))
	}
}

func (d *deliveries) pauseSchedule(t *rapid.T) {
	if d.books.since.IsZero() {
		must(t, "ResumeSchedule", d.broker.ResumeSchedule(context.Background(), "tick"))
		d.books.since = time.Now()
		return
	}
	must(t, "PauseSchedule", d.broker.PauseSchedule(context.Background(), "tick"))
	d.books.stopTicking()
}

// advance lets time pass, never to the very end of a minute, where what happens
// and what is asked for would meet.
func (d *deliveries) advance(t *rapid.T) {
	time.Sleep(rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Second, 17 * time.Second, 61 * time.Second, 11*time.Minute + 7*time.Second,
	}).Draw(t, "by"))
	if time.Now().Truncate(time.Minute).Equal(time.Now()) {
		time.Sleep(7 * time.Millisecond)
	}
}

// reopen closes the broker without patience, sometimes for a while.
func (d *deliveries) reopen(t *rapid.T) {
	if err := d.broker.Close(done()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	time.Sleep(rapid.SampledFrom([]time.Duration{0, 0, 5 * time.Minute}).Draw(t, "closed for"))
	d.books.opened()
	d.open(t)
}

func (d *deliveries) check(t *rapid.T) {
	synctest.Wait()
	count, err := d.broker.Count(context.Background(), recall.Filter{URLs: append([]string{"local:told"}, parcelURLs...)})
	must(t, "Count", err)
	d.books.check(t, count)
}

// drain ends the story: all that is left is delivered or dead in the end.
func (d *deliveries) drain(t *rapid.T) {
	if !d.books.since.IsZero() {
		d.pauseSchedule(t)
	}
	if d.books.flowPaused {
		d.pauseFlow(t)
	}
	for name, q := range d.books.queues {
		d.books.change(func() { q.paused = false })
		must(t, "ResumeQueue", d.broker.ResumeQueue(context.Background(), name))
	}
	time.Sleep(48 * time.Hour)
	d.check(t)
	var dead []string
	for l, err := range d.broker.DeadLetters(context.Background(), recall.Filter{}) {
		must(t, "DeadLetters", err)
		dead = append(dead, string(l.Message.ID))
	}
	d.books.checkEnd(t, dead)
}

var errParcel = errors.New("failed")
