package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// deadBroker has so many dead letters.
func deadBroker(t *testing.T, n int) *recall.Broker {
	t.Helper()
	b, err := recall.Open(filepath.Join(t.TempDir(), "queue.db"), &recall.Options{Durability: recall.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	err = b.Handle("local:job", func(context.Context, *recall.Delivery) error { return recall.Permanent(errors.New("no")) })
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := b.Publish(t.Context(), recall.Message{URL: "local:job"}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	return b
}

func deadIDs(t *testing.T, b *recall.Broker) (ids []string) {
	t.Helper()
	for d, err := range admin.Local(b).DeadLetters(t.Context(), recall.Filter{}, "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, string(d.ID))
	}
	return ids
}

func deleting() *deadChange {
	return &deadChange{
		verb: "delete", done: "deleted", expect: -1, all: true,
		named: (*admin.Client).DeleteDeadLetters, matching: (*admin.Client).DeleteDeadMatching,
	}
}

// TestDeadLettersThatWereConfirmed: if there is another number of dead letters when the
// question is answered, none is touched.
func TestDeadLettersThatWereConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := deadBroker(t, 3)
		s, _, notes := asking(b, func() string {
			if _, err := b.DeleteDeadLetters(t.Context(), recall.DeadLetterID(deadIDs(t, b)[0])); err != nil {
				t.Error(err)
			}
			return yes()
		})
		err := deleting().change(t.Context(), s, nil, recall.Filter{})
		if !errors.Is(err, recall.ErrUnexpectedCount) || len(deadIDs(t, b)) != 2 {
			t.Fatalf("got %v, and %d are left", err, len(deadIDs(t, b)))
		}
		if !strings.HasPrefix(notes.String(), "Delete 3 dead letters?") {
			t.Errorf("asked %q", notes)
		}
		s, _, _ = asking(b, yes)
		if err := deleting().change(t.Context(), s, nil, recall.Filter{}); err != nil || len(deadIDs(t, b)) != 0 {
			t.Errorf("got %v, and %d are left", err, len(deadIDs(t, b)))
		}
	})
}

// TestDeadLetterNamedTwice: it is one.
func TestDeadLetterNamedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := deadBroker(t, 2)
		id := deadIDs(t, b)[0]
		s, out, notes := asking(b, yes)
		if err := deleting().change(t.Context(), s, []string{id, id}, recall.Filter{}); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(notes.String(), "Delete 1 dead letter?") || out.String() != "1 dead letter deleted.\n" {
			t.Errorf("asked %q, said %q", notes, out)
		}
	})
}
