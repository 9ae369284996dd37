package recall

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// inFlight claims messages that it publishes.
func inFlight(t *testing.T, e *embedded, messages ...Message) []Lease {
	t.Helper()
	now := time.Now()
	for i := range messages {
		m := &messages[i]
		m.URL, m.Method, m.Retries, m.CreatedAt, m.DueAt = "https://api.test/", "POST", Retries(3), now, now
	}
	if _, err := e.Insert(t.Context(), messages, now); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(t.Context(), ClaimRequest{Now: now, Max: len(messages)})
	if err != nil || len(res.Leases) == 0 {
		t.Fatalf("got %d leases, %v", len(res.Leases), err)
	}
	return res.Leases
}

func delivered(t *testing.T, e *embedded, l Lease) {
	t.Helper()
	if err := e.Finish(t.Context(), l, Finish{Outcome: Delivered, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

// TestOutcomesGather: outcomes that nobody waits for share a commit.
func TestOutcomesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openInternal(t)
		leases := inFlight(t, e, make([]Message, 6)...)
		before := e.Stats().Commits
		for _, l := range leases {
			delivered(t, e, l)
			if n := e.Stats().Waiting; n == 0 {
				t.Error("an outcome is durable, and no commit was made")
			}
			time.Sleep(patienceTime / 4)
		}
		time.Sleep(patienceTime)
		synctest.Wait()
		if n := e.Stats().Commits - before; n != 2 {
			t.Errorf("%d commits, want one at the end of the first wait, and one of the second", n)
		}
		if n := e.Stats().Waiting; n != 0 {
			t.Errorf("%d outcomes are not durable", n)
		}
	})
}

// TestOutcomesHurry: as soon as somebody waits for a commit, or for what an outcome makes
// room for, no time goes by.
func TestOutcomesHurry(t *testing.T) {
	for name, c := range map[string]struct {
		messages []Message
		then     func(t *testing.T, e *embedded) error
	}{
		"a publisher": {make([]Message, 1), func(t *testing.T, e *embedded) error {
			m := Message{URL: "https://api.test/", Method: "POST", Retries: Retries(3), CreatedAt: time.Now(), DueAt: time.Now()}
			_, err := e.Insert(t.Context(), []Message{m}, time.Now())
			return err
		}},
		"a cancellation that finds nothing": {make([]Message, 1), func(t *testing.T, e *embedded) error {
			res, err := e.CancelMatching(t.Context(), CancelMatchingRequest{All: true, Now: time.Now()})
			if res.Cancelled != 0 {
				t.Errorf("cancelled %d", res.Cancelled)
			}
			return err
		}},
		"who reads the log": {make([]Message, 1), func(t *testing.T, e *embedded) error {
			synctest.Wait()
			page, err := e.Events(t.Context(), EventFilter{}, "", 1)
			if err == nil && page.Events[0].State != EventDelivered {
				t.Errorf("the newest event is %s", page.Events[0].State)
			}
			return err
		}},
		"the next of a queue": {[]Message{{Queue: "q"}, {Queue: "q"}}, func(t *testing.T, e *embedded) error {
			synctest.Wait()
			res, err := e.Claim(t.Context(), ClaimRequest{Now: time.Now(), Max: 1})
			if len(res.Leases) != 1 {
				t.Errorf("the queue gives out %d", len(res.Leases))
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := openInternal(t)
				leases := inFlight(t, e, c.messages...)
				before, began := e.Stats().Commits, time.Now()
				delivered(t, e, leases[0])
				if err := c.then(t, e); err != nil && !errors.Is(err, ErrNotCancellable) {
					t.Fatal(err)
				}
				if waited := time.Since(began); waited != 0 {
					t.Errorf("it took %v", waited)
				}
				if n := e.Stats().Commits - before; n == 0 {
					t.Error("nothing was committed")
				}
			})
		})
	}
}

// TestOutcomesAtClose: an engine that is closed does not wait for others, and loses none.
func TestOutcomesAtClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "q.db")
		open := func() *embedded {
			e, err := OpenEngine(path, &Options{Durability: SyncNever})
			if err != nil {
				t.Fatal(err)
			}
			return e.(*embedded)
		}
		e := open()
		began := time.Now()
		delivered(t, e, inFlight(t, e, make([]Message, 1)...)[0])
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v", waited)
		}
		e = open()
		if n := e.Stats().Pending; n != 0 {
			t.Errorf("%d messages are back", n)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
