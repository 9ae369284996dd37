package recall

import "time"

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
	case l.Rate < 0 || l.Rate > MaxFlowRate:
		return invalid("Flow", "a rate of %d is not between 0 and %d", l.Rate, MaxFlowRate)
	case l.Parallelism < 0 || l.Parallelism > MaxFlowParallelism:
		return invalid("Flow", "a parallelism of %d is not between 0 and %d", l.Parallelism, MaxFlowParallelism)
	case l.Rate == 0 && l.Parallelism == 0:
		return invalid("Flow", "it limits neither rate nor parallelism")
	case l.Period < 0 || l.Period > MaxFlowPeriod || l.Period%time.Millisecond != 0:
		return invalid("Flow", "a period of %v is not between 0 and %v in milliseconds", l.Period, MaxFlowPeriod)
	case l.Period != 0 && l.Rate == 0:
		return invalid("Flow", "a period without a rate")
	}
	return nil
}
