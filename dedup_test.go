package recall_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

func receipt(t *testing.T, b *recall.Broker, m recall.Message) recall.Receipt {
	t.Helper()
	r, err := b.Publish(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with returns a message that waits, with an id.
func with(id string) recall.Message {
	return recall.Message{URL: endpoint, DeduplicationID: id, Delay: 24 * time.Hour}
}

// TestDuplicates publishes pairs of messages; the second is a duplicate of the
// first, or is not.
func TestDuplicates(t *testing.T) {
	content := func(set ...func(*recall.Message)) recall.Message {
		m := recall.Message{URL: endpoint, Body: []byte("body"), DeduplicateContent: true, Delay: time.Hour}
		m.Header = http.Header{"Content-Type": {"text/plain"}, "X": {"1", "2"}}
		for _, s := range set {
			s(&m)
		}
		return m
	}
	header := func(h http.Header) func(*recall.Message) { return func(m *recall.Message) { m.Header = h } }
	id := func(id string) func(*recall.Message) { return func(m *recall.Message) { m.DeduplicationID = id } }
	topic := func(m recall.Message, url string) recall.Message {
		m.Topic, m.URL = "t", url
		return m
	}
	for name, test := range map[string]struct {
		first, second recall.Message
		duplicate     bool
	}{
		"no id":                {recall.Message{URL: endpoint}, recall.Message{URL: endpoint}, false},
		"the same id":          {with("a"), recall.Message{URL: endpoint + "other", Body: []byte("x"), DeduplicationID: "a"}, true},
		"another id":           {with("a"), with("A"), false},
		"the same content":     {content(), content(), true},
		"other settings":       {content(), content(func(m *recall.Message) { m.Delay, m.Method, m.Queue, m.Labels = 0, "PUT", "q", []string{"l"} }), true},
		"headers as written":   {content(), content(header(http.Header{"content-type": {"text/plain"}, "x": {"1", "2"}})), true},
		"no content asked for": {content(), content(func(m *recall.Message) { m.DeduplicateContent = false }), false},
		"another body":         {content(), content(func(m *recall.Message) { m.Body = []byte("bodY") }), false},
		"another URL":          {content(), content(func(m *recall.Message) { m.URL += "?" }), false},
		"another type":         {content(), content(header(http.Header{"Content-Type": {"text/html"}, "X": {"1", "2"}})), false},
		"another order":        {content(), content(header(http.Header{"Content-Type": {"text/plain"}, "X": {"2", "1"}})), false},
		"one header less":      {content(), content(header(http.Header{"Content-Type": {"text/plain"}, "X": {"1"}})), false},
		"another name":         {content(), content(header(http.Header{"Content-Type": {"text/plain"}, "Y": {"1", "2"}})), false},
		"parts that run together": {
			content(header(http.Header{"A": {"bc"}})), content(header(http.Header{"Ab": {"c"}})), false,
		},
		"an id and content":       {content(), content(id("a")), false},
		"an id goes before it":    {content(id("a")), with("a"), true},
		"an endpoint of a topic":  {topic(with("a"), endpoint), topic(with("a"), endpoint), true},
		"another endpoint":        {topic(with("a"), endpoint), topic(with("a"), endpoint+"2"), false},
		"a topic and none":        {topic(with("a"), endpoint), with("a"), false},
		"the content of a topic":  {topic(content(), endpoint), topic(content(), endpoint), true},
		"the content of another":  {topic(content(), endpoint), content(func(m *recall.Message) { m.Topic = "t2" }), false},
		"the content of no topic": {content(func(m *recall.Message) { m.Topic = "t" }), content(), false},
		"topic and id run together": {
			recall.Message{URL: endpoint, Topic: "ta", DeduplicationID: "b"}, recall.Message{URL: endpoint, Topic: "t", DeduplicationID: "ab"}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, waiting)
			first, second := receipt(t, b, test.first), receipt(t, b, test.second)
			if first.Deduplicated || second.Deduplicated != test.duplicate || (second.ID == first.ID) != test.duplicate {
				t.Errorf("got %+v and %+v", first, second)
			}
		})
	}
}

// TestContentIsNoID publishes, as ids, what contents are known by.
func TestContentIsNoID(t *testing.T) {
	for _, id := range []string{"\x01", "\x02t\x02u\x02a", "a\x00", strings.Repeat("x", 257), "\xff"} {
		b := newBroker(t, waiting)
		_, err := b.Publish(t.Context(), with(id))
		var invalid *recall.InvalidError
		if !errors.As(err, &invalid) || invalid.Field != "DeduplicationID" {
			t.Errorf("%q: got %v, want ErrInvalid", id, err)
		}
	}
}

