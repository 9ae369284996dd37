package recall_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func addEndpoints(t *testing.T, b *recall.Broker, topic string, endpoints ...recall.Endpoint) recall.Topic {
	t.Helper()
	got, err := b.AddEndpoints(t.Context(), topic, endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// listed returns the live messages that match f.
func listed(t *testing.T, b *recall.Broker, f recall.Filter) (all []recall.Message) {
	t.Helper()
	for m, err := range b.List(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

var threeEndpoints = []recall.Endpoint{{Name: "one", URL: "local:one"}, {URL: "local:two"}, {Name: "three", URL: "https://three.test/x"}}

func TestPublishTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return answer(200), nil })})
		got := addEndpoints(t, b, "orders", threeEndpoints...)
		if !slices.Equal(got.Endpoints, threeEndpoints) || got.Name != "orders" || !got.CreatedAt.Equal(time.Now()) {
			t.Errorf("the topic: %+v", got)
		}
		m := recall.Message{Body: []byte("hello"), Labels: []string{"x"}, Delay: time.Hour, Queue: "q"}
		receipts, err := b.PublishTopic(t.Context(), "orders", m)
		if err != nil || len(receipts) != 3 {
			t.Fatalf("got %v, %v, want three receipts", receipts, err)
		}
		for i, found := range listed(t, b, recall.Filter{Topics: []string{"orders"}}) {
			want, r := threeEndpoints[i], receipts[i]
			if r.ID != found.ID || r.Endpoint != want || !r.CreatedAt.Equal(time.Now()) {
				t.Errorf("receipt %d: %+v", i, r)
			}
			if found.URL != want.URL || found.Endpoint != want.Name || found.Topic != "orders" || string(found.Body) != "hello" ||
				found.Queue != "q" || !found.DueAt.Equal(time.Now().Add(time.Hour)) || !slices.Equal(found.Labels, m.Labels) {
				t.Errorf("message %d: %+v", i, found)
			}
		}
		checkCount(t, b, recall.Count{Pending: 3})
		if err := b.Cancel(t.Context(), receipts[1].ID); err != nil {
			t.Error(err)
		}
		delivered := map[string]string{}
		for _, name := range []string{"local:one", "local:two"} {
			handle(t, b, name, func(_ context.Context, d *recall.Delivery) error {
				delivered[name] = d.Endpoint
				return nil
			})
		}
		sleep(2 * time.Hour)
		if want := map[string]string{"local:one": "one"}; !reflect.DeepEqual(delivered, want) {
			t.Errorf("delivered: got %v, want %v", delivered, want)
		}
	})
}

// TestTopicAsAttribute: with a URL of its own a message goes there only.
func TestTopicAsAttribute(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	addEndpoints(t, b, "orders", threeEndpoints...)
	publish(t, b, recall.Message{URL: "https://a.test/x", Topic: "orders"})
	publish(t, b, recall.Message{URL: "https://a.test/x", Topic: "unknown"})
	checkCount(t, b, recall.Count{Pending: 2})
	for _, err := range []error{
		publishError(b.Publish(t.Context(), recall.Message{Topic: "orders"})),
		publishError(b.PublishBatch(t.Context(), []recall.Message{{Topic: "orders"}})),
	} {
		if !errors.Is(err, recall.ErrInvalid) || !strings.Contains(err.Error(), "PublishTopic") {
			t.Errorf("without a URL: %v", err)
		}
	}
	checkCount(t, b, recall.Count{Pending: 2})
}

func publishError[R any](_ R, err error) error { return err }

func TestEndpointsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		var made time.Time
		check := func(got recall.Topic, err error, want string) {
			t.Helper()
			var names []string
			for _, e := range got.Endpoints {
				names = append(names, e.Name+"="+e.URL)
			}
			if list := strings.Join(names, " "); err != nil || list != want {
				t.Errorf("got %q, %v, want %q", list, err, want)
			}
			if want == "" {
				return
			}
			stored, err := b.Topic(t.Context(), "t")
			if err != nil || !reflect.DeepEqual(stored, got) {
				t.Errorf("stored: %+v, %v, want %+v", stored, err, got)
			}
			if !stored.CreatedAt.Equal(made) || !stored.UpdatedAt.Equal(time.Now()) {
				t.Errorf("made %v, changed %v", stored.CreatedAt, stored.UpdatedAt)
			}
		}
		add := func(want string, e ...recall.Endpoint) {
			t.Helper()
			sleep(time.Second)
			if made.IsZero() {
				made = time.Now()
			}
			got, err := b.AddEndpoints(t.Context(), "t", e...)
			check(got, err, want)
		}
		remove := func(want string, e ...recall.Endpoint) {
			t.Helper()
			sleep(time.Second)
			got, err := b.RemoveEndpoints(t.Context(), "t", e...)
			check(got, err, want)
		}
		add("=local:a", recall.Endpoint{URL: "local:a"})
		add("=local:a", recall.Endpoint{URL: "local:a"}, recall.Endpoint{URL: "local:a"})
		add("A=local:a b=local:b", recall.Endpoint{Name: "A", URL: "local:a"}, recall.Endpoint{Name: "b", URL: "local:b"})
		add("A=local:c b=local:b", recall.Endpoint{Name: "A", URL: "local:c"})
		add("A=local:c b=local:b", recall.Endpoint{URL: "local:b"})
		_, err := b.AddEndpoints(t.Context(), "t", recall.Endpoint{URL: "local:x"}, recall.Endpoint{Name: "A", URL: "local:b"})
		if !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("two endpoints with one URL: %v", err)
		}
		remove("A=local:c b=local:b", recall.Endpoint{Name: "A", URL: "local:b"}, recall.Endpoint{URL: "local:none"})
		remove("A=local:c", recall.Endpoint{URL: "local:b"})
		add("A=local:c =local:d", recall.Endpoint{URL: "local:d"})
		remove("=local:d", recall.Endpoint{Name: "A"})

		// What the caller does with a result changes nothing.
		got, err := b.Topic(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		got.Endpoints[0].URL = "local:hijacked"
		if again, err := b.Topic(t.Context(), "t"); err != nil || again.Endpoints[0].URL != "local:d" {
			t.Errorf("got %+v, %v", again, err)
		}

		// The last one takes the topic with it, and what was published stays.
		if _, err := b.PublishTopic(t.Context(), "t", recall.Message{}); err != nil {
			t.Error(err)
		}
		remove("", recall.Endpoint{URL: "local:d"})
		for _, err := range []error{
			publishError(b.PublishTopic(t.Context(), "t", recall.Message{})), publishError(b.Topic(t.Context(), "t")),
			publishError(b.RemoveEndpoints(t.Context(), "t", recall.Endpoint{Name: "x"})), b.DeleteTopic(t.Context(), "t"),
		} {
			if !errors.Is(err, recall.ErrNoTopic) || !strings.Contains(err.Error(), `"t"`) {
				t.Errorf("without the topic: %v", err)
			}
		}
		checkCount(t, b, recall.Count{Pending: 1})
	})
}

func TestBadTopics(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true})
	ctx := t.Context()
	var many []recall.Endpoint
	for i := range recall.MaxEndpoints + 1 {
		many = append(many, recall.Endpoint{URL: fmt.Sprintf("local:%d", i)})
	}
	addEndpoints(t, b, "full", many[:recall.MaxEndpoints]...)
	local := recall.Endpoint{URL: "local:a"}
	for name, err := range map[string]error{
		"no name":            publishError(b.AddEndpoints(ctx, "", local)),
		"long name":          publishError(b.AddEndpoints(ctx, strings.Repeat("x", 257), local)),
		"control":            publishError(b.AddEndpoints(ctx, "a\x00b", local)),
		"no endpoints":       publishError(b.AddEndpoints(ctx, "t")),
		"no URL":             publishError(b.AddEndpoints(ctx, "t", local, recall.Endpoint{Name: "x"})),
		"bad URL":            publishError(b.AddEndpoints(ctx, "t", recall.Endpoint{URL: "ftp://x"})),
		"long endpoint name": publishError(b.AddEndpoints(ctx, "t", recall.Endpoint{Name: strings.Repeat("x", 257), URL: "local:a"})),
		"too many":           publishError(b.AddEndpoints(ctx, "t", many...)),
		"one too many":       publishError(b.AddEndpoints(ctx, "full", many[recall.MaxEndpoints])),
		"remove nothing":     publishError(b.RemoveEndpoints(ctx, "full")),
		"remove what":        publishError(b.RemoveEndpoints(ctx, "full", recall.Endpoint{})),
		"remove from":        publishError(b.RemoveEndpoints(ctx, "", local)),
		"get":                publishError(b.Topic(ctx, "")),
		"delete":             b.DeleteTopic(ctx, ""),
		"publish":            publishError(b.PublishTopic(ctx, "", recall.Message{})),
		"with URL":           publishError(b.PublishTopic(ctx, "full", recall.Message{URL: "local:a"})),
		"other topic":        publishError(b.PublishTopic(ctx, "full", recall.Message{Topic: "other"})),
		"bad message":        publishError(b.PublishTopic(ctx, "full", recall.Message{Delay: -1})),
	} {
		if !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if list, err := b.Topics(ctx); err != nil || len(list) != 1 || len(list[0].Endpoints) != recall.MaxEndpoints {
		t.Errorf("what is left: %v, %v", list, err)
	}
	checkCount(t, b, recall.Count{})
	if receipts, err := b.PublishTopic(ctx, "full", recall.Message{}); err != nil || len(receipts) != recall.MaxEndpoints {
		t.Errorf("publish: %d receipts, %v", len(receipts), err)
	}
}

