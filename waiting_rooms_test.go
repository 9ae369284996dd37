package recall_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestWaitingRooms: wherever a message waits, it is found and cancelled by each of
// its attributes, comes back to where it was, and loses nothing when what it waits
// for is paused, resumed or deleted around it.
func TestWaitingRooms(t *testing.T) {
	for _, r := range waitingRooms {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newRoomTest(t, r).run(t) })
		})
	}
}

const (
	roomURL = "http://target.test/in"
	busyURL = "http://busy.test/" // takes until the end of the test
)

// waitingRoom is a place in which a message waits.
type waitingRoom struct {
	name  string
	state recall.State
	enter func(*roomTest, recall.Message) recall.MessageID // publishes the message so that it waits
	leave func(*roomTest)                                  // lets it be delivered
	// shared: other messages have attributes of this one; a label tells them apart.
	shared bool
}

var waitingRooms = []waitingRoom{
	{name: "delayed", state: recall.StateDelayed, enter: (*roomTest).enterDelayed, leave: (*roomTest).later},
	{name: "ready", state: recall.StateReady, enter: func(x *roomTest, m recall.Message) recall.MessageID {
		x.publish(recall.Message{URL: busyURL})
		return x.publish(m)
	}, leave: (*roomTest).idle},
	{name: "retrying", state: recall.StateRetrying, enter: func(x *roomTest, m recall.Message) recall.MessageID {
		x.fail.Store(true)
		defer func() { x.fail.Store(false) }()
		return x.publish(m)
	}, leave: (*roomTest).later},
	{
		name: "behind the head of a queue", state: recall.StateQueueBlocked, shared: true,
		enter: func(x *roomTest, m recall.Message) recall.MessageID {
			x.publish(recall.Message{URL: busyURL, Queue: m.Queue})
			return x.publish(m)
		},
		leave: (*roomTest).idle,
	},
	{
		name: "behind a head that is delayed", state: recall.StateQueueBlocked, shared: true,
		enter: func(x *roomTest, m recall.Message) recall.MessageID {
			x.publish(recall.Message{URL: "http://other.test/", Queue: m.Queue, Delay: time.Minute})
			return x.publish(m)
		},
		leave: (*roomTest).later,
	},
	{
		name: "in a paused queue", state: recall.StateQueueBlocked,
		enter: func(x *roomTest, m recall.Message) recall.MessageID {
			x.check(x.b.SetQueue(x.ctx, m.Queue, 1))
			x.check(x.b.PauseQueue(x.ctx, m.Queue))
			return x.publish(m)
		},
		leave: func(x *roomTest) { x.check(x.b.ResumeQueue(x.ctx, "q")) },
	},
	{
		name: "for room in a parallelism", state: recall.StateFlowWaiting, shared: true,
		enter: func(x *roomTest, m recall.Message) recall.MessageID {
			x.publish(recall.Message{URL: busyURL, FlowKey: m.FlowKey, Flow: &recall.FlowLimit{Parallelism: 1}})
			return x.publish(m)
		},
		leave: (*roomTest).idle,
	},
	{
		name: "for the next period of a rate", state: recall.StateFlowWaiting,
		enter: func(x *roomTest, m recall.Message) recall.MessageID {
			rate := &recall.FlowLimit{Rate: 1, Period: time.Hour}
			x.publish(recall.Message{URL: "http://other.test/", FlowKey: m.FlowKey, Flow: rate})
			return x.publish(m)
		},
		leave: (*roomTest).later,
	},
	{
		name: "for a paused key", state: recall.StateFlowWaiting,
		enter: func(x *roomTest, m recall.Message) recall.MessageID {
			x.check(x.b.PauseFlow(x.ctx, m.FlowKey))
			return x.publish(m)
		},
		leave: func(x *roomTest) { x.check(x.b.ResumeFlow(x.ctx, "k")) },
	},
	{name: "held", state: recall.StateHeld, enter: func(x *roomTest, m recall.Message) recall.MessageID {
		id := x.enterDelayed(m)
		x.hold(recall.Filter{IDs: []recall.MessageID{id}})
		return id
	}, leave: func(x *roomTest) {
		_, err := x.b.Release(x.ctx, recall.Filter{IDs: []recall.MessageID{x.id}})
		x.check(err)
		x.later()
	}},
	{name: "for a consumer", state: recall.StateReady, enter: func(x *roomTest, m recall.Message) recall.MessageID {
		m.URL, m.Topic = "", ""
		return x.publish(m)
	}, leave: func(x *roomTest) {
		got := receiveOne(x.t, x.b, "q")
		if got.ID == x.id {
			x.hits.Add(1)
		}
		x.check(got.Ack(x.ctx))
	}},
	{name: "of a schedule", state: recall.StateDelayed, enter: (*roomTest).enterSchedule, leave: (*roomTest).later},
	{name: "fanned out by a topic", state: recall.StateDelayed, enter: (*roomTest).enterTopic, leave: (*roomTest).later},
	{name: "a callback", state: recall.StateDelayed, enter: (*roomTest).enterCallback, leave: (*roomTest).later},
}

