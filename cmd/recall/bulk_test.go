package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// readerFunc is asked for an answer.
type readerFunc func() string

func (f readerFunc) Read(p []byte) (int, error) { return copy(p, f()), io.EOF }

// TestConfirmedIsABound publishes one more message while the question stands: what was
// confirmed was another number, and nothing is done.
func TestConfirmedIsABound(t *testing.T) {
	file := fileWith(t, 3)
	q, err := openFile(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := closeBroker(q); err != nil {
			t.Error(err)
		}
	}()
	more := func() {
		if _, err := q.Publish(t.Context(), recall.Message{URL: "https://example.com", Delay: time.Hour, Labels: []string{"x"}}); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		meanwhile func()
		want      error
	}{{more, recall.ErrUnexpectedCount}, {func() {}, nil}} {
		b := &bulk{}
		b.addFlags(&cobra.Command{}, "cancel", "stop")
		in := readerFunc(func() string { c.meanwhile(); return "y\n" })
		s := &session{Client: admin.Local(q), console: console{in: in, out: io.Discard, notes: &strings.Builder{}, canAsk: true}}
		if err := b.cancel(context.Background(), s, recall.Filter{Labels: []string{"x"}}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
	if n, err := q.Count(t.Context(), recall.Filter{}); err != nil || n.Pending != 0 {
		t.Errorf("got %+v, %v", n, err)
	}
}

// TestFileDeliversNothing opens a file whose message is due, and whose schedule is.
func TestFileDeliversNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := fileWith(t, 1)
		q, err := openFile(file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if _, err := q.SetSchedule(ctx, recall.Schedule{Cron: "* * * * *", Message: recall.Message{URL: "https://example.com"}}); err != nil {
			t.Fatal(err)
		}
		r, err := q.CancelMatching(ctx, recall.Filter{Labels: []string{"x"}})
		if err != nil || r.Cancelled != 1 {
			t.Fatalf("got %+v, %v", r, err)
		}
		if _, err := q.Publish(ctx, recall.Message{URL: "https://example.com", Labels: []string{"now"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * 24 * time.Hour) // longer than any default
		synctest.Wait()
		if n, err := q.Count(ctx, recall.Filter{}); err != nil || n != (recall.Count{Pending: 1}) {
			t.Errorf("got %+v, %v", n, err)
		}
		if back, err := q.Restore(ctx, r.Operation); err != nil || back.Restored != 1 { // the program may keep it as long
			t.Errorf("restore: got %+v, %v", back, err)
		}
		for e, err := range q.Events(ctx, recall.EventFilter{}) {
			if err != nil || e.State == recall.EventActive {
				t.Errorf("got %+v, %v", e, err)
			}
		}
		if st := q.Stats(); st.Events < 3 {
			t.Errorf("events were dropped: %d are left", st.Events)
		}
		if err := q.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