// TestTopicsEndure opens a copy of the file that was taken when each call had
// returned, as a crash would leave it.
func TestTopicsEndure(t *testing.T) {
	path, opts := filepath.Join(t.TempDir(), "q.db"), &recall.Options{NoDispatch: true, Logger: quietLogger}
	b, err := recall.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	copies := 0
	check := func() {
		t.Helper()
		want, err := b.Topics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		copies++
		left := fmt.Sprintf("%s.%d", path, copies)
		copyFile(t, path, left)
		c, err := recall.Open(left, opts)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		if got, err := c.Topics(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after a restart: %+v, %v, want %+v", got, err, want)
		}
	}
	check()
	addEndpoints(t, b, "b", threeEndpoints...)
	addEndpoints(t, b, "a", recall.Endpoint{Name: strings.Repeat("ä", 128), URL: "https://a.test/" + strings.Repeat("x", 2000)})
	check()
	if _, err := b.RemoveEndpoints(t.Context(), "b", threeEndpoints[1]); err != nil {
		t.Fatal(err)
	}
	check()
	if err := b.DeleteTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestDeleteTopicMeanwhile publishes while the topic changes: each call sees it
// whole or not at all, and when DeleteTopic has returned nothing more appears.
func TestDeleteTopicMeanwhile(t *testing.T) {
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"),
		&recall.Options{NoDispatch: true, Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	for range 20 {
		addEndpoints(t, b, "t", threeEndpoints...)
		var deleted atomic.Bool
		var published atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					began := deleted.Load()
					receipts, err := b.PublishTopic(t.Context(), "t", recall.Message{})
					published.Add(int64(len(receipts)))
					if errors.Is(err, recall.ErrNoTopic) {
						return
					}
					if err != nil || len(receipts) != 3 || began {
						t.Errorf("got %d receipts, %v; deleted before: %v", len(receipts), err, began)
						return
					}
				}
			})
		}
		for published.Load() < 3*20 {
			runtime.Gosched()
		}
		if err := b.DeleteTopic(t.Context(), "t"); err != nil {
			t.Error(err)
		}
		count, err := b.Count(t.Context(), recall.Filter{Topics: []string{"t"}})
		deleted.Store(true)
		all.Wait()
		if err != nil || int64(count.Pending) != published.Load() {
			t.Errorf("when the topic was gone there were %d messages, %v, in the end %d", count.Pending, err, published.Load())
		}
		if _, err := b.CancelMatching(t.Context(), recall.Filter{Topics: []string{"t"}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTopicInTransaction(t *testing.T) {
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{NoDispatch: true, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	addEndpoints(t, b, "t", threeEndpoints...)
	failed := errors.New("failed")
	for _, want := range []error{failed, nil} {
		err := b.Update(t.Context(), func(tx *recall.Tx) error {
			receipts, err := tx.PublishTopic("t", recall.Message{})
			if err != nil || len(receipts) != 3 || receipts[2].Endpoint != threeEndpoints[2] || receipts[2].ID == "" {
				t.Errorf("got %+v, %v", receipts, err)
			}
			if _, err := tx.PublishTopic("unknown", recall.Message{}); !errors.Is(err, recall.ErrNoTopic) {
				t.Errorf("unknown: %v", err)
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("Update: %v, want %v", err, want)
		}
	}
	checkCount(t, b, recall.Count{Pending: 3})
	if all := listed(t, b, recall.Filter{Topics: []string{"t"}}); len(all) != 3 || all[0].Endpoint != "one" {
		t.Errorf("published: %+v", all)
	}
}

// bare is an engine that can do only what all can.
type bare struct{ recall.Engine }

func (b bare) Check() error { return b.Engine.(*enginetest.Reference).Check() }

func TestTopicsUnsupported(t *testing.T) {
	b := newBrokerOn(t, bare{enginetest.NewReference()}, nil)
	for _, err := range []error{
		publishError(b.AddEndpoints(t.Context(), "t", threeEndpoints...)), publishError(b.Topics(t.Context())),
		publishError(b.PublishTopic(t.Context(), "t", recall.Message{})), b.DeleteTopic(t.Context(), "t"),
		publishError(b.SetSchedule(t.Context(), recall.Schedule{Cron: "@daily", Message: recall.Message{URL: "local:a"}})),
		publishError(b.Schedules(t.Context())), b.PauseSchedule(t.Context(), "s"), b.DeleteSchedule(t.Context(), "s"),
	} {
		if !errors.Is(err, recall.ErrUnsupported) {
			t.Errorf("got %v, want ErrUnsupported", err)
		}
	}
}

// TestDamagedObjects: what makes no sense is reported, keeps nothing else from
// working, and can be replaced or deleted.
func TestDamagedObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := enginetest.NewReference()
		var broken []recall.Object
		for _, kind := range []recall.ObjectKind{recall.ObjectTopic, recall.ObjectSchedule, recall.ObjectScheduleTime} {
			for _, value := range []string{"", "{}", `{"endpoints":[{"url":"x"}],"cron":"* * * * *","message":7}`, "\xff"} {
				broken = append(broken, recall.Object{Kind: kind, Name: fmt.Sprintf("%q", value), Value: []byte(value)})
			}
		}
		if _, err := engine.Apply(t.Context(), recall.Change{Objects: broken, Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
		var log logs
		b := newBrokerOn(t, engine, &recall.Options{Logger: log.logger()})
		addEndpoints(t, b, "good", threeEndpoints...)
		setSchedule(t, b, recall.Schedule{ID: "good", Cron: "* * * * *", Message: recall.Message{Topic: "good", Delay: time.Hour}})
		topics, err := b.Topics(t.Context())
		if !errors.Is(err, recall.ErrCorrupt) || len(topics) != 1 {
			t.Errorf("topics: %v, %v", topics, err)
		}
		schedules, err := b.Schedules(t.Context())
		if err == nil || len(schedules) != 1 {
			t.Errorf("schedules: %v, %v", schedules, err)
		}
		sleep(90 * time.Second)
		checkCount(t, b, recall.Count{Pending: 3})
		if n := log.count("cannot be followed"); n != 4 {
			t.Errorf("people were told of %d schedules, want 4:\n%s", n, log.String())
		}
		for i, o := range broken {
			switch {
			case o.Kind == recall.ObjectTopic && i%2 == 0:
				err = b.DeleteTopic(t.Context(), o.Name)
			case o.Kind == recall.ObjectTopic:
				if _, err := b.RemoveEndpoints(t.Context(), o.Name, threeEndpoints...); !errors.Is(err, recall.ErrCorrupt) {
					t.Errorf("remove from %s: %v", o.Name, err)
				}
				_, err = b.AddEndpoints(t.Context(), o.Name, threeEndpoints...)
			case o.Kind == recall.ObjectSchedule && i%2 == 0:
				err = b.DeleteSchedule(t.Context(), o.Name)
			case o.Kind == recall.ObjectSchedule:
				_, err = b.SetSchedule(t.Context(), recall.Schedule{ID: o.Name, Cron: "@daily", Message: recall.Message{URL: "local:a"}})
			}
			if err != nil {
				t.Errorf("mending %s: %v", o.Name, err)
			}
		}
		if topics, err := b.Topics(t.Context()); err != nil || len(topics) != 3 {
			t.Errorf("topics: %v, %v", topics, err)
		}
		if schedules, err := b.Schedules(t.Context()); err != nil || len(schedules) != 3 {
			t.Errorf("schedules: %v, %v", schedules, err)
		}
	})
}

// TestPublishTopicFull: what has no room are the ids of one message, for the caller.
func TestPublishTopicFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{NoDispatch: true, MaxDeduplicationIDs: 2})
		addEndpoints(t, f.Broker, "orders", threeEndpoints...)
		m := recall.Message{DeduplicationID: "a"}
		check := func(err error) {
			t.Helper()
			if err != recall.ErrDeduplicationFull { //nolint:errorlint // nothing around it
				t.Errorf("got %v", err)
			}
		}
		_, err := f.PublishTopic(t.Context(), "orders", m)
		check(err)
		f.update(t, func(tx *recall.Tx) error {
			_, err := tx.PublishTopic("orders", m)
			check(err)
			return nil
		})
		checkCount(t, f.Broker, recall.Count{})
	})
}