// roomTest is one message in one room, beside others of which no filter may take any.
type roomTest struct {
	t    *testing.T
	b    *recall.Broker
	ctx  context.Context
	room waitingRoom
	id   recall.MessageID
	fail atomic.Bool   // attempts at the message fail
	hits atomic.Int64  // attempts at the message that did not
	busy chan struct{} // closed: what keeps a slot busy ends
	once sync.Once     // closes it
}

func newRoomTest(t *testing.T, r waitingRoom) *roomTest {
	t.Helper()
	x := &roomTest{t: t, ctx: t.Context(), room: r, busy: make(chan struct{})}
	x.b = openFile(t, &recall.Options{
		Slots: 1, Transport: roundTrip(x.request), Timeout: recall.MaxTimeout,
		Backoff: func(int) time.Duration { return time.Hour }, UndoWindow: 24 * time.Hour,
	}).Broker
	t.Cleanup(x.idle) // or a test that fails would wait for ever
	x.decoys(5)
	x.id = r.enter(x, recall.Message{
		URL: roomURL, Queue: "q", Topic: "t", ScheduleID: "s", FlowKey: "k", CallerIP: "192.0.2.7",
		Labels: []string{"a", "b"},
	})
	return x
}

// request is the other end. With one slot its calls do not meet.
func (x *roomTest) request(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Host == "busy.test":
		<-x.busy
	case r.URL.Host == "target.test" && x.fail.Load():
		return answer(500), nil
	case r.URL.Host == "target.test":
		x.hits.Add(1)
	}
	return answer(200), nil
}

