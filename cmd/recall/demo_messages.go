package main

import (
	"fmt"
	"time"

	"github.com/recallmq/recall"
)

// The labels of the demo.
const (
	labelCancelled = "deploy-42" // of what is cancelled, and of nothing else
	labelNow       = "now"       // of what is delivered at once
	otherLabels    = 6           // deploy-41, deploy-40, …
)

var demoQueues = []string{"mail", "invoices", "reports"}

// demoMessage is message i: queue, URL, caller and label are spread so that
// each index has something to tell apart.
func demoMessage(i int, receiver, label string) recall.Message {
	return recall.Message{
		URL:      fmt.Sprintf("%s/hook/%d", receiver, i%100),
		Queue:    demoQueues[i%len(demoQueues)],
		Labels:   []string{label},
		CallerIP: fmt.Sprintf("10.0.%d.%d", i%4, i%200),
		Body:     fmt.Appendf(nil, `{"order":%d}`, i),
	}
}

// delayedMessage is delayed message i. The ones to be cancelled are spread
// evenly: exactly s.cancel of s.delayed have the label.
func (s demoSize) delayedMessage(i int, receiver string) recall.Message {
	label := otherLabel(i)
	if s.share(i+1) > s.share(i) {
		label = labelCancelled
	}
	m := demoMessage(i, receiver, label)
	m.Delay = time.Duration(1+i%48) * time.Hour
	return m
}

// share is how many of the first n delayed messages are to be cancelled. The
// product does not fit in 32 bits.
func (s demoSize) share(n int) int64 { return int64(n) * int64(s.cancel) / int64(s.delayed) }

func otherLabel(i int) string { return fmt.Sprintf("deploy-%d", 41-i/5%otherLabels) }
