package admin

import (
	"context"
	"iter"

	"github.com/recallmq/recall"
)

// DeadLetters is [recall.Broker.DeadLetters] behind an entry, at most limit of them; 0
// is all.
func (c *Client) DeadLetters(ctx context.Context, f recall.Filter, after recall.DeadLetterID, limit int) iter.Seq2[recall.DeadLetter, error] {
	q := list{page{string(after), limit}, f}
	return each(ctx, c, "dlq/list", q, func(d DeadLetter) (recall.DeadLetter, error) { return d.deadLetter(), nil })
}

// CountDeadLetters returns how many dead letters match f; a zero Filter counts all.
// It reads them, so it takes its time where there are many.
func (c *Client) CountDeadLetters(ctx context.Context, f recall.Filter) (int, error) {
	n, err := ask[number](ctx, c, "dlq/count", byFilter{f})
	return n.Count, err
}

// DeadLetter is [recall.Broker.DeadLetter].
func (c *Client) DeadLetter(ctx context.Context, id recall.DeadLetterID) (recall.DeadLetter, error) {
	d, err := ask[DeadLetter](ctx, c, "dlq/get", byID[recall.DeadLetterID]{id})
	return d.deadLetter(), err
}

// DeleteDeadLetters is [recall.Broker.DeleteDeadLetters].
func (c *Client) DeleteDeadLetters(ctx context.Context, ids ...recall.DeadLetterID) (int, error) {
	return c.dead(ctx, "dlq/delete", dead{IDs: ids})
}

// DeleteDeadMatching is [recall.Broker.DeleteDeadMatching], which takes a Limit and the
// expectations of how. With all, the Filter is to be zero, and every entry matches.
func (c *Client) DeleteDeadMatching(ctx context.Context, f recall.Filter, all bool, how Bulk) (int, error) {
	return c.dead(ctx, "dlq/delete", dead{Filter: f, All: all, Bulk: how})
}

// RetryDeadLetters is [recall.Broker.RetryDeadLetters]; it returns how many there were.
func (c *Client) RetryDeadLetters(ctx context.Context, ids ...recall.DeadLetterID) (int, error) {
	return c.dead(ctx, "dlq/retry", dead{IDs: ids})
}

// RetryDeadMatching is [recall.Broker.RetryDeadMatching], as
// [Client.DeleteDeadMatching] has it.
func (c *Client) RetryDeadMatching(ctx context.Context, f recall.Filter, all bool, how Bulk) (int, error) {
	return c.dead(ctx, "dlq/retry", dead{Filter: f, All: all, Bulk: how})
}

func (c *Client) dead(ctx context.Context, name string, q dead) (int, error) {
	n, err := ask[number](ctx, c, name, q)
	return n.Count, err
}

// Queues is [recall.Broker.Queues].
func (c *Client) Queues(ctx context.Context) ([]recall.QueueInfo, error) {
	return collect(each(ctx, c, "queues/list", nothing{}, func(q Queue) (recall.QueueInfo, error) { return q.queue(), nil }))
}

// Queue is [recall.Broker.Queue].
func (c *Client) Queue(ctx context.Context, name string) (recall.QueueInfo, error) {
	q, err := ask[Queue](ctx, c, "queues/get", byName{name})
	return q.queue(), err
}

// UpdateQueue is [recall.Broker.UpdateQueue].
func (c *Client) UpdateQueue(ctx context.Context, name string, u recall.QueueUpdate) error {
	return c.tell(ctx, "queues/set", setQueue{name, u.Parallelism, u.Paused})
}

// PauseQueue is [recall.Broker.PauseQueue].
func (c *Client) PauseQueue(ctx context.Context, name string) error {
	return c.tell(ctx, "queues/pause", byName{name})
}

// ResumeQueue is [recall.Broker.ResumeQueue].
func (c *Client) ResumeQueue(ctx context.Context, name string) error {
	return c.tell(ctx, "queues/resume", byName{name})
}

// DeleteQueue is [recall.Broker.DeleteQueue].
func (c *Client) DeleteQueue(ctx context.Context, name string) error {
	return c.tell(ctx, "queues/delete", byName{name})
}

// CancelQueue is [recall.Broker.CancelQueue].
func (c *Client) CancelQueue(ctx context.Context, name string, how Bulk) (recall.CancelResult, error) {
	r, err := ask[CancelResult](ctx, c, "queues/cancel", cancelQueue{name, how})
	return recall.CancelResult(r), err
}

