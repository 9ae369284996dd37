package admin

import (
	"context"
	"time"

	"github.com/recallmq/recall"
)

var cancelCalls = map[string]call{
	"cancel":     one(false, doCancel),
	"cancel-one": done(doCancelOne),
	"restore": one(false, func(ctx context.Context, h *handler, q *byID[recall.OperationID]) (RestoreResult, error) {
		r, err := h.b.Restore(ctx, q.ID)
		return RestoreResult(r), err
	}),
	"hold":       one(false, changes((*recall.Broker).Hold)),
	"release":    one(false, changes((*recall.Broker).Release)),
	"retry-now":  one(false, changes((*recall.Broker).RetryNow)),
	"reschedule": one(false, doReschedule),
}

// Bulk says how a bulk call goes about what it meets. The zero Bulk is the call
// without options.
type Bulk struct {
	// Policy is the name of a [recall.Policy]: "stop", "skip", "sticky" or "abort";
	// "" is the default of the call. Wait is [recall.Wait], which is a policy too.
	Policy string        `json:"policy,omitempty"`
	Wait   time.Duration `json:"wait,omitempty"`
	// Limit, if it is not 0, takes the oldest so many.
	Limit int `json:"limit,omitempty"`
	// ExpectExactly and ExpectAtMost refuse another number of matches that are pending,
	// or dead letters.
	ExpectExactly *int `json:"expectExactly,omitempty"`
	ExpectAtMost  *int `json:"expectAtMost,omitempty"`
	// DryRun only looks.
	DryRun bool `json:"dryRun,omitempty"`
	// Reason is kept with the record.
	Reason string `json:"reason,omitempty"`
}

// options are those of the library.
func (k *Bulk) options() (opts []recall.CancelOption, err error) {
	if k.Policy != "" {
		p, err := policyOf(k.Policy)
		if err != nil {
			return nil, err
		}
		opts = append(opts, p)
	}
	if k.Wait != 0 {
		opts = append(opts, recall.Wait(k.Wait))
	}
	if k.Limit != 0 {
		opts = append(opts, recall.Limit(k.Limit))
	}
	if k.ExpectExactly != nil {
		opts = append(opts, recall.ExpectExactly(*k.ExpectExactly))
	}
	if k.ExpectAtMost != nil {
		opts = append(opts, recall.ExpectAtMost(*k.ExpectAtMost))
	}
	if k.DryRun {
		opts = append(opts, recall.DryRun())
	}
	if k.Reason != "" {
		opts = append(opts, recall.Reason(k.Reason))
	}
	return opts, nil
}

func policyOf(name string) (recall.Policy, error) {
	for _, p := range []recall.Policy{recall.Stop, recall.Sticky, recall.Skip, recall.Abort} {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, &recall.InvalidError{Field: "Policy", Reason: "it is neither stop, skip, sticky nor abort"}
}

// cancel is the request for CancelMatching, and with All for CancelAll.
type cancel struct {
	Bulk
	Filter recall.Filter `json:"filter,omitzero"`
	All    bool          `json:"all,omitempty"`
}

func doCancel(ctx context.Context, h *handler, q *cancel) (CancelResult, error) {
	opts, err := q.options()
	if err != nil {
		return CancelResult{}, err
	}
	if !q.All {
		r, err := h.b.CancelMatching(ctx, q.Filter, opts...)
		return CancelResult(r), err
	}
	if !q.Filter.IsZero() {
		return CancelResult{}, badRequest("there is a filter, and all")
	}
	r, err := h.b.CancelAll(ctx, opts...)
	return CancelResult(r), err
}

// cancelOne is the request for Cancel.
type cancelOne struct {
	ID recall.MessageID `json:"id"`
	Bulk
}

func doCancelOne(ctx context.Context, b *recall.Broker, q *cancelOne) error {
	opts, err := q.options()
	if err != nil {
		return err
	}
	return b.Cancel(ctx, q.ID, opts...)
}

// change is the request for the other bulk calls.
type change struct {
	Bulk
	Filter recall.Filter `json:"filter,omitzero"`
}

type changer = func(*recall.Broker, context.Context, recall.Filter, ...recall.CancelOption) (recall.ChangeResult, error)

func changes(do changer) func(context.Context, *handler, *change) (ChangeResult, error) {
	return func(ctx context.Context, h *handler, q *change) (ChangeResult, error) {
		opts, err := q.options()
		if err != nil {
			return ChangeResult{}, err
		}
		r, err := do(h.b, ctx, q.Filter, opts...)
		return ChangeResult(r), err
	}
}

// reschedule is the request for Reschedule.
type reschedule struct {
	change
	Due time.Time `json:"due"`
}

func doReschedule(ctx context.Context, h *handler, q *reschedule) (ChangeResult, error) {
	opts, err := q.options()
	if err != nil {
		return ChangeResult{}, err
	}
	r, err := h.b.Reschedule(ctx, q.Filter, q.Due, opts...)
	return ChangeResult(r), err
}
