package main

import (
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

// asking is a session with somebody before it who types answer, and what that sees.
func asking(b *recall.Broker, answer func() string) (s *session, out, notes *strings.Builder) {
	out, notes = &strings.Builder{}, &strings.Builder{}
	return &session{Client: admin.Local(b), console: console{in: readerFunc(answer), out: out, notes: notes, canAsk: true}}, out, notes
}

func yes() string { return "y\n" }

// openTest opens a file as the commands do, for the time of a test.
func openTest(t *testing.T, file string) *recall.Broker {
	t.Helper()
	q, err := openFile(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeBroker(q); err != nil {
			t.Error(err)
		}
	})
	return q
}

// TestConfirmedIsABound publishes one more message while the question stands: what was
// confirmed was another number, and nothing is done, whatever the flags allow.
func TestConfirmedIsABound(t *testing.T) {
	q := openTest(t, fileWith(t, 3))
	more := func() {
		if _, err := q.Publish(t.Context(), recall.Message{URL: "https://example.com", Delay: time.Hour, Labels: []string{"x"}}); err != nil {
			t.Error(err)
		}
	}
	most := 10
	for _, c := range []struct {
		meanwhile func()
		atMost    *int
		want      error
	}{{more, nil, recall.ErrUnexpectedCount}, {more, &most, recall.ErrUnexpectedCount}, {func() {}, &most, nil}} {
		b := &bulk{}
		b.addFlags(&cobra.Command{}, "cancel", "stop")
		b.how.ExpectAtMost = c.atMost
		s, _, _ := asking(q, func() string { c.meanwhile(); return yes() })
		if err := b.cancel(t.Context(), s, recall.Filter{Labels: []string{"x"}}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
	if n, err := q.Count(t.Context(), recall.Filter{}); err != nil || n.Pending != 0 {
		t.Errorf("got %+v, %v", n, err)
	}
}

// TestQuestionSaysWhatIsTaken: not all that matches is taken, and the question knows.
func TestQuestionSaysWhatIsTaken(t *testing.T) {
	ctx := t.Context()
	q := openTest(t, fileWith(t, 5))
	var held []recall.MessageID
	for m, err := range q.List(ctx, recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, m.ID)
	}
	if _, err := q.Hold(ctx, recall.Filter{IDs: held[2:4]}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		verb      string
		do        changer
		meanwhile func()
		question  string
		result    string
	}{
		{"retry now", (*session).RetryNow, func() {}, "", "Nothing to retry now.\n"},
		{"release", (*session).Release, func() { // as many match as before, and more are held
			if _, err := q.Hold(ctx, recall.Filter{IDs: held[:1]}); err != nil {
				t.Error(err)
			}
		}, "Release 2 messages? [y/N]", "2 messages done.\n"},
	} {
		b := &bulk{}
		b.addFlags(&cobra.Command{}, c.verb, "skip", "stop")
		b.all = true
		s, out, notes := asking(q, func() string { c.meanwhile(); return yes() })
		if err := b.change(ctx, s, recall.Filter{}, "done", c.do); err != nil {
			t.Errorf("%s: %v", c.verb, err)
		}
		if !strings.Contains(notes.String(), c.question) || strings.Contains(notes.String(), "[y/N]") != (c.question != "") || out.String() != c.result {
			t.Errorf("%s: asked %q, and wrote %q", c.verb, notes, out)
		}
	}
}

// TestQuestionAboutFlight: what is in flight is in the question.
func TestQuestionAboutFlight(t *testing.T) {
	ctx := t.Context()
	q := openTest(t, fileWith(t, 2))
	if _, err := q.Publish(ctx, recall.Message{Queue: "pull", Labels: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	out, err := q.Receive(ctx, "pull", 1)
	if err != nil {
		t.Fatal(err)
	}
	id := string(out[0].ID)
	both, flying := recall.Filter{Labels: []string{"x"}}, recall.Filter{Queues: []string{"pull"}}
	for _, c := range []struct {
		how      admin.Bulk
		f        recall.Filter
		question string
		err      error
	}{
		{admin.Bulk{}, both, "Cancel 2 messages, up to " + id + ", which is in flight? ", errNotConfirmed},
		{admin.Bulk{Policy: "skip"}, both, "Cancel 2 messages? ", errNotConfirmed},
		{admin.Bulk{Policy: "skip", Limit: 1}, both, "Cancel 1 message? ", errNotConfirmed},
		{admin.Bulk{Wait: time.Minute}, both, "Cancel 2 messages, and wait up to 1m0s for 1 in flight? ", errNotConfirmed},
		{admin.Bulk{Policy: "abort"}, both, "Cancel 2 messages, and stop 1 in flight? ", errNotConfirmed},
		{admin.Bulk{Policy: "sticky"}, flying, "Stop 1 message in flight? ", errNotConfirmed},
		{admin.Bulk{}, flying, "", recall.ErrNotCancellable},
		{admin.Bulk{Policy: "skip"}, flying, "", nil},
	} {
		b := &bulk{}
		b.addFlags(&cobra.Command{}, "cancel", "stop")
		b.how = c.how
		s, _, notes := asking(q, func() string { return "n\n" })
		if err := b.cancel(ctx, s, c.f); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%+v: got %v, want %v", c.how, err, c.err)
		}
		if !strings.Contains(notes.String(), c.question) || strings.Contains(notes.String(), "[y/N]") != (c.question != "") {
			t.Errorf("%+v: asked %q", c.how, notes)
		}
	}
	if n, err := q.Count(ctx, recall.Filter{}); err != nil || n != (recall.Count{Pending: 2, InFlight: 1}) {
		t.Errorf("got %+v, %v", n, err)
	}
	if err := out[0].Ack(ctx); err != nil {
		t.Error(err)
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
