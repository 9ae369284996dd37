package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// process is what is one, as far as the database can tell: an engine and its broker.
type process struct {
	*recall.Broker
	engine *meddled
}

func newProcess(t *testing.T, dsn string, po *postgres.Options, ro *recall.Options) *process {
	t.Helper()
	po.AllowUnsafe = true
	e, err := postgres.Open(t.Context(), dsn, po)
	if err != nil {
		t.Fatal(err)
	}
	m := &meddled{Engine: e}
	b, err := recall.New(m, ro)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &process{b, m}
}

// meddled is an engine between whose reading of an object and the change of it somebody
// else comes.
type meddled struct {
	*postgres.Engine
	meddle atomic.Pointer[func()] // once, before the next change
}

func (m *meddled) before(f func()) { m.meddle.Store(&f) }

// left tells whether nobody has come yet.
func (m *meddled) left() bool { return m.meddle.Load() != nil }

func (m *meddled) Apply(ctx context.Context, c recall.Change) ([]recall.Receipt, error) {
	if f := m.meddle.Swap(nil); f != nil {
		(*f)()
	}
	return m.Engine.Apply(ctx, c)
}

// twoProcesses work on one queue; only the second delivers.
func twoProcesses(t *testing.T) (a, b *process) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	options := func() *postgres.Options {
		return &postgres.Options{Schema: schema, LeaseTime: time.Hour, PollInterval: 5 * time.Millisecond}
	}
	return newProcess(t, dsn, options(), &recall.Options{NoDispatch: true}), newProcess(t, dsn, options(), nil)
}

// eventually waits until what another process does shows.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTopicOfTwoProcesses has one process use what the other has made of a topic.
func TestTopicOfTwoProcesses(t *testing.T) {
	a, b := twoProcesses(t)
	ctx := t.Context()
	reached := func(p *process) int {
		r, err := p.PublishTopic(ctx, "t", recall.Message{Delay: time.Hour})
		if err != nil && !errors.Is(err, recall.ErrNoTopic) {
			t.Fatal(err)
		}
		return len(r)
	}
	if n := reached(b); n != 0 { // so it has read the topics
		t.Fatalf("%d messages to no topic", n)
	}
	for n := 1; n <= 3; n++ {
		_, err := a.AddEndpoints(ctx, "t", recall.Endpoint{URL: fmt.Sprintf("https://api.test/%d", n)})
		noError(t, err)
		got, err := b.Topic(ctx, "t")
		noError(t, err)
		if len(got.Endpoints) != n {
			t.Fatalf("Topic: got %v, want %d endpoints", got.Endpoints, n)
		}
		eventually(t, "a message for each endpoint", func() bool { return reached(b) == n })
		list, err := b.Topics(ctx)
		noError(t, err)
		if len(list) != 1 || len(list[0].Endpoints) != n {
			t.Fatalf("Topics: got %v, want one of %d endpoints", list, n)
		}
	}
	if n := reached(a); n != 3 {
		t.Fatalf("%d messages, want 3", n)
	}
	_, err := b.AddEndpoints(ctx, "t", recall.Endpoint{URL: "https://api.test/4"})
	noError(t, err)
	eventually(t, "a transaction that sees the endpoint", func() bool {
		n := 0
		noError(t, a.Update(ctx, func(tx *recall.Tx) error {
			r, err := tx.PublishTopic("t", recall.Message{Delay: time.Hour})
			n = len(r)
			return err
		}))
		return n == 4
	})
	noError(t, b.DeleteTopic(ctx, "t"))
	if _, err := a.Topic(ctx, "t"); !errors.Is(err, recall.ErrNoTopic) {
		t.Fatalf("Topic: %v", err)
	}
	eventually(t, "no topic", func() bool { return reached(a) == 0 })
}

