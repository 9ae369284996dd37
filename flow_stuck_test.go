package recall_test

import (
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
)

// TestRoomIsNotGivenToTheBlocked: the room of a flow-control key goes to a message
// that can use it, not to one whose queue was paused while it waited for the key.
func TestRoomIsNotGivenToTheBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := logFile(t, filepath.Join(t.TempDir(), "q.db"), recall.Options{})
		defer func() { closeNow(t, b, done()) }()
		r := &recorder{}
		handle(t, b, "local:r", r.handle)
		if err := b.PauseFlow(t.Context(), "f"); err != nil {
			t.Fatal(err)
		}
		limit := &recall.FlowLimit{Parallelism: 1}
		publish(t, b, recall.Message{URL: "local:r", FlowKey: "f", Flow: limit, Queue: "q", Body: []byte("blocked")})
		publish(t, b, recall.Message{URL: "local:r", FlowKey: "f", Body: []byte("free")})
		synctest.Wait()
		if err := b.PauseQueue(t.Context(), "q"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := b.ResumeFlow(t.Context(), "f"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.delivered(); len(got) != 1 || got[0] != "free" {
			t.Errorf("delivered %q, want the free one", got)
		}
	})
}
