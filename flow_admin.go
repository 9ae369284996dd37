package recall

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// FlowKeys returns the flow-control keys that have a limit, are pinned or paused,
// in the order of their names. How many messages wait for one [Broker.Count] tells
// with a Filter of the key and StateFlowWaiting. Errors: [ErrUnsupported],
// [ErrClosed], that of ctx. Safe for concurrent use, like all calls on keys.
func (b *Broker) FlowKeys(ctx context.Context) ([]FlowState, error) {
	e, err := asEngine[FlowController](b, ctx)
	if err != nil {
		return nil, err
	}
	defer b.end()
	return e.FlowStates(ctx, b.clock.Now())
}

// FlowKey returns one key, or [ErrNotFound].
func (b *Broker) FlowKey(ctx context.Context, key string) (FlowState, error) {
	list, err := b.FlowKeys(ctx)
	for _, s := range list {
		if s.Key == key {
			return s, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%w: flow-control key %q", ErrNotFound, key)
	}
	return FlowState{}, err
}

// FlowPart is a part of a [FlowLimit] that can be pinned by itself.
type FlowPart uint8

// The parts of a limit.
const (
	FlowRate        FlowPart = iota + 1 // Rate and Period
	FlowParallelism                     // Parallelism
)

func checkParts(parts []FlowPart) error {
	for _, p := range parts {
		if p != FlowRate && p != FlowParallelism {
			return invalid("FlowPart", "%d is unknown", uint8(p))
		}
	}
	return nil
}

// isOneOf tells whether a list of parts means p; an empty one means all.
func (p FlowPart) isOneOf(parts []FlowPart) bool { return len(parts) == 0 || slices.Contains(parts, p) }

// PinFlow sets the limit of a key, and keeps messages from changing it, as QStash's
// pin does. A lower limit counts at once for what waits, also for what is due
// already; attempts that run go on. The zero FlowLimit lifts the limit. With parts,
// only those of limit count: the others stay as they are, and follow messages
// unless they are pinned already.
//
// A rate counts attempts that begin, retries included, in fixed periods of which
// one begins with the first attempt after the last. It is not exceeded across a
// restart: after a crash a key with a period of up to ten seconds waits for one
// period, and one with a longer period may lose up to a sixteenth of its rate.
//
// The change is durable when PinFlow returns. Errors: [ErrInvalid],
// [ErrUnsupported], [ErrFull], [ErrFailed], [ErrClosed].
func (b *Broker) PinFlow(ctx context.Context, key string, limit FlowLimit, parts ...FlowPart) error {
	if err := checkParts(parts); err != nil {
		return err
	}
	if limit != (FlowLimit{}) {
		if err := checkFlow(key, &limit); err != nil {
			return err
		}
	}
	return b.changeFlow(ctx, key, func(s *FlowSettings) {
		if FlowRate.isOneOf(parts) {
			s.Limit.Rate, s.Limit.Period, s.PinnedRate = limit.Rate, limit.Period, true
		}
		if FlowParallelism.isOneOf(parts) {
			s.Limit.Parallelism, s.PinnedParallelism = limit.Parallelism, true
		}
	})
}

// UnpinFlow lets the next message that brings a limit set it again, or the given
// parts of it. Until then the limit stays.
func (b *Broker) UnpinFlow(ctx context.Context, key string, parts ...FlowPart) error {
	if err := checkParts(parts); err != nil {
		return err
	}
	return b.changeFlow(ctx, key, func(s *FlowSettings) {
		s.PinnedRate = s.PinnedRate && !FlowRate.isOneOf(parts)
		s.PinnedParallelism = s.PinnedParallelism && !FlowParallelism.isOneOf(parts)
	})
}

// PauseFlow keeps messages of a key from going out until [Broker.ResumeFlow],
// whether it has a limit or not. Attempts that run go on.
func (b *Broker) PauseFlow(ctx context.Context, key string) error {
	return b.changeFlow(ctx, key, func(s *FlowSettings) { s.Paused = true })
}

// ResumeFlow undoes [Broker.PauseFlow].
func (b *Broker) ResumeFlow(ctx context.Context, key string) error {
	return b.changeFlow(ctx, key, func(s *FlowSettings) { s.Paused = false })
}

// ResetFlow forgets what a key has used of its period: the next attempt begins a
// new one. A key without settings is [ErrNotFound].
func (b *Broker) ResetFlow(ctx context.Context, key string) error {
	e, err := asEngine[FlowController](b, ctx)
	if err != nil {
		return err
	}
	defer b.end()
	return e.ResetFlow(ctx, key, b.clock.Now())
}

// changeFlow reads, changes and writes the settings of a key. Those that say
// nothing are deleted.
func (b *Broker) changeFlow(ctx context.Context, key string, change func(*FlowSettings)) error {
	if key == "" {
		return invalid("FlowKey", "it is empty")
	}
	if err := checkName("FlowKey", key); err != nil {
		return err
	}
	return b.changeSettings(ctx, ObjectFlow, key, func(value []byte, _ time.Time) ([]byte, error) {
		s := flowSettings(value)
		if change(&s); s == (FlowSettings{}) {
			return nil, nil
		}
		return encodeJSON(s), nil
	})
}
