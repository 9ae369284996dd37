package recalltest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/recallmq/recall"
)

// StateQueue is a queue of a [State].
type StateQueue struct {
	Name        string `json:"name"`
	Parallelism int    `json:"parallelism,omitempty"` // default 1
	Paused      bool   `json:"paused,omitempty"`
}

// StateTopic is a topic, a URL group, of a [State].
type StateTopic struct {
	Name      string            `json:"name"`
	Endpoints []recall.Endpoint `json:"endpoints"`
	// Defaults are headers that a message takes which does not bring them.
	Defaults http.Header `json:"defaults,omitempty"`
}

// StateFlowKey is what is set of a flow-control key of a [State].
type StateFlowKey struct {
	Key               string      `json:"key"`
	Limit             *StateLimit `json:"limit,omitempty"`
	PinnedRate        bool        `json:"pinnedRate,omitempty"`
	PinnedParallelism bool        `json:"pinnedParallelism,omitempty"`
	Paused            bool        `json:"paused,omitempty"`
}

// StateSchedule is a schedule of a [State].
type StateSchedule struct {
	ID      string       `json:"id"`
	Cron    string       `json:"cron"`
	Message StateMessage `json:"message"`
	CatchUp string       `json:"catchUp,omitempty"` // "one", the default, "none" or "all"
	Paused  bool         `json:"paused,omitempty"`
	Next    time.Time    `json:"next,omitzero"` // written only
}

// StateStanding is a standing cancellation of a [State].
type StateStanding struct {
	Filter recall.Filter `json:"filter"`
	Until  time.Time     `json:"until"`
	Reason string        `json:"reason,omitempty"`
}

// loadObjects makes what has to be there before messages are.
func (state *State) loadObjects(ctx context.Context, b *recall.Broker) error {
	for _, q := range state.Queues {
		if err := q.load(ctx, b); err != nil {
			return fmt.Errorf("recalltest: queue %q: %w", q.Name, err)
		}
	}
	for _, t := range state.Topics {
		if err := t.load(ctx, b); err != nil {
			return fmt.Errorf("recalltest: topic %q: %w", t.Name, err)
		}
	}
	for _, k := range state.FlowKeys {
		if err := k.load(ctx, b); err != nil {
			return fmt.Errorf("recalltest: flow-control key %q: %w", k.Key, err)
		}
	}
	return nil
}

func (q *StateQueue) load(ctx context.Context, b *recall.Broker) error {
	if err := b.SetQueue(ctx, q.Name, max(1, q.Parallelism)); err != nil || !q.Paused {
		return err
	}
	return b.PauseQueue(ctx, q.Name)
}

func (t *StateTopic) load(ctx context.Context, b *recall.Broker) error {
	_, err := b.AddEndpoints(ctx, t.Name, t.Endpoints...)
	if err == nil && t.Defaults != nil {
		_, err = b.SetTopicDefaults(ctx, t.Name, t.Defaults)
	}
	return err
}

// load pins everything, so that the messages to come leave the limit as it is.
func (k *StateFlowKey) load(ctx context.Context, b *recall.Broker) error {
	limit, err := k.Limit.limit()
	if err != nil {
		return err
	}
	if limit == nil {
		limit = &recall.FlowLimit{}
	}
	if err := b.PinFlow(ctx, k.Key, *limit); err != nil || !k.Paused {
		return err
	}
	return b.PauseFlow(ctx, k.Key)
}

// unpin takes back what loading has pinned beyond what is wanted, as far as it came.
func (state *State) unpin(ctx context.Context, b *recall.Broker) error {
	var errs []error
	for _, k := range state.FlowKeys {
		var parts []recall.FlowPart
		if !k.PinnedRate {
			parts = append(parts, recall.FlowRate)
		}
		if !k.PinnedParallelism {
			parts = append(parts, recall.FlowParallelism)
		}
		if _, err := b.FlowKey(ctx, k.Key); parts == nil || errors.Is(err, recall.ErrNotFound) {
			continue
		}
		if err := b.UnpinFlow(ctx, k.Key, parts...); err != nil {
			errs = append(errs, fmt.Errorf("recalltest: flow-control key %q: %w", k.Key, err))
		}
	}
	return errors.Join(errs...)
}

// loadStanding makes the cancellations that still take messages, once those that are
// loaded are there.
func (state *State) loadStanding(ctx context.Context, b *recall.Broker, now time.Time) error {
	for i, s := range state.Standing {
		if !s.Until.After(now) {
			continue
		}
		if _, err := b.CancelFuture(ctx, s.Filter, s.Until, recall.Reason(s.Reason)); err != nil {
			return fmt.Errorf("recalltest: standing cancellation %d: %w", i, err)
		}
	}
	return nil
}

// schedule is what a state says, as it is set.
func (s *StateSchedule) schedule() (recall.Schedule, error) {
	out := recall.Schedule{ID: s.ID, Cron: s.Cron, Paused: s.Paused}
	var err error
	if out.Message, err = s.Message.message(); err != nil {
		return out, err
	}
	for _, c := range []recall.CatchUp{recall.CatchUpOne, recall.CatchUpNone, recall.CatchUpAll} {
		if s.CatchUp == c.String() || s.CatchUp == "" {
			out.CatchUp = c
			return out, nil
		}
	}
	return out, fmt.Errorf("catchUp is %q, not one, none or all", s.CatchUp)
}

// readObjects reads what is set.
func (state *State) readObjects(ctx context.Context, b *recall.Broker) error {
	queues, err := b.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		state.Queues = append(state.Queues, StateQueue{q.Name, q.Parallelism, q.Paused})
	}
	topics, err := b.Topics(ctx)
	if err != nil {
		return err
	}
	for _, t := range topics {
		state.Topics = append(state.Topics, StateTopic{t.Name, t.Endpoints, t.Defaults})
	}
	keys, err := b.FlowKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		state.FlowKeys = append(state.FlowKeys, stateFlowKeyOf(&k))
	}
	schedules, err := b.Schedules(ctx)
	if err != nil {
		return err
	}
	for _, s := range schedules {
		state.Schedules = append(state.Schedules, stateScheduleOf(&s))
	}
	return nil
}

// readStanding reads the standing cancellations that still take messages.
func (state *State) readStanding(ctx context.Context, b *recall.Broker) error {
	list, err := b.StandingCancellations(ctx)
	for _, s := range list {
		if s.Active(state.Now) {
			state.Standing = append(state.Standing, StateStanding{s.Filter, s.Until.UTC(), s.Reason})
		}
	}
	return err
}

func stateFlowKeyOf(k *recall.FlowState) StateFlowKey {
	out := StateFlowKey{Key: k.Key, PinnedRate: k.PinnedRate, PinnedParallelism: k.PinnedParallelism, Paused: k.Paused}
	if k.Limit != (recall.FlowLimit{}) {
		out.Limit = stateLimitOf(&k.Limit)
	}
	return out
}

func stateScheduleOf(s *recall.Schedule) StateSchedule {
	out := StateSchedule{ID: s.ID, Cron: s.Cron, Message: stateOf(&s.Message), Paused: s.Paused, Next: s.Next.UTC()}
	if s.CatchUp != recall.CatchUpOne {
		out.CatchUp = s.CatchUp.String()
	}
	return out
}