// TestTopicChangedAtOnce has two processes add endpoints to one topic at the same time:
// none is lost.
func TestTopicChangedAtOnce(t *testing.T) {
	a, b := twoProcesses(t)
	const each = 40
	var wg sync.WaitGroup
	for i, p := range []*process{a, b} {
		wg.Go(func() {
			for n := range each {
				_, err := p.AddEndpoints(t.Context(), "t", recall.Endpoint{URL: fmt.Sprintf("https://api.test/%d/%d", i, n)})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, p := range []*process{a, b} {
		got, err := p.Topic(t.Context(), "t")
		noError(t, err)
		if len(got.Endpoints) != 2*each {
			t.Errorf("%d endpoints, want %d", len(got.Endpoints), 2*each)
		}
	}
}

// TestChangeBetween has another process change what is being changed, after it was read:
// both changes count.
func TestChangeBetween(t *testing.T) {
	a, b := twoProcesses(t)
	ctx := t.Context()
	paused := true
	add := func(p *process, url string) func() {
		return func() {
			_, err := p.AddEndpoints(ctx, "t", recall.Endpoint{URL: url})
			noError(t, err)
		}
	}
	queue := func(p *process, u recall.QueueUpdate) func() {
		return func() { noError(t, p.UpdateQueue(ctx, "q", u)) }
	}
	pin := func(p *process, l recall.FlowLimit, part recall.FlowPart) func() {
		return func() { noError(t, p.PinFlow(ctx, "k", l, part)) }
	}
	for _, change := range []struct{ mine, other func() }{
		{add(a, "https://api.test/1"), add(b, "https://api.test/2")},
		{add(a, "https://api.test/3"), add(b, "https://api.test/4")},
		{queue(a, recall.QueueUpdate{Parallelism: 7}), queue(b, recall.QueueUpdate{Paused: &paused})},
		{pin(a, recall.FlowLimit{Rate: 5}, recall.FlowRate), pin(b, recall.FlowLimit{Parallelism: 3}, recall.FlowParallelism)},
	} {
		a.engine.before(change.other)
		change.mine()
		if a.engine.left() {
			t.Fatal("nobody came between")
		}
	}
	for _, p := range []*process{a, b} {
		topic, err := p.Topic(ctx, "t")
		noError(t, err)
		if len(topic.Endpoints) != 4 {
			t.Errorf("Topic: got %v, want 4 endpoints", topic.Endpoints)
		}
		q, err := p.Queue(ctx, "q")
		noError(t, err)
		if q.Parallelism != 7 || !q.Paused {
			t.Errorf("Queue: got %+v, want both changes", q)
		}
		k, err := p.FlowKey(ctx, "k")
		noError(t, err)
		if want := (recall.FlowLimit{Rate: 5, Parallelism: 3}); k.Limit != want {
			t.Errorf("FlowKey: got %+v, want %+v", k.Limit, want)
		}
	}
}

// dueAt has a schedule due at a time of the server's clock, though its line would have
// it later, and tells everybody.
func (p *process) dueAt(t *testing.T, id string, at time.Time) {
	t.Helper()
	ctx := t.Context()
	s, err := p.engine.Object(ctx, recall.ObjectSchedule, id)
	noError(t, err)
	o, err := p.engine.Object(ctx, recall.ObjectScheduleTime, id)
	noError(t, err)
	fields := map[string]any{}
	noError(t, json.Unmarshal(o.Value, &fields))
	fields["next"] = at.UnixMilli()
	value, err := json.Marshal(fields)
	noError(t, err)
	changed := o
	changed.Value = value
	_, err = p.engine.Apply(ctx, recall.Change{Objects: []recall.Object{s, changed}, If: []recall.Object{s, o}, Now: at})
	noError(t, err)
}

// published returns what a schedule has published.
func (p *process) published(t *testing.T, id string) []recall.Message {
	t.Helper()
	list, err := p.engine.List(t.Context(), recall.Filter{Schedules: []string{id}}, "", 100, time.Now())
	noError(t, err)
	return list
}

// TestScheduleOfTwoProcesses has one process set schedules, and the other, which has
// been there before, follow them.
func TestScheduleOfTwoProcesses(t *testing.T) {
	a, b := twoProcesses(t)
	ctx := t.Context()
	set := func(p *process, id, url string) recall.Schedule {
		t.Helper()
		s, err := p.SetSchedule(ctx, recall.Schedule{ID: id, Cron: "0 0 1 1 *", Message: recall.Message{URL: url, Delay: time.Hour}})
		noError(t, err)
		return s
	}
	if list, err := b.Schedules(ctx); err != nil || len(list) != 0 { // so it has read them
		t.Fatalf("Schedules: %v, %v", list, err)
	}
	was := set(a, "s", "https://api.test/1")
	got, err := b.Schedule(ctx, "s")
	noError(t, err)
	if got.Message.URL != "https://api.test/1" || !got.Next.Equal(was.Next) {
		t.Fatalf("Schedule: got %+v", got)
	}

	// It is met once, with the message of now, by the process that publishes.
	set(a, "s", "https://api.test/2")
	a.dueAt(t, "s", a.engine.Clock().Now())
	eventually(t, "a message", func() bool { return len(a.published(t, "s")) > 0 })
	if url := a.published(t, "s")[0].URL; url != "https://api.test/2" {
		t.Errorf("it was published to %s", url)
	}
	s, err := a.Schedule(ctx, "s")
	noError(t, err)
	if s.Last.IsZero() || !s.Next.Equal(was.Next) {
		t.Errorf("Schedule: got last %v, next %v, want next %v", s.Last, s.Next, was.Next)
	}
	list, err := a.Schedules(ctx)
	noError(t, err)
	if len(list) != 1 || !list[0].Last.Equal(s.Last) {
		t.Errorf("Schedules: got %+v", list)
	}

	// What one process pauses, resumes or deletes the other does not publish.
	noError(t, a.PauseSchedule(ctx, "s"))
	if s, err := b.Schedule(ctx, "s"); err != nil || !s.Paused || !s.Next.IsZero() {
		t.Errorf("Schedule: got %+v, %v, want a paused one", s, err)
	}
	noError(t, b.ResumeSchedule(ctx, "s"))
	if s, err := a.Schedule(ctx, "s"); err != nil || s.Paused || !s.Next.Equal(was.Next) {
		t.Errorf("Schedule: got %+v, %v, want a resumed one", s, err)
	}
	set(a, "marker", "https://api.test/3")
	soon := a.engine.Clock().Now().Add(200 * time.Millisecond)
	a.dueAt(t, "s", soon)
	a.dueAt(t, "marker", soon.Add(time.Millisecond))
	noError(t, a.DeleteSchedule(ctx, "s"))
	eventually(t, "the schedule that is left", func() bool { return len(a.published(t, "marker")) > 0 })
	if n := len(a.published(t, "s")); n != 1 {
		t.Errorf("%d messages of a schedule that was deleted after the first", n)
	}
	if _, err := b.Schedule(ctx, "s"); !errors.Is(err, recall.ErrNoSchedule) {
		t.Errorf("Schedule: %v", err)
	}
}

// TestScheduleSetBetween has a process set a schedule to the same line, pause it and
// resume it, while the other meets a time of it: that stays met.
func TestScheduleSetBetween(t *testing.T) {
	a, b := twoProcesses(t)
	ctx := t.Context()
	set := func() error {
		_, err := a.SetSchedule(ctx, recall.Schedule{ID: "s", Cron: "0 0 1 1 *", Message: recall.Message{URL: "https://api.test", Delay: time.Hour}})
		return err
	}
	noError(t, set())
	for n, change := range []func() error{
		set, func() error { return a.PauseSchedule(ctx, "s") }, func() error { return a.ResumeSchedule(ctx, "s") }, set,
	} {
		before := len(b.published(t, "s"))
		if n != 2 { // then it is paused
			a.engine.before(func() {
				a.dueAt(t, "s", b.engine.Clock().Now())
				eventually(t, "a message", func() bool { return len(b.published(t, "s")) > before })
			})
		}
		noError(t, change())
		if a.engine.left() {
			t.Fatal("nobody came between")
		}
		s, err := a.Schedule(ctx, "s")
		noError(t, err)
		if now := a.engine.Clock().Now(); !s.Next.IsZero() && !s.Next.After(now) || !s.Paused && s.Last.IsZero() {
			t.Errorf("change %d: next is %v, last was %v, at %v", n, s.Next, s.Last, now)
		}
	}
	if n := len(b.published(t, "s")); n != 3 {
		t.Errorf("%d messages of 3 times", n)
	}
}

// TestScheduleChangedBetween has a process change the message of a schedule while the
// other publishes it: what it was before is not published any more.
func TestScheduleChangedBetween(t *testing.T) {
	a, b := twoProcesses(t)
	set := func(url string) {
		_, err := a.SetSchedule(t.Context(), recall.Schedule{ID: "s", Cron: "0 0 1 1 *", Message: recall.Message{URL: url, Delay: time.Hour}})
		if err != nil { // also in a goroutine of b
			t.Error(err)
		}
	}
	set("https://api.test/1")
	b.engine.before(func() { set("https://api.test/2") })
	a.dueAt(t, "s", a.engine.Clock().Now())
	eventually(t, "a message", func() bool { return len(a.published(t, "s")) > 0 })
	if list := a.published(t, "s"); len(list) != 1 || list[0].URL != "https://api.test/2" || b.engine.left() {
		t.Errorf("it has published %v", list)
	}
}
