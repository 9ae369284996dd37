package recall

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall/store"
)

// TestDeadLettersGivenBack: what one call has taken and gives back, because it was
// refused, is neither passed over nor missing from the number of another.
func TestDeadLettersGivenBack(t *testing.T) {
	for name, call := range map[string]func(*embedded, []DeadLetterID) (int, error){
		"by id": func(e *embedded, ids []DeadLetterID) (int, error) { return e.DeleteDead(context.Background(), ids) },
		"by filter": func(e *embedded, _ []DeadLetterID) (int, error) {
			return e.DeleteDeadMatching(context.Background(), DeadMatchingRequest{Guard: Guard{Set: true, Least: 3, Most: 3}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, ids := engineWithDead(t, 3)
				taken, err := e.takeDead(t.Context(), ids[1:2])
				if err != nil || len(taken.seqs) != 1 {
					t.Fatalf("takeDead: got %v, %v", taken.seqs, err)
				}
				done := false
				go func() {
					defer func() { done = true }()
					if n, err := call(e, ids); n != 3 || err != nil {
						t.Errorf("got %d, %v, want 3", n, err)
					}
				}()
				synctest.Wait()
				if done {
					t.Error("the call did not wait for the other")
				}
				taken.settle(e, store.ErrFull)
				synctest.Wait()
				if !done {
					t.Error("the call still waits")
				}
			})
		})
	}
}

// engineWithDead returns an engine with n dead letters and nothing else.
func engineWithDead(t *testing.T, n int) (*embedded, []DeadLetterID) {
	t.Helper()
	e, now := openInternal(t), time.Now()
	m := Message{URL: "https://api.test/", Method: "POST", Retries: Retries(0), CreatedAt: now, DueAt: now}
	if _, err := e.Insert(t.Context(), slices.Repeat([]Message{m}, n), now); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(t.Context(), ClaimRequest{Now: now, Max: n})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range res.Leases {
		if err := e.Finish(t.Context(), l, Finish{Outcome: Dead, Now: now, Durable: true}); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := e.DeadIDs(t.Context(), Filter{}, "", n+1)
	if err != nil || len(ids) != n {
		t.Fatalf("DeadIDs: got %v, %v, want %d", ids, err, n)
	}
	return e, ids
}
