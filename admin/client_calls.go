package admin

import (
	"context"
	"iter"
	"time"

	"github.com/recallmq/recall"
)

// Count is [recall.Broker.Count].
func (c *Client) Count(ctx context.Context, f recall.Filter) (recall.Count, error) {
	n, err := ask[Count](ctx, c, "count", byFilter{f})
	return recall.Count(n), err
}

// Explain is [recall.Broker.Explain].
func (c *Client) Explain(ctx context.Context, f recall.Filter) (recall.Plan, error) {
	p, err := ask[Plan](ctx, c, "explain", byFilter{f})
	return p.plan(), err
}

// Get is [recall.Broker.Get].
func (c *Client) Get(ctx context.Context, id recall.MessageID) (recall.Message, error) {
	m, err := ask[Message](ctx, c, "get", byID[recall.MessageID]{id})
	return recall.Message(m), err
}

// List is [recall.Broker.ListAfter], of at most limit messages; 0 is all of them.
func (c *Client) List(ctx context.Context, f recall.Filter, after recall.MessageID, limit int) iter.Seq2[recall.Message, error] {
	q := list{page{string(after), limit}, f}
	return each(ctx, c, "list", q, func(m Message) (recall.Message, error) { return recall.Message(m), nil })
}

// Publish is [recall.Broker.PublishMixed].
func (c *Client) Publish(ctx context.Context, messages ...recall.Message) ([][]recall.TopicReceipt, error) {
	q := publish{Messages: []Message{}}
	for _, m := range messages {
		q.Messages = append(q.Messages, Message(m))
	}
	p, err := ask[published](ctx, c, "publish", q)
	if err != nil {
		return nil, err
	}
	var lists [][]recall.TopicReceipt
	for _, list := range p.Receipts {
		var receipts []recall.TopicReceipt
		for _, r := range list {
			receipts = append(receipts, r.receipt())
		}
		lists = append(lists, receipts)
	}
	return lists, nil
}

// Stats is [recall.Broker.Stats].
func (c *Client) Stats(ctx context.Context) (recall.Stats, error) {
	s, err := ask[Stats](ctx, c, "stats", nothing{})
	return recall.Stats(s), err
}

// Cancel is [recall.Broker.Cancel].
func (c *Client) Cancel(ctx context.Context, id recall.MessageID, how Bulk) error {
	return c.tell(ctx, "cancel-one", cancelOne{id, how})
}

// CancelMatching is [recall.Broker.CancelMatching]. With an error the result says what
// was cancelled all the same.
func (c *Client) CancelMatching(ctx context.Context, f recall.Filter, how Bulk) (recall.CancelResult, error) {
	return c.cancel(ctx, cancel{Bulk: how, Filter: f})
}

// CancelAll is [recall.Broker.CancelAll].
func (c *Client) CancelAll(ctx context.Context, how Bulk) (recall.CancelResult, error) {
	return c.cancel(ctx, cancel{Bulk: how, All: true})
}

func (c *Client) cancel(ctx context.Context, q cancel) (recall.CancelResult, error) {
	r, err := ask[CancelResult](ctx, c, "cancel", q)
	return recall.CancelResult(r), err
}

// Restore is [recall.Broker.Restore].
func (c *Client) Restore(ctx context.Context, op recall.OperationID) (recall.RestoreResult, error) {
	r, err := ask[RestoreResult](ctx, c, "restore", byID[recall.OperationID]{op})
	return recall.RestoreResult(r), err
}

// Hold is [recall.Broker.Hold].
func (c *Client) Hold(ctx context.Context, f recall.Filter, how Bulk) (recall.ChangeResult, error) {
	return c.change(ctx, "hold", change{how, f})
}

// Release is [recall.Broker.Release].
func (c *Client) Release(ctx context.Context, f recall.Filter, how Bulk) (recall.ChangeResult, error) {
	return c.change(ctx, "release", change{how, f})
}

// RetryNow is [recall.Broker.RetryNow].
func (c *Client) RetryNow(ctx context.Context, f recall.Filter, how Bulk) (recall.ChangeResult, error) {
	return c.change(ctx, "retry-now", change{how, f})
}

// Reschedule is [recall.Broker.Reschedule].
func (c *Client) Reschedule(ctx context.Context, f recall.Filter, due time.Time, how Bulk) (recall.ChangeResult, error) {
	return c.change(ctx, "reschedule", reschedule{change{how, f}, due})
}

func (c *Client) change(ctx context.Context, name string, q any) (recall.ChangeResult, error) {
	r, err := ask[ChangeResult](ctx, c, name, q)
	return recall.ChangeResult(r), err
}

// Cancellations is [recall.Broker.Cancellations] behind an operation, of at most limit
// records; 0 is all of them.
func (c *Client) Cancellations(ctx context.Context, after recall.OperationID, limit int) iter.Seq2[recall.Operation, error] {
	q := listAll{page{string(after), limit}}
	return each(ctx, c, "cancellations", q, func(o Operation) (recall.Operation, error) { return o.operation(), nil })
}

// Operation is [recall.Broker.Operation].
func (c *Client) Operation(ctx context.Context, id recall.OperationID) (recall.Operation, error) {
	o, err := ask[Operation](ctx, c, "operation", byID[recall.OperationID]{id})
	return o.operation(), err
}

// WhoCancelled is [recall.Broker.WhoCancelled].
func (c *Client) WhoCancelled(ctx context.Context, id recall.MessageID) (recall.Operation, error) {
	o, err := ask[Operation](ctx, c, "who-cancelled", byID[recall.MessageID]{id})
	return o.operation(), err
}

// StandingCancellations is [recall.Broker.StandingCancellations].
func (c *Client) StandingCancellations(ctx context.Context) ([]recall.StandingCancellation, error) {
	return collect(each(ctx, c, "standing", nothing{}, func(s Standing) (recall.StandingCancellation, error) {
		return recall.StandingCancellation(s), nil
	}))
}

// CancelFuture is [recall.Broker.CancelFuture].
func (c *Client) CancelFuture(ctx context.Context, f recall.Filter, until time.Time, reason string) (recall.OperationID, error) {
	op, err := ask[byID[recall.OperationID]](ctx, c, "cancel-future", cancelFuture{f, until, reason})
	return op.ID, err
}

// LiftCancellation is [recall.Broker.LiftCancellation].
func (c *Client) LiftCancellation(ctx context.Context, op recall.OperationID) error {
	return c.tell(ctx, "lift", byID[recall.OperationID]{op})
}

// Events is [recall.Broker.Events] behind an event, at most limit of them; 0 is all.
func (c *Client) Events(ctx context.Context, f recall.EventFilter, after recall.EventID, limit int) iter.Seq2[recall.Event, error] {
	return each(ctx, c, "events", events{page{string(after), limit}, f}, plainEvent)
}

// MessageEvents is [recall.Broker.MessageEvents].
func (c *Client) MessageEvents(ctx context.Context, id recall.MessageID) ([]recall.Event, error) {
	return collect(each(ctx, c, "events/message", messageEvents{id}, plainEvent))
}

func plainEvent(e Event) (recall.Event, error) { return recall.Event(e), nil }
