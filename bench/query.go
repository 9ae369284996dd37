package main

import (
	"fmt"

	"github.com/recallmq/recall"
)

// query is a filter and, for checking, which message numbers it means.
type query struct {
	name   string
	filter recall.Filter
	match  func(i int) bool
}

func byLabel(k int) query {
	return query{"label, every 10th", recall.Filter{Labels: labelNames[k : k+1]}, func(i int) bool { return labelOf(i) == k }}
}

func byMark(k int) query {
	return query{"label, every 1000th", recall.Filter{Labels: markNames[k : k+1]}, func(i int) bool { return markOf(i) == k }}
}

func byQueue(s shape, k int) query {
	return query{"queue, contiguous", recall.Filter{Queues: queues[k : k+1]}, func(i int) bool { return s.queueOf(i) == k }}
}

func byTopic(k int) query {
	return query{"topic, every 20th", recall.Filter{Topics: topics[k : k+1]}, func(i int) bool { return topicOf(i) == k }}
}

func byLabelAndAddress(label, address int) query {
	return query{
		"label and caller IP",
		recall.Filter{Labels: labelNames[label : label+1], CallerIPs: addresses[address : address+1]},
		func(i int) bool { return labelOf(i) == label && addressOf(i) == address },
	}
}

// byHost means everything that waits, and nothing of what publishers add:
// their messages are for a handler and have no host.
func byHost() query {
	return query{"everything, by host", recall.Filter{Hosts: []string{headerHost}}, func(int) bool { return true }}
}

// model knows which messages of the big file are still there.
type model struct{ gone []bool }

func newModel(n int) *model { return &model{make([]bool, n)} }

func (m *model) matches(q query) (n int) {
	for i, gone := range m.gone {
		if !gone && q.match(i) {
			n++
		}
	}
	return n
}

// cancel takes the matches out, and complains unless there were that many.
func (m *model) cancel(q query, reported int) error {
	want := 0
	for i, gone := range m.gone {
		if !gone && q.match(i) {
			m.gone[i] = true
			want++
		}
	}
	if reported != want {
		return fmt.Errorf("cancelling %s (%s) took %d messages, not %d", q.name, q.filter, reported, want)
	}
	return nil
}