func TestDeduplicationOptions(t *testing.T) {
	for _, o := range []recall.Options{
		{DeduplicationWindow: time.Microsecond},
		{DeduplicationWindow: recall.MaxDeduplicationWindow + 1},
		{MaxDeduplicationIDs: -1},
		{MaxDeduplicationIDs: 100_000_001},
	} {
		if _, err := recall.OpenEngine(filepath.Join(t.TempDir(), "q.db"), &o); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%v, %d: got %v, want ErrInvalid", o.DeduplicationWindow, o.MaxDeduplicationIDs, err)
		}
	}
}

// TestDeduplicationWindow lets windows pass: ids count to the end, and their room
// is given back after it.
func TestDeduplicationWindow(t *testing.T) {
	for _, window := range []time.Duration{0, time.Millisecond, time.Second, 2 * time.Hour, recall.MaxDeduplicationWindow} {
		synctest.Test(t, func(t *testing.T) {
			f := openFile(t, &recall.Options{NoDispatch: true, DeduplicationWindow: window})
			if window == 0 {
				window = recall.DefaultDeduplicationWindow
			}
			start := time.Now()
			first := receipt(t, f.Broker, with("a"))
			sleep(window - time.Millisecond)
			if r := receipt(t, f.Broker, with("a")); window > time.Millisecond && (!r.Deduplicated || r.ID != first.ID || !r.CreatedAt.Equal(start)) {
				t.Errorf("%v: within the window: got %+v, want %s", window, r, first.ID)
			}
			sleep(time.Millisecond)
			if r := receipt(t, f.Broker, with("a")); r.Deduplicated {
				t.Errorf("%v: after it: got %+v", window, r)
			}
			sleep(window + time.Minute)
			if got := f.Stats().DeduplicationIDs; got != 0 {
				t.Errorf("%v: a minute after the last window %d ids are reserved", window, got)
			}
		})
	}
}

// TestDeduplicationOff turns it off, with ids that were reserved before.
func TestDeduplicationOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, waiting)
		receipt(t, f.Broker, with("a"))
		f.opts.DeduplicationWindow = -1
		f.reopen(t)
		r := receipt(t, f.Broker, with("a"))
		again := receipt(t, f.Broker, with("a"))
		synctest.Wait()
		if s := f.Stats(); r.Deduplicated || again.Deduplicated || s.DeduplicationIDs != 0 || s.Pending != 3 {
			t.Errorf("got %+v, %+v, %d ids, %d messages", r, again, s.DeduplicationIDs, s.Pending)
		}
		f.opts.DeduplicationWindow = 0
		f.reopen(t)
		if r := receipt(t, f.Broker, with("a")); r.Deduplicated {
			t.Errorf("on again: got %+v", r)
		}
	})
}

// TestDeduplicationLimit reserves as many ids as may be.
func TestDeduplicationLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{NoDispatch: true, MaxDeduplicationIDs: 3})
		ctx := t.Context()
		full := func(call string, err error) {
			t.Helper()
			if !errors.Is(err, recall.ErrDeduplicationFull) || !errors.Is(err, recall.ErrFull) {
				t.Errorf("%s: got %v, want ErrDeduplicationFull", call, err)
			}
		}
		a := receipt(t, f.Broker, with("a"))
		_, err := f.PublishBatch(ctx, []recall.Message{with("b"), with(""), with("c"), with("d"), with("a"), with("b"), with("d"), with("e")})
		full("a batch", err)
		var which *recall.DeduplicationFullError
		if !errors.As(err, &which) || !slices.Equal(which.Indexes, []int{3, 6, 7}) {
			t.Errorf("a batch: got %v, want the messages d, d and e", which)
		}
		if s := f.Stats(); s.Pending != 1 || s.DeduplicationIDs != 1 {
			t.Errorf("the batch has left %d messages and %d ids", s.Pending-1, s.DeduplicationIDs-1)
		}
		if _, err := f.PublishBatch(ctx, []recall.Message{with("b"), with(""), with("b"), with("c"), with("a")}); err != nil {
			t.Fatal(err)
		}
		_, err = f.Publish(ctx, with("d"))
		full("a message", err)
		_, err = f.engine.(recall.Keeper).Apply(ctx, recall.Change{
			Objects: []recall.Object{{Kind: recall.ObjectTopic, Name: "t", Value: []byte("v")}}, Now: time.Now(),
			Messages: []recall.Message{{URL: endpoint, Method: "POST", Retries: recall.Retries(0), DeduplicationID: "d"}},
		})
		full("objects", err)
		if list, err := f.engine.(recall.Keeper).Objects(ctx, recall.ObjectTopic); err != nil || len(list) > 0 {
			t.Errorf("the objects of a change that was refused: %v, %v", list, err)
		}
		f.update(t, func(tx *recall.Tx) error {
			_, err := tx.Publish(with("d"))
			full("a transaction", err)
			_, err = tx.Publish(recall.Message{URL: endpoint, Body: []byte("in the same transaction")})
			return err
		})
		if r := receipt(t, f.Broker, with("a")); r.ID != a.ID || !r.Deduplicated {
			t.Errorf("a duplicate: got %+v", r)
		}
		receipt(t, f.Broker, with(""))
		f.reopen(t)
		_, err = f.Publish(ctx, with("d"))
		full("after a restart", err)
		sleep(recall.DefaultDeduplicationWindow + time.Minute)
		receipt(t, f.Broker, with("d"))
		if s := f.Stats(); s.Pending != 7 || s.DeduplicationIDs != 1 {
			t.Errorf("at the end: %d messages and %d ids", s.Pending, s.DeduplicationIDs)
		}
	})
}

