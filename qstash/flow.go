package qstash

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// defaultPeriod is what hosted QStash takes if none is given.
const defaultPeriod = time.Second

// setFlow sets the flow-control key and its limit.
func (s settings) setFlow(m *recall.Message) error {
	m.FlowKey = s.get("Flow-Control-Key")
	value := s.get("Flow-Control-Value")
	if value == "" {
		return nil
	}
	if m.FlowKey == "" {
		return badRequest("Upstash-Flow-Control-Value needs an Upstash-Flow-Control-Key")
	}
	limit, err := parseLimit(value)
	if err != nil {
		return badRequest("Upstash-Flow-Control-Value: %v", err)
	}
	m.Flow = &limit
	return nil
}

// parseLimit reads what the header spells like "parallelism=2, rate=3,
// period=60s", in any order. A period without a rate is of no use.
func parseLimit(s string) (recall.FlowLimit, error) {
	l := recall.FlowLimit{Period: defaultPeriod}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if seen[name] {
			return recall.FlowLimit{}, fmt.Errorf("%q is given twice", name)
		}
		seen[name] = true
		if err := setLimit(&l, name, value); err != nil {
			return recall.FlowLimit{}, err
		}
	}
	if l.Parallelism == 0 && l.Rate == 0 {
		return recall.FlowLimit{}, fmt.Errorf("%q has neither parallelism nor rate", s)
	}
	if l.Rate == 0 {
		l.Period = 0
	}
	return l, nil
}

func setLimit(l *recall.FlowLimit, name, value string) (err error) {
	switch name {
	case "parallelism":
		l.Parallelism, err = positive(name, value)
	case "rate":
		l.Rate, err = positive(name, value)
	case "period":
		if l.Period, err = parseDuration(value); err == nil && (l.Period <= 0 || l.Period > recall.MaxFlowPeriod) {
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
