package recall

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/store"
)

// backedUp opens a copy of what an engine has in its file.
func backedUp(t *testing.T, e *embedded) *embedded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Backup(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := OpenEngine(path, &Options{Durability: SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.(*embedded)
}

// busyCommit keeps the committer, as a slow disk does.
type busyCommit struct{ begun, goOn chan struct{} }

func (busyCommit) bound() store.Bound { return store.Bound{Rows: 1, Bytes: 1, Essential: true} }
func (w busyCommit) write(*turn) error {
	close(w.begun)
	<-w.goOn
	return nil
}
func (busyCommit) apply(*embedded) {}

// TestClaimBehindItsRetry: a message that is claimed again before its retry is durable has
// used up both attempts after a crash, and its log has them in their order.
func TestClaimBehindItsRetry(t *testing.T) {
	for name, while := range map[string]func(t *testing.T, e *embedded, do func()){
		"a commit": func(t *testing.T, e *embedded, do func()) {
			w, done := busyCommit{make(chan struct{}), make(chan struct{})}, make(chan error)
			go func() { done <- e.submit(t.Context(), w) }()
			<-w.begun
			do()
			close(w.goOn)
			if err := <-done; err != nil {
				t.Error(err)
			}
		},
		"Update": func(t *testing.T, e *embedded, do func()) {
			err := e.Update(t.Context(), func(tx EngineTx) error {
				do()
				b, err := tx.Bucket("x")
				if err != nil {
					return err
				}
				return b.Put([]byte("a"), []byte("b"))
			})
			if err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := openInternal(t)
			l := inFlight(t, e, Message{})[0]
			now := time.Now()
			while(t, e, func() {
				retry := Finish{Outcome: Retry, Failure: FailureHandler, Now: now, Due: now}
				if err := e.Finish(t.Context(), l, retry); err != nil {
					t.Fatal(err)
				}
				res, err := e.Claim(t.Context(), ClaimRequest{Now: now, Max: 1})
				if err != nil || len(res.Leases) != 1 || res.Leases[0].Message.Attempts != 2 {
					t.Fatalf("got %+v, %v", res, err)
				}
			})
			if _, err := e.Maintain(t.Context(), now.Add(2*noteAfter)); err != nil {
				t.Fatal(err)
			}
			checkTwoAttempts(t, backedUp(t, e), now)
			if len(e.retrying)+len(e.notes) > 0 {
				t.Errorf("%d retries and %d notes are left", len(e.retrying), len(e.notes))
			}
		})
	}
}

func checkTwoAttempts(t *testing.T, e *embedded, now time.Time) {
	t.Helper()
	list, err := e.List(t.Context(), Filter{}, "", 9, now)
	if err != nil || len(list) != 1 || list[0].Attempts != 2 {
		t.Errorf("after a crash: %+v, %v", list, err)
	}
	page, err := e.Events(t.Context(), EventFilter{OldestFirst: true}, "", 99)
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	for _, ev := range page.Events {
		log = append(log, fmt.Sprint(ev.State, " ", ev.Attempt))
	}
	if got := strings.ToLower(strings.Join(log, ", ")); got != "created 0, active 1, error 1, retry 1, active 2" {
		t.Errorf("the log: %s", got)
	}
}

// TestBackupHasOutcomes: what is gone for whoever asks is so in a copy that is made then.
func TestBackupHasOutcomes(t *testing.T) {
	e := openInternal(t)
	for _, l := range inFlight(t, e, make([]Message, 20)...) {
		delivered(t, e, l)
	}
	for !e.gathering.Load() {
		time.Sleep(0)
		if e.Stats().Waiting == 0 {
			t.Skip("they were committed meanwhile")
		}
	}
	if n := backedUp(t, e).Stats().Pending; n != 0 {
		t.Errorf("the copy has %d messages that were delivered", n)
	}
}

// TestAnsweredIsNotWaiting: of what its caller was told is durable, nothing is counted as
// waiting; nor is who only waits for others.
func TestAnsweredIsNotWaiting(t *testing.T) {
	e := openInternal(t)
	w, done := busyCommit{make(chan struct{}), make(chan struct{})}, make(chan error)
	go func() { done <- e.submit(t.Context(), w) }()
	<-w.begun
	const callers = 500
	told := make(chan int)
	for range callers {
		go func() {
			now := time.Now()
			_, err := e.Insert(t.Context(), []Message{{URL: "https://api.test/", Method: "POST", Retries: Retries(3), CreatedAt: now, DueAt: now}}, now)
			if err != nil {
				t.Error(err)
			}
			told <- e.Stats().Waiting
		}()
	}
	for len(e.queue) < callers {
		time.Sleep(0)
	}
	go func() { done <- e.flush(t.Context()) }()
	for len(e.queue) < callers+1 {
		time.Sleep(0)
	}
	if n := e.Stats().Waiting; n != callers+1 {
		t.Errorf("%d changes wait, want %d and the commit under way", n, callers)
	}
	close(w.goOn)
	for range callers {
		if n := <-told; n != 0 {
			t.Fatalf("%d changes wait when a caller was told", n)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