func (x *roomTest) check(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// publish publishes at a time of its own.
func (x *roomTest) publish(m recall.Message) recall.MessageID {
	x.t.Helper()
	sleep(time.Second)
	id := publish(x.t, x.b, m)
	synctest.Wait()
	return id
}

func (x *roomTest) hold(f recall.Filter) {
	x.t.Helper()
	_, err := x.b.Hold(x.ctx, f)
	x.check(err)
}

// decoys are never due here, and in another state than the message.
func (x *roomTest) decoys(n int) {
	for i := range n {
		x.publish(recall.Message{
			URL: "http://decoy.test/out", Queue: fmt.Sprintf("dq%d", i), Topic: "dt", ScheduleID: "ds", FlowKey: "dk",
			CallerIP: "192.0.3.7", Labels: []string{"c"}, Delay: 1000 * time.Hour,
		})
	}
	if x.room.state == recall.StateDelayed {
		x.hold(recall.Filter{Labels: []string{"c"}})
	}
	x.publish(recall.Message{URL: "http://decoy.test/held", Labels: []string{"d"}, Delay: 1001 * time.Hour})
	if x.room.state != recall.StateHeld {
		x.hold(recall.Filter{Labels: []string{"d"}})
	}
}

func (x *roomTest) enterDelayed(m recall.Message) recall.MessageID {
	m.Delay = time.Hour
	return x.publish(m)
}

func (x *roomTest) enterSchedule(m recall.Message) recall.MessageID {
	m.Delay = time.Hour
	_, err := x.b.SetSchedule(x.ctx, recall.Schedule{ID: "s", Cron: "* * * * *", Message: m})
	x.check(err)
	sleep(time.Minute)
	x.check(x.b.PauseSchedule(x.ctx, "s"))
	return x.only(recall.Filter{Schedules: []string{"s"}}).ID
}

func (x *roomTest) enterTopic(m recall.Message) recall.MessageID {
	_, err := x.b.AddEndpoints(x.ctx, "t", recall.Endpoint{Name: "e", URL: roomURL})
	x.check(err)
	sleep(time.Second)
	m.URL, m.Delay = "", time.Hour
	receipts, err := x.b.PublishTopic(x.ctx, "t", m)
	x.check(err)
	return receipts[0].ID
}

func (x *roomTest) enterCallback(m recall.Message) recall.MessageID {
	m.URL, m.Callback = "http://other.test/", &recall.Callback{URL: roomURL, Delay: time.Hour}
	return x.only(recall.Filter{URLs: []string{roomURL}}, x.publish(m)).ID
}

// only returns the one message that f matches, about source if that is given.
func (x *roomTest) only(f recall.Filter, source ...recall.MessageID) (only recall.Message) {
	x.t.Helper()
	n := 0
	for m, err := range x.b.List(x.ctx, f) {
		x.check(err)
		only = m
		n++
	}
	if n != 1 || len(source) > 0 && only.Source != source[0] {
		x.t.Fatalf("%s: got %d messages, %+v", f, n, only)
	}
	return only
}

func (x *roomTest) later() { sleep(3 * time.Hour) }

func (x *roomTest) idle() { x.once.Do(func() { close(x.busy) }) }

func (x *roomTest) get() recall.Message {
	x.t.Helper()
	m, err := x.b.Get(x.ctx, x.id)
	x.check(err)
	return m
}

// run goes through the filters, each of which finds what the one before has put back.
func (x *roomTest) run(t *testing.T) {
	before := x.get()
	if before.State != x.room.state {
		t.Fatalf("it is %s, want %s", before.State, x.room.state)
	}
	for name, f := range roomFilters(before) {
		if x.room.shared {
			f.Labels = []string{"a"}
		}
		x.cancelAndRestore(name, f, before)
		if t.Failed() {
			return
		}
	}
	x.deleteAround(before)
	if x.hits.Load() != 0 {
		t.Errorf("it was delivered before its time, %d times", x.hits.Load())
	}
	x.room.leave(x)
	synctest.Wait()
	if _, err := x.b.Get(x.ctx, x.id); x.hits.Load() != 1 || !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("it was delivered %d times at the end, and Get: %v", x.hits.Load(), err)
	}
}

// roomFilters returns a filter for each attribute that m has.
func roomFilters(m recall.Message) map[string]recall.Filter {
	all := map[string]recall.Filter{
		"IDs":       {IDs: []recall.MessageID{m.ID}},
		"URLs":      {URLs: []string{m.URL}},
		"Labels":    {Labels: []string{"x", "b"}},
		"From":      {From: m.CreatedAt, To: m.CreatedAt},
		"Due":       {DueAfter: m.DueAt, DueBefore: m.DueAt},
		"States":    {States: []recall.State{m.State}},
		"all":       {Labels: m.Labels, States: []recall.State{m.State}, From: m.CreatedAt, DueBefore: m.DueAt},
		"DueBefore": {DueBefore: m.DueAt, Labels: []string{"a", "c", "d"}},
	}
	add := func(has bool, name string, f recall.Filter) {
		if has {
			all[name] = f
		}
	}
	add(m.URL == roomURL, "Hosts", recall.Filter{Hosts: []string{"Target.Test"}})
	add(m.URL == roomURL, "Paths", recall.Filter{Paths: []string{"/in"}})
	add(m.Queue != "", "Queues", recall.Filter{Queues: []string{m.Queue}})
	add(m.Topic != "", "Topics", recall.Filter{Topics: []string{m.Topic}})
	add(m.ScheduleID != "", "Schedules", recall.Filter{Schedules: []string{m.ScheduleID}})
	add(m.FlowKey != "", "FlowKeys", recall.Filter{FlowKeys: []string{m.FlowKey}})
	add(m.CallerIP != "", "CallerIPs", recall.Filter{CallerIPs: []string{m.CallerIP}})
	add(m.CallerIP != "", "a range of CallerIPs", recall.Filter{CallerIPs: []string{"192.0.2.0/24"}})
	add(m.Attempts > 0, "MinAttempts", recall.Filter{MinAttempts: m.Attempts})
	return all
}

