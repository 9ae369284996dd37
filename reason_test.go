package recall_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

// TestLongReasons: a reason that is cut is not cut within a character.
func TestLongReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFileBroker(t, nil)
		for _, m := range []recall.Message{
			{Queue: "q"},
			{Queue: "q", ScheduleID: strings.Repeat("t", recall.MaxName), FlowKey: strings.Repeat("k", recall.MaxName), Labels: []string{strings.Repeat("l", recall.MaxLabelBytes)}},
		} {
			id := publish(t, b, m)
			if err := receiveOne(t, b, "q").DeadLetter(t.Context(), "x"+strings.Repeat("é", 1000)); err != nil {
				t.Fatal(err)
			}
			reasons := []string{onlyDead(t, b).Reason}
			for _, ev := range messageEvents(t, b, id) {
				reasons = append(reasons, ev.Reason)
			}
			for _, r := range reasons {
				if !utf8.ValidString(r) || len(r) > 256 {
					t.Errorf("%d bytes, ending in %q", len(r), r[len(r)-3:])
				}
			}
			if len(reasons[0]) != 255 {
				t.Errorf("a dead letter has %d bytes of the reason", len(reasons[0]))
			}
			if _, err := b.DeleteDeadLetters(t.Context(), onlyDead(t, b).ID); err != nil {
				t.Fatal(err)
			}
		}
	})
}
