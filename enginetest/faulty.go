package enginetest

import (
	"context"
	"time"

	"github.com/recallmq/recall"
)

// Call names a method of [recall.Engine] to [Faulty].
type Call string

// The calls that [Faulty] can hold up or fail.
const (
	CallInsert         Call = "Insert"
	CallGet            Call = "Get"
	CallList           Call = "List"
	CallCount          Call = "Count"
	CallExplain        Call = "Explain"
	CallClaim          Call = "Claim"
	CallFinish         Call = "Finish"
	CallCancel         Call = "Cancel"
	CallCancelMatching Call = "CancelMatching"
	CallListDead       Call = "ListDead"
	CallDeleteDead     Call = "DeleteDead"
	CallRetryDead      Call = "RetryDead"
	CallMaintain       Call = "Maintain"
	CallClose          Call = "Close"
)

// Faulty is an engine that lets a test step in front of each call to another
// engine, to see what a broker makes of an engine that is slow, full or broken.
type Faulty struct {
	recall.Engine
	// Before is called before each call, at the same time for calls that are
	// concurrent. It may block. If it returns an error, the call returns that
	// error and does not reach the engine. It is set before the first call.
	Before func(Call) error
	// After, if it is not nil, is called after each call that reached the
	// engine, with its error, and decides what the caller sees: an error for a
	// call that did happen stands for an unknown outcome.
	After func(Call, error) error
}

func (f *Faulty) do(c Call, call func() error) error {
	if f.Before != nil {
		if err := f.Before(c); err != nil {
			return err
		}
	}
	err := call()
	if f.After != nil {
		err = f.After(c, err)
	}
	return err
}

func faulty[T any](f *Faulty, c Call, call func() (T, error)) (result T, err error) {
	err = f.do(c, func() (err error) {
		result, err = call()
		return err
	})
	return result, err
}

// Insert implements [recall.Engine].
func (f *Faulty) Insert(ctx context.Context, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	return faulty(f, CallInsert, func() ([]recall.Receipt, error) { return f.Engine.Insert(ctx, msgs, now) })
}

// Get implements [recall.Engine].
func (f *Faulty) Get(ctx context.Context, id recall.MessageID, now time.Time) (recall.Message, error) {
	return faulty(f, CallGet, func() (recall.Message, error) { return f.Engine.Get(ctx, id, now) })
}

// List implements [recall.Engine].
func (f *Faulty) List(ctx context.Context, filter recall.Filter, after recall.MessageID, limit int, now time.Time) ([]recall.Message, error) {
	return faulty(f, CallList, func() ([]recall.Message, error) { return f.Engine.List(ctx, filter, after, limit, now) })
}

// Count implements [recall.Engine].
func (f *Faulty) Count(ctx context.Context, filter recall.Filter, now time.Time) (recall.Count, error) {
	return faulty(f, CallCount, func() (recall.Count, error) { return f.Engine.Count(ctx, filter, now) })
}

// Explain implements [recall.Engine].
func (f *Faulty) Explain(ctx context.Context, filter recall.Filter, now time.Time) (recall.Plan, error) {
	return faulty(f, CallExplain, func() (recall.Plan, error) { return f.Engine.Explain(ctx, filter, now) })
}

// Claim implements [recall.Engine].
func (f *Faulty) Claim(ctx context.Context, req recall.ClaimRequest) (recall.ClaimResult, error) {
	return faulty(f, CallClaim, func() (recall.ClaimResult, error) { return f.Engine.Claim(ctx, req) })
}

// Finish implements [recall.Engine].
func (f *Faulty) Finish(ctx context.Context, l recall.Lease, end recall.Finish) error {
	return f.do(CallFinish, func() error { return f.Engine.Finish(ctx, l, end) })
}

// Cancel implements [recall.Engine].
func (f *Faulty) Cancel(ctx context.Context, req recall.CancelRequest) error {
	return f.do(CallCancel, func() error { return f.Engine.Cancel(ctx, req) })
}

// CancelMatching implements [recall.Engine].
func (f *Faulty) CancelMatching(ctx context.Context, req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	return faulty(f, CallCancelMatching, func() (recall.CancelResult, error) { return f.Engine.CancelMatching(ctx, req) })
}

// ListDead implements [recall.Engine].
func (f *Faulty) ListDead(ctx context.Context, filter recall.Filter, after recall.DeadLetterID, limit int) ([]recall.DeadLetter, error) {
	return faulty(f, CallListDead, func() ([]recall.DeadLetter, error) { return f.Engine.ListDead(ctx, filter, after, limit) })
}

// DeleteDead implements [recall.Engine].
func (f *Faulty) DeleteDead(ctx context.Context, ids []recall.DeadLetterID) (int, error) {
	return faulty(f, CallDeleteDead, func() (int, error) { return f.Engine.DeleteDead(ctx, ids) })
}

// RetryDead implements [recall.Engine].
func (f *Faulty) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	return faulty(f, CallRetryDead, func() ([]recall.Receipt, error) { return f.Engine.RetryDead(ctx, ids, now) })
}

// DeleteDeadMatching implements [recall.Engine]. It counts as a [CallDeleteDead].
func (f *Faulty) DeleteDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	return faulty(f, CallDeleteDead, func() (int, error) { return f.Engine.DeleteDeadMatching(ctx, req) })
}

// RetryDeadMatching implements [recall.Engine]. It counts as a [CallRetryDead].
func (f *Faulty) RetryDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	return faulty(f, CallRetryDead, func() (int, error) { return f.Engine.RetryDeadMatching(ctx, req) })
}

// Maintain implements [recall.Engine].
func (f *Faulty) Maintain(ctx context.Context, now time.Time) (time.Time, error) {
	return faulty(f, CallMaintain, func() (time.Time, error) { return f.Engine.Maintain(ctx, now) })
}

// Close implements [recall.Engine].
func (f *Faulty) Close() error { return f.do(CallClose, f.Engine.Close) }
