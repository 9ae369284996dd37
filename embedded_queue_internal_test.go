package recall

import (
	"testing"
	"time"
)

// TestOpenedQueueIsHinted: somebody looks at states, or claims for consumers only,
// between the moment at which the end of a message opens its queue and the end of the
// commit. That brings the queue up to date, and the hint for the others comes all the same.
func TestOpenedQueueIsHinted(t *testing.T) {
	for name, look := range map[string]func(e *embedded, now time.Time) error{
		"states": func(e *embedded, now time.Time) error {
			_, err := e.Count(t.Context(), Filter{States: []State{StateReady}}, now)
			return err
		},
		"consumers": func(e *embedded, now time.Time) error {
			_, err := e.Claim(t.Context(), ClaimRequest{Now: now, Max: 1, Handlers: []string{"pull:other"}, Only: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { checkOpenedHint(t, look) })
	}
}

func checkOpenedHint(t *testing.T, look func(e *embedded, now time.Time) error) {
	e, now := openInternal(t), time.Now().Truncate(time.Millisecond)
	m := Message{URL: "https://api.test/", Method: "POST", Queue: "q", Retries: Retries(0), CreatedAt: now, DueAt: now}
	if _, err := e.Insert(t.Context(), []Message{m, m}, now); err != nil {
		t.Fatal(err)
	}
	res, err := e.Claim(t.Context(), ClaimRequest{Now: now, Max: 2})
	if err != nil || len(res.Leases) != 1 {
		t.Fatalf("claimed %d, want the first of the queue: %v", len(res.Leases), err)
	}
	takeHint(e)

	e.mu.Lock() // as a commit does before its last lock hold
	e.settleLocked(1)
	e.mu.Unlock()
	if err := look(e, now); err != nil {
		t.Fatal(err)
	}
	if err := e.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !takeHint(e) {
		t.Error("nobody is told that the second may be claimed")
	}
	if res, err = e.Claim(t.Context(), ClaimRequest{Now: now, Max: 2}); err != nil || len(res.Leases) != 1 {
		t.Errorf("claimed %d of it: %v", len(res.Leases), err)
	}
}

func takeHint(e *embedded) bool {
	select {
	case <-e.claimHint:
		return true
	default:
		return false
	}
}