// TestRefusedReservesNothing has inserts that fail for want of room, and one
// whose commit fails.
func TestRefusedReservesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	opts := &recall.Options{Durability: recall.SyncNever, Logger: quietLogger, MaxFileSize: 16 << 20, Clock: stopped(storyBase)}
	var fault error
	e, err := recall.OpenFaulty(path, opts, func() error { return fault }, nil)
	if err != nil {
		t.Fatal(err)
	}
	insert := func(id string, size int) (recall.Receipt, error) {
		m := recall.Message{URL: endpoint, Method: "POST", Retries: recall.Retries(0), DueAt: storyBase, Body: make([]byte, size)}
		m.DeduplicationID = id
		r, err := e.Insert(t.Context(), []recall.Message{m}, storyBase)
		if err != nil {
			return recall.Receipt{}, err
		}
		return r[0], nil
	}
	if _, err := insert("a", 8<<20); !errors.Is(err, recall.ErrFull) || errors.Is(err, recall.ErrDeduplicationFull) {
		t.Fatalf("a large message: got %v, want ErrFull", err)
	}
	a, err := insert("a", 10)
	if err != nil || a.Deduplicated {
		t.Fatalf("a small one: got %+v, %v", a, err)
	}
	fault = errors.New("no")
	if _, err := insert("b", 10); !errors.Is(err, recall.ErrFailed) {
		t.Fatalf("a commit that fails: got %v", err)
	}
	if _, err := insert("a", 10); !errors.Is(err, recall.ErrFailed) {
		t.Errorf("a duplicate in a store that has failed: got %v", err)
	}
	_ = e.Close() // it has failed
	if e, err = recall.OpenEngine(path, opts); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if b, err := insert("b", 10); err != nil || b.Deduplicated {
		t.Errorf("after a restart: got %+v, %v", b, err)
	}
	if again, err := insert("a", 10); err != nil || again.ID != a.ID || !again.Deduplicated {
		t.Errorf("after a restart: got %+v, %v, want a duplicate of %s", again, err, a.ID)
	}
}

// TestDuplicatesInTransactions has ids before, in and after transactions.
func TestDuplicatesInTransactions(t *testing.T) {
	f := openFile(t, waiting)
	a := receipt(t, f.Broker, with("a"))
	no := errors.New("no")
	var b recall.Receipt
	for _, outcome := range []error{no, nil} {
		err := f.Update(t.Context(), func(tx *recall.Tx) (err error) {
			if r, err := tx.Publish(with("a")); err != nil || r.ID != a.ID || !r.Deduplicated {
				t.Errorf("got %+v, %v, want a duplicate of %s", r, err, a.ID)
			}
			if b, err = tx.Publish(with("b")); err != nil || b.Deduplicated {
				t.Errorf("got %+v, %v, want a message", b, err)
			}
			if r, err := tx.Publish(with("b")); err != nil || r.ID != b.ID || !r.Deduplicated {
				t.Errorf("got %+v, %v, want a duplicate of %s", r, err, b.ID)
			}
			return outcome
		})
		if !errors.Is(err, outcome) {
			t.Fatal(err)
		}
	}
	f.reopen(t)
	if r := receipt(t, f.Broker, with("b")); r.ID != b.ID || !r.Deduplicated {
		t.Errorf("got %+v, want a duplicate of %s", r, b.ID)
	}
	checkCount(t, f.Broker, recall.Count{Pending: 2})
}

// TestDuplicatesAreNotDelivered counts deliveries, and has a callback-like redrive
// of a dead letter.
func TestDuplicatesAreNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, &recall.Options{Retries: recall.Retries(0)})
		var got []recall.MessageID
		handle(t, f.Broker, "local:job", func(_ context.Context, d *recall.Delivery) error {
			if got = append(got, d.ID); len(got) == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		m := recall.Message{URL: "local:job", DeduplicationID: "a"}
		first := receipt(t, f.Broker, m)
		synctest.Wait()
		if r := receipt(t, f.Broker, m); r.ID != first.ID || !r.Deduplicated {
			t.Errorf("got %+v", r)
		}
		again, err := f.RetryDeadLetters(t.Context(), onlyDead(t, f.Broker).ID)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if want := []recall.MessageID{first.ID, again[0].ID}; !reflect.DeepEqual(got, want) {
			t.Errorf("delivered: got %v, want %v", got, want)
		}
	})
}
