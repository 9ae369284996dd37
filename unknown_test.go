package recall_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// unsureEngine does not know, once each, whether a claim and a change of objects were
// made.
type unsureEngine struct {
	*enginetest.Reference
	claimed, applied bool
}

func unsure() error { return &recall.UnknownError{Err: errors.New("the line is dead")} }

func (e *unsureEngine) Claim(ctx context.Context, req recall.ClaimRequest) (recall.ClaimResult, error) {
	if !e.claimed {
		e.claimed = true
		return recall.ClaimResult{}, unsure()
	}
	return e.Reference.Claim(ctx, req)
}

func (e *unsureEngine) Apply(ctx context.Context, c recall.Change) ([]recall.Receipt, error) {
	if len(c.Messages) > 0 && !e.applied { // a schedule's
		e.applied = true
		return nil, unsure()
	}
	return e.Reference.Apply(ctx, c)
}

// TestUnknownOutcome has a broker go on when its engine does, though an outcome is
// unknown: it delivers, and follows schedules.
func TestUnknownOutcome(t *testing.T) {
	if err := unsure(); !errors.Is(err, recall.ErrFailed) {
		t.Errorf("%v is no ErrFailed", err)
	}
	synctest.Test(t, func(t *testing.T) {
		e := &unsureEngine{Reference: enginetest.NewReference()}
		b, err := recall.New(e, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(context.Background())
		delivered := make(chan struct{})
		err = b.Handle("local:job", func(context.Context, *recall.Delivery) error {
			delivered <- struct{}{}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		setSchedule(t, b, recall.Schedule{ID: "s", Cron: "* * * * *", Message: recall.Message{URL: "local:job"}})
		for range 3 {
			<-delivered
		}
		synctest.Wait()
		if !e.claimed || !e.applied {
			t.Error("every outcome was known")
		}
	})
}
