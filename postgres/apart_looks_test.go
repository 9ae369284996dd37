package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestRoomsOpenBesideUpdate: what a transaction of the program has made room for is claimed
// though somebody publishes for long.
func TestRoomsOpenBesideUpdate(t *testing.T) {
	e, pool, _ := openPool(t)
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	head, next := message("x"), message("y")
	head.Queue, next.Queue = "q", "q"
	head.DueAt = base.Add(time.Hour)
	if _, err := e.Insert(t.Context(), []recall.Message{head, next}, base); err != nil {
		t.Fatal(err)
	}
	claim := func() int {
		res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: base, Max: 9})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.Leases)
	}
	if n := claim(); n != 0 {
		t.Fatalf("%d messages were claimed past the first of their queue", n)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.CancelMatchingTx(t.Context(), b, tx, recall.Filter{Labels: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = e.Update(t.Context(), func(recall.EngineTx) error {
		if n := claim(); n != 1 {
			t.Errorf("%d messages are claimed", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFinishBesideUpdates: attempts end while programs take their time in transactions.
func TestFinishBesideUpdates(t *testing.T) {
	e, _ := openSmall(t, 4)
	lost := publishAndClaim(t, e, message("a"))[0]
	lost.Token.Number++
	begun, goOn, done := make(chan struct{}, 4), make(chan struct{}), make(chan error)
	for range 4 {
		go func() {
			done <- e.Update(context.WithoutCancel(t.Context()), func(recall.EngineTx) error { begun <- struct{}{}; <-goOn; return nil })
		}()
	}
	<-begun
	ended := make(chan error, 1)
	go func() {
		ended <- e.Finish(context.WithoutCancel(t.Context()), lost, recall.Finish{Outcome: recall.Delivered, Now: base})
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, recall.ErrLeaseLost) {
			t.Errorf("got %v", err)
		}
		ended <- err
	case <-time.After(soon):
		t.Error("it waits for those transactions")
	}
	close(goOn)
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	<-ended
}

// TestReservedScheduleTime: a change whose message has a deduplication id that a transaction
// of the program reserves fails after a while, instead of holding up everybody for ever.
func TestReservedScheduleTime(t *testing.T) {
	e, pool, _ := openPool(t)
	b, err := recall.New(e, &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := message("a")
	m.DeduplicationID = "id"
	if _, err := e.PublishTx(t.Context(), b, tx, recall.Message{URL: m.URL, DeduplicationID: m.DeduplicationID}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := e.Apply(ctx, recall.Change{Messages: []recall.Message{m}, Now: base})
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it was published twice")
		}
	case <-time.After(soon):
		t.Error("it tries for ever")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}
