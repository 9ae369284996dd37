package recall

import (
	"cmp"
	"context"
	"encoding/json"
	"time"
)

// FlowLimit bounds the deliveries of a flow-control key: so many attempts begun
// per period, so many at a time, or both. It is QStash's
// Upstash-Flow-Control-Value.
type FlowLimit struct {
	// Rate is how many attempts may begin in each period; 0: any number.
	Rate int `json:"rate,omitempty"`
	// Period is that of Rate; one second if it is 0.
	Period time.Duration `json:"period,omitempty"`
	// Parallelism is how many attempts may run at a time; 0: any number.
	Parallelism int `json:"parallelism,omitempty"`
}

// period in milliseconds.
func (l FlowLimit) period() int64 { return cmp.Or(l.Period.Milliseconds(), time.Second.Milliseconds()) }

// FlowSettings are what is set of a flow-control key.
type FlowSettings struct {
	Limit FlowLimit `json:"limit"` // the zero FlowLimit is none
	// PinnedRate: messages do not change Limit.Rate and Limit.Period, and
	// PinnedParallelism: nor Limit.Parallelism.
	PinnedRate        bool `json:"pinnedRate,omitempty"`
	PinnedParallelism bool `json:"pinnedParallelism,omitempty"`
	Paused            bool `json:"paused,omitempty"` // nothing of it is delivered
}

// After returns what the settings are after a message that brings a limit: it is
// that of the message, but for what is pinned.
func (s FlowSettings) After(l FlowLimit) FlowSettings {
	if !s.PinnedRate {
		s.Limit.Rate, s.Limit.Period = l.Rate, l.Period
	}
	if !s.PinnedParallelism {
		s.Limit.Parallelism = l.Parallelism
	}
	return s
}

// flowSettings reads the value of an object; what cannot be read is none. Older
// files say "pinned" for both.
func flowSettings(value []byte) (s FlowSettings) {
	var older struct {
		Pinned bool `json:"pinned"`
	}
	if json.Unmarshal(value, &s) != nil || json.Unmarshal(value, &older) != nil {
		return FlowSettings{}
	}
	s.PinnedRate, s.PinnedParallelism = s.PinnedRate || older.Pinned, s.PinnedParallelism || older.Pinned
	return s
}

// FlowState is a flow-control key as it is.
type FlowState struct {
	Key string
	FlowSettings
	InFlight    int       // attempts that run
	PeriodStart time.Time // of the period of the rate; zero if none has begun
	Used        int       // attempts begun in it
}

// FlowController is an [Engine] that bounds deliveries by flow-control keys, as
// [Broker.FlowKeys] describes. The settings are objects.
type FlowController interface {
	// FlowStates returns the keys that have settings, in the order of their names.
	FlowStates(ctx context.Context, now time.Time) ([]FlowState, error)
	// ResetFlow forgets what a key has used of its period. It returns ErrNotFound for
	// a key without settings.
	ResetFlow(ctx context.Context, key string, now time.Time) error
}

// Bounds of a FlowLimit.
const (
	MaxFlowRate        = 1_000_000
	MaxFlowParallelism = 1_000_000
	MaxFlowPeriod      = 7 * 24 * time.Hour
)

func checkFlow(key string, l *FlowLimit) error {
	switch {
	case l == nil:
		return nil
	case key == "":
		return invalid("Flow", "it needs a FlowKey")
	case l.Rate < 0 || l.Parallelism < 0 || l.Period < 0:
		return invalid("Flow", "a rate, a parallelism and a period are not negative")
	case l.Rate > MaxFlowRate:
		return overLimit("Flow", "a rate of %d is more than %d", l.Rate, MaxFlowRate)
	case l.Parallelism > MaxFlowParallelism:
		return overLimit("Flow", "a parallelism of %d is more than %d", l.Parallelism, MaxFlowParallelism)
	case l.Rate == 0 && l.Parallelism == 0:
		return invalid("Flow", "it limits neither rate nor parallelism")
	case l.Period > MaxFlowPeriod:
		return overLimit("Flow", "a period of %v is more than %v", l.Period, MaxFlowPeriod)
	case l.Period%time.Millisecond != 0:
		return invalid("Flow", "a period of %v is not in milliseconds", l.Period)
	case l.Period != 0 && l.Rate == 0:
		return invalid("Flow", "a period without a rate")
	}
	return nil
}
