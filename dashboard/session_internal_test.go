package dashboard

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// TestSessionsAreBounded: the session that ends first gives way, after those that
// have ended.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := recall.New(enginetest.NewReference(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(t.Context())
		var s sessions
		at := newSite(User{Broker: b})
		begin := func(after time.Duration) string {
			return s.begin(session{site: at, ends: time.Now().Add(after)}, time.Now())
		}
		first := begin(time.Hour)
		for range maxSessions - 1 {
			begin(2 * time.Hour)
		}
		if _, ok := s.find(first); !ok {
			t.Fatal("a session was forgotten before there were too many")
		}
		last := begin(3 * time.Hour)
		if _, ok := s.find(first); ok || len(s.all) != maxSessions {
			t.Errorf("%d sessions are kept, the first of them: %v", len(s.all), ok)
		}
		time.Sleep(2 * time.Hour)
		begin(time.Hour)
		if _, ok := s.find(last); !ok || len(s.all) != 2 {
			t.Errorf("%d sessions are kept after the others have ended, want 2", len(s.all))
		}
	})
}
