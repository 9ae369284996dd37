package qstash

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// limits are what a flow-control value asks for; zero means no limit.
type limits struct {
	parallelism, rate int
	period            time.Duration // of the rate
}

// The period that hosted QStash takes if none is given, and its longest.
const (
	defaultPeriod = time.Second
	maxPeriod     = 7 * 24 * time.Hour
)

// setFlow keeps the flow-control key as an attribute, by which messages can be
// found and cancelled. SDKs never send it without limits, so those are read
// too; that nothing enforces them yet must not pass unnoticed.
func (h *handler) setFlow(s settings, m *recall.Message) error {
	m.FlowKey = s.get("Flow-Control-Key")
	value := s.get("Flow-Control-Value")
	if value == "" {
		return nil
	}
	if m.FlowKey == "" {
		return badRequest("Upstash-Flow-Control-Value needs an Upstash-Flow-Control-Key")
	}
	l, err := parseLimits(value)
	if err != nil {
		return badRequest("Upstash-Flow-Control-Value: %v", err)
	}
	h.warnLimits.Do(func() {
		h.o.Logger.Warn("qstash: limits of flow-control keys are not enforced yet; this is said once",
			"key", m.FlowKey, "parallelism", l.parallelism, "rate", l.rate, "period", l.period)
	})
	return nil
}

// parseLimits reads what the header spells like "parallelism=2, rate=3,
// period=60s", in any order.
func parseLimits(s string) (limits, error) {
	l := limits{period: defaultPeriod}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if seen[name] {
			return limits{}, fmt.Errorf("%q is given twice", name)
		}
		seen[name] = true
		if err := l.set(name, value); err != nil {
			return limits{}, err
		}
	}
	if l.parallelism == 0 && l.rate == 0 {
		return limits{}, fmt.Errorf("%q has neither parallelism nor rate", s)
	}
	return l, nil
}

func (l *limits) set(name, value string) (err error) {
	switch name {
	case "parallelism":
		l.parallelism, err = positive(name, value)
	case "rate":
		l.rate, err = positive(name, value)
	case "period":
		if l.period, err = parseDuration(value); err == nil && (l.period <= 0 || l.period > maxPeriod) {
			err = fmt.Errorf("a period of %q is not between 1s and 7d", value)
		}
	default:
		err = fmt.Errorf("%q is unknown: parallelism, rate and period are not", name)
	}
	return err
}

func positive(name, value string) (int, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%s %q is not a number of at least 1", name, value)
	}
	return int(n), nil
}
