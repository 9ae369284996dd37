package recall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// fullFile is what a file holds that has something of everything.
type fullFile struct {
	messages  map[recall.MessageID]string // body by id
	cancelled int
	operation recall.OperationID // that took them, and can be undone
	dead      []recall.DeadLetterID
	gone      []recall.MessageID // cancelled one by one, or delivered
}

const (
	fullMessages = 300
	fullTaken    = 100
)

// fillFile makes a file with messages, dead letters, a schedule, a queue, a topic,
// an operation that can be undone, and data of the program's own.
func fillFile(t *testing.T, path string) *fullFile {
	t.Helper()
	ctx := context.Background()
	f := &fullFile{messages: map[recall.MessageID]string{}}
	b, err := recall.Open(path, &recall.Options{Logger: quietLogger, Retries: recall.Retries(0), Durability: recall.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	failed, delivered := make(chan bool, 10), make(chan bool, 10)
	handle(t, b, "local:dies", func(context.Context, *recall.Delivery) error { failed <- true; return errors.New("no") })
	handle(t, b, "local:works", func(context.Context, *recall.Delivery) error { delivered <- true; return nil })
	for i := range 3 {
		publish(t, b, recall.Message{URL: "local:dies", Body: fmt.Appendf(nil, "dead %d", i)})
		f.gone = append(f.gone, publish(t, b, recall.Message{URL: "local:works"}))
		<-failed
		<-delivered
	}
	for i := range fullMessages {
		body := fmt.Sprintf("body %d %s", i, strings.Repeat("x", i*i%9000))
		m := recall.Message{URL: fmt.Sprintf("https://host-%d.test/x", i%7), Body: []byte(body), Delay: 24 * time.Hour, Labels: []string{"kept"}}
		if i%3 == 0 {
			m.Queue = "q"
		}
		if i < fullTaken {
			m.Labels = []string{"taken"}
		}
		if id := publish(t, b, m); i >= fullTaken {
			f.messages[id] = body
		}
	}
	id := publish(t, b, recall.Message{URL: "https://a.test/x", Delay: 24 * time.Hour, DeduplicationID: "once", Body: []byte("once")})
	f.messages[id] = "once"
	result, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"taken"}})
	if err != nil {
		t.Fatal(err)
	}
	f.cancelled, f.operation = result.Cancelled, result.Operation
	for range 5 {
		id := publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
		if err := b.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
		f.gone = append(f.gone, id)
	}
	err = b.Update(ctx, func(tx *recall.Tx) error {
		bucket, err := tx.Bucket("mine")
		if err != nil {
			return err
		}
		_, err = bucket.NextSequence()
		return errors.Join(err, bucket.Put([]byte("k"), []byte("v")), bucket.Put([]byte("large"), make([]byte, 20_000)), bucket.Put([]byte("empty"), nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetSchedule(ctx, recall.Schedule{ID: "s1", Cron: "0 0 1 1 *", Message: recall.Message{URL: "https://a.test/s"}}); err != nil {
		t.Fatal(err)
	}
	closeNow(t, b, ctx)
	b = openQuiet(t, path)
	for _, d := range deadLetters(t, b) {
		f.dead = append(f.dead, d.ID)
	}
	if len(f.dead) != 3 {
		t.Fatalf("%d dead letters, want 3", len(f.dead))
	}
	closeNow(t, b, ctx)
	return f
}

func openQuiet(t *testing.T, path string) *recall.Broker {
	t.Helper()
	b, err := recall.Open(path, &recall.Options{NoDispatch: true, Logger: quietLogger, Durability: recall.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check opens a file that has to hold all of it.
func (f *fullFile) check(t *testing.T, path string) {
	t.Helper()
	ctx := context.Background()
	b := openQuiet(t, path)
	defer closeNow(t, b, ctx)
	for id, body := range f.messages {
		if m, err := b.Get(ctx, id); err != nil || string(m.Body) != body {
			t.Fatalf("%s: got %.20q, %v, want %.20q", id, m.Body, err, body)
		}
	}
	for _, id := range f.gone {
		if _, err := b.Get(ctx, id); !errors.Is(err, recall.ErrNotFound) {
			t.Errorf("%s is gone: got %v", id, err)
		}
	}
	checkCount(t, b, recall.Count{Pending: len(f.messages)})
	var dead []recall.DeadLetterID
	for _, d := range deadLetters(t, b) {
		dead = append(dead, d.ID)
	}
	if !slices.Equal(dead, f.dead) {
		t.Errorf("dead letters: got %v, want %v", dead, f.dead)
	}
	if s, err := b.Schedule(ctx, "s1"); err != nil || s.Cron != "0 0 1 1 *" {
		t.Errorf("schedule: got %+v, %v", s, err)
	}
	for key, want := range map[string]int{"k": 1, "large": 20_000, "empty": 0} {
		if v, err := b.Lookup(ctx, "mine", []byte(key)); err != nil || len(v) != want || v == nil && want > 0 {
			t.Errorf("own data %q: got %d bytes, %v, want %d", key, len(v), err, want)
		}
	}
	newest := publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
	for id := range f.messages {
		if newest <= id {
			t.Fatalf("the new message %s does not come behind %s", newest, id)
		}
	}
	if err := b.Cancel(ctx, newest); err != nil {
		t.Error(err)
	}
	if r, err := b.Restore(ctx, f.operation); err != nil || r.Restored != f.cancelled {
		t.Errorf("Restore: got %+v, %v, want %d", r, err, f.cancelled)
	}
	if err := b.Update(ctx, func(tx *recall.Tx) error {
		bucket, err := tx.Bucket("mine")
		if err != nil {
			return err
		}
		if n, err := bucket.NextSequence(); err != nil || n != 2 {
			t.Errorf("the sequence of an own bucket went on with %d, %v, want 2", n, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
