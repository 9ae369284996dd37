package admin

import (
	"context"

	"github.com/recallmq/recall"
)

var flowCalls = map[string]call{
	"flow/list": whole(func(b *recall.Broker) func(context.Context) ([]recall.FlowState, error) { return b.FlowKeys },
		func(s recall.FlowState) FlowKey { return FlowKey(s) }, func(k *FlowKey) string { return k.Key }),
	"flow/get": one(true, func(ctx context.Context, h *handler, q *byName) (FlowKey, error) {
		s, err := h.b.FlowKey(ctx, q.Name)
		return FlowKey(s), err
	}),
	"flow/pin": done(func(ctx context.Context, b *recall.Broker, q *pin) error {
		parts, err := partsOf(q.Parts)
		if err != nil {
			return err
		}
		return b.PinFlow(ctx, q.Name, q.Limit, parts...)
	}),
	"flow/unpin": done(func(ctx context.Context, b *recall.Broker, q *pin) error {
		parts, err := partsOf(q.Parts)
		if err != nil {
			return err
		}
		return b.UnpinFlow(ctx, q.Name, parts...)
	}),
	"flow/pause":  done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.PauseFlow(ctx, q.Name) }),
	"flow/resume": done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.ResumeFlow(ctx, q.Name) }),
	"flow/reset":  done(func(ctx context.Context, b *recall.Broker, q *byName) error { return b.ResetFlow(ctx, q.Name) }),
}

// pin is the request for PinFlow and UnpinFlow. Parts are "rate" and "parallelism";
// none means both.
type pin struct {
	Name  string           `json:"name"`
	Limit recall.FlowLimit `json:"limit,omitzero"`
	Parts []string         `json:"parts,omitempty"`
}

var flowParts = map[string]recall.FlowPart{"rate": recall.FlowRate, "parallelism": recall.FlowParallelism}

func partsOf(names []string) (parts []recall.FlowPart, err error) {
	for _, name := range names {
		p, known := flowParts[name]
		if !known {
			return nil, &recall.InvalidError{Field: "parts", Reason: "a part is rate or parallelism"}
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func partNames(parts []recall.FlowPart) (names []string) {
	for _, p := range parts {
		for name, part := range flowParts {
			if p == part {
				names = append(names, name)
			}
		}
	}
	return names
}
