package recall_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
)

// TestListAfter reads a list in parts, also behind a message that is gone.
func TestListAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{NoDispatch: true})
		publishMany(t, b, 600, recall.Message{URL: endpoint, Labels: []string{"a"}})
		var all []recall.MessageID
		for m, err := range b.List(t.Context(), recall.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m.ID)
		}
		if err := b.Cancel(t.Context(), all[9]); err != nil {
			t.Fatal(err)
		}
		for from, want := range map[recall.MessageID][]recall.MessageID{
			"": append(all[:9:9], all[10:]...), all[9]: all[10:], all[300]: all[301:], all[599]: nil,
		} {
			n := 0
			for m, err := range b.ListAfter(t.Context(), recall.Filter{Labels: []string{"a"}}, from) {
				if err != nil {
					t.Fatal(err)
				}
				if n >= len(want) || m.ID != want[n] {
					t.Fatalf("behind %q: got %s as number %d", from, m.ID, n)
				}
				n++
			}
			if n != len(want) {
				t.Errorf("behind %q: got %d, want %d", from, n, len(want))
			}
		}
		n := 0
		for _, err := range b.ListAfter(t.Context(), recall.Filter{}, "nonsense") {
			if n++; !errors.Is(err, recall.ErrInvalid) {
				t.Errorf("behind what is no id: got %v", err)
			}
		}
		if n != 1 {
			t.Errorf("behind what is no id: got %d steps, want the error alone", n)
		}
	})
}