// cancelAndRestore takes the one message and brings it back, while what it waits for
// is paused and resumed.
func (x *roomTest) cancelAndRestore(name string, f recall.Filter, before recall.Message) {
	x.t.Helper()
	n, err := x.b.Count(x.ctx, f)
	x.check(err)
	plan, err := x.b.Explain(x.ctx, f)
	x.check(err)
	res, err := x.b.CancelMatching(x.ctx, f)
	if err != nil || n != (recall.Count{Pending: 1}) || res.Cancelled != 1 || res.Index != plan.Index || plan.Scan < 1 {
		x.t.Errorf("%s: counted %+v, plan %+v, cancelled %+v, %v", name, n, plan, res, err)
		return
	}
	if _, err := x.b.Get(x.ctx, x.id); !errors.Is(err, recall.ErrNotFound) {
		x.t.Errorf("%s: another message was cancelled; Get: %v", name, err)
	}
	if n, err := x.b.Count(x.ctx, f); err != nil || n != (recall.Count{}) {
		x.t.Errorf("%s: afterwards %+v, %v", name, n, err)
	}
	resume := x.pause(before)
	back, err := x.b.Restore(x.ctx, res.Operation)
	if err != nil || back.Restored != 1 {
		x.t.Errorf("%s: Restore: got %+v, %v", name, back, err)
	}
	resume()
	x.wantBack(name, before)
}

func (x *roomTest) wantBack(when string, want recall.Message) {
	x.t.Helper()
	synctest.Wait()
	got, err := x.b.Get(x.ctx, x.id)
	if err != nil || !reflect.DeepEqual(got, want) {
		x.t.Errorf("%s: it is back as %+v, %v; it was %+v", when, got, err, want)
	}
}

// pause stops what the message waits for unless the room has done so, and returns how
// that goes on.
func (x *roomTest) pause(m recall.Message) (resume func()) {
	x.t.Helper()
	resume = func() {}
	if q, err := x.b.Queue(x.ctx, m.Queue); err == nil && !q.Paused {
		x.check(x.b.PauseQueue(x.ctx, m.Queue))
		resume = func() { x.check(x.b.ResumeQueue(x.ctx, m.Queue)) }
	}
	if k, err := x.b.FlowKey(x.ctx, m.FlowKey); m.FlowKey == "" || err == nil && k.Paused {
		return resume
	}
	x.check(x.b.PauseFlow(x.ctx, m.FlowKey))
	queue := resume
	return func() {
		x.check(x.b.ResumeFlow(x.ctx, m.FlowKey))
		queue()
	}
}

// deleteAround deletes what the message came from: it stays.
func (x *roomTest) deleteAround(before recall.Message) {
	x.t.Helper()
	if before.Queue != "" {
		checkError(x.t, "DeleteQueue", x.b.DeleteQueue(x.ctx, before.Queue), recall.ErrQueueNotEmpty)
	}
	if err := x.b.DeleteTopic(x.ctx, "t"); err != nil {
		checkError(x.t, "DeleteTopic", err, recall.ErrNoTopic)
	}
	if err := x.b.ResumeSchedule(x.ctx, "s"); err != nil {
		checkError(x.t, "ResumeSchedule", err, recall.ErrNoSchedule)
	}
	if err := x.b.DeleteSchedule(x.ctx, "s"); err != nil {
		checkError(x.t, "DeleteSchedule", err, recall.ErrNoSchedule)
	}
	x.wantBack("after deleting", before)
	if x.room.shared || before.Queue == "" || x.room.state == recall.StateQueueBlocked {
		return // its queue stays, or is the room
	}
	res, err := x.b.CancelQueue(x.ctx, before.Queue)
	if err != nil || res.Cancelled != 1 {
		x.t.Fatalf("CancelQueue: got %+v, %v", res, err)
	}
	_, err = x.b.Queue(x.ctx, before.Queue)
	checkError(x.t, "Queue, deleted", err, recall.ErrNotFound)
	_, err = x.b.Restore(x.ctx, res.Operation)
	x.check(err)
	x.wantBack("after deleting its queue", before)
}