// Topics is [recall.Broker.Topics].
func (c *Client) Topics(ctx context.Context) ([]recall.Topic, error) {
	return collect(each(ctx, c, "topics/list", nothing{}, func(t Topic) (recall.Topic, error) { return recall.Topic(t), nil }))
}

// Topic is [recall.Broker.Topic].
func (c *Client) Topic(ctx context.Context, name string) (recall.Topic, error) {
	t, err := ask[Topic](ctx, c, "topics/get", byName{name})
	return recall.Topic(t), err
}

// AddEndpoints is [recall.Broker.AddEndpoints].
func (c *Client) AddEndpoints(ctx context.Context, topic string, list ...recall.Endpoint) (recall.Topic, error) {
	t, err := ask[Topic](ctx, c, "topics/add", endpoints{topic, list})
	return recall.Topic(t), err
}

// RemoveEndpoints is [recall.Broker.RemoveEndpoints].
func (c *Client) RemoveEndpoints(ctx context.Context, topic string, list ...recall.Endpoint) (recall.Topic, error) {
	t, err := ask[Topic](ctx, c, "topics/remove", endpoints{topic, list})
	return recall.Topic(t), err
}

// DeleteTopic is [recall.Broker.DeleteTopic].
func (c *Client) DeleteTopic(ctx context.Context, topic string) error {
	return c.tell(ctx, "topics/delete", byName{topic})
}

// Schedules is [recall.Broker.Schedules].
func (c *Client) Schedules(ctx context.Context) ([]recall.Schedule, error) {
	return collect(each(ctx, c, "schedules/list", nothing{}, Schedule.schedule))
}

// Schedule is [recall.Broker.Schedule].
func (c *Client) Schedule(ctx context.Context, id string) (recall.Schedule, error) {
	return c.schedule(ctx, "schedules/get", byID[string]{id})
}

// SetSchedule is [recall.Broker.SetSchedule].
func (c *Client) SetSchedule(ctx context.Context, s recall.Schedule) (recall.Schedule, error) {
	return c.schedule(ctx, "schedules/set", setSchedule{WireSchedule(s)})
}

func (c *Client) schedule(ctx context.Context, name string, q any) (recall.Schedule, error) {
	s, err := ask[Schedule](ctx, c, name, q)
	if err != nil {
		return recall.Schedule{}, err
	}
	return s.schedule()
}

// PauseSchedule is [recall.Broker.PauseSchedule].
func (c *Client) PauseSchedule(ctx context.Context, id string) error {
	return c.tell(ctx, "schedules/pause", byID[string]{id})
}

// ResumeSchedule is [recall.Broker.ResumeSchedule].
func (c *Client) ResumeSchedule(ctx context.Context, id string) error {
	return c.tell(ctx, "schedules/resume", byID[string]{id})
}

// DeleteSchedule is [recall.Broker.DeleteSchedule].
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	return c.tell(ctx, "schedules/delete", byID[string]{id})
}

// FlowKeys is [recall.Broker.FlowKeys].
func (c *Client) FlowKeys(ctx context.Context) ([]recall.FlowState, error) {
	return collect(each(ctx, c, "flow/list", nothing{}, func(k FlowKey) (recall.FlowState, error) { return recall.FlowState(k), nil }))
}

// FlowKey is [recall.Broker.FlowKey].
func (c *Client) FlowKey(ctx context.Context, key string) (recall.FlowState, error) {
	k, err := ask[FlowKey](ctx, c, "flow/get", byName{key})
	return recall.FlowState(k), err
}

// PinFlow is [recall.Broker.PinFlow].
func (c *Client) PinFlow(ctx context.Context, key string, limit recall.FlowLimit, parts ...recall.FlowPart) error {
	return c.tell(ctx, "flow/pin", pin{key, limit, partNames(parts)})
}

// UnpinFlow is [recall.Broker.UnpinFlow].
func (c *Client) UnpinFlow(ctx context.Context, key string, parts ...recall.FlowPart) error {
	return c.tell(ctx, "flow/unpin", pin{Name: key, Parts: partNames(parts)})
}

// PauseFlow is [recall.Broker.PauseFlow].
func (c *Client) PauseFlow(ctx context.Context, key string) error {
	return c.tell(ctx, "flow/pause", byName{key})
}

// ResumeFlow is [recall.Broker.ResumeFlow].
func (c *Client) ResumeFlow(ctx context.Context, key string) error {
	return c.tell(ctx, "flow/resume", byName{key})
}

// ResetFlow is [recall.Broker.ResetFlow].
func (c *Client) ResetFlow(ctx context.Context, key string) error {
	return c.tell(ctx, "flow/reset", byName{key})
}
