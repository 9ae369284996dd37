package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
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
