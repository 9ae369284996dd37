package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

func TestDemoSize(t *testing.T) {
	for _, test := range []struct{ size, want demoSize }{
		{demoSize{100_000, 1_000, -1}, demoSize{100_000, 1_000, 40_000}},
		{demoSize{100, 1, 100}, demoSize{100, 1, 100}},
		{demoSize{101, 7, 3}, demoSize{101, 7, 3}},
		{demoSize{99, 1, 1}, demoSize{}},
		{demoSize{100, 0, 1}, demoSize{}},
		{demoSize{100, 1, 0}, demoSize{}},
		{demoSize{100, 1, 101}, demoSize{}},
	} {
		got := test.size
		err := got.validate()
		if test.want == (demoSize{}) {
			if exitStatus(err) != 2 {
				t.Errorf("%+v: got %v, want a usage error", test.size, err)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%+v: got %+v, %v", test.size, got, err)
			continue
		}
		labels := map[string]int{}
		for i := range got.delayed {
			m := got.delayedMessage(i, "http://127.0.0.1:9")
			if m.Delay < time.Hour {
				t.Fatalf("message %d of %+v is due in %v", i, got, m.Delay)
			}
			labels[m.Labels[0]]++
		}
		if labels[labelCancelled] != got.cancel {
			t.Errorf("%+v: %d messages would be cancelled", got, labels[labelCancelled])
		}
	}
}

// world is a demo in which everything went well: messages a and b have stayed,
// x and y were cancelled, n was delivered.
func world() (*acknowledged, map[recall.MessageID]bool, *contents) {
	acks := &acknowledged{
		delayed: map[recall.MessageID]string{
			"a": "deploy-41", "b": "deploy-40", "x": labelCancelled, "y": labelCancelled,
		},
		immediate: map[recall.MessageID]bool{"n": true}, cancelled: 2,
	}
	have := &contents{live: map[recall.MessageID]string{"a": "deploy-41", "b": "deploy-40"}, pending: 2}
	return acks, map[recall.MessageID]bool{"n": true}, have
}

// TestVerification shows that the check of the demo finds what it is for.
func TestVerification(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*acknowledged, map[recall.MessageID]bool, *contents)
		want string // "" if all is well
	}{
		{"nothing", func(*acknowledged, map[recall.MessageID]bool, *contents) {}, ""},
		{"under way at the kill", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.live["c"] = "deploy-41"
			c.pending++
		}, ""},
		{"delivered, and the record lost", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.live["n"] = labelNow
			c.pending++
		}, ""},
		{"lost", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			delete(c.live, "a")
			c.pending--
		}, "1 acknowledged messages are lost"},
		{"lost from the list only", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			delete(c.live, "a")
		}, "1 acknowledged messages are lost"},
		{"lost from the index only", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.pending--
		}, "1 messages are pending instead of 2"},
		{"replaced", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			delete(c.live, "a")
			c.live["c"] = "deploy-41"
		}, "1 acknowledged messages are lost"},
		{"changed", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.live["a"] = "deploy-40"
		}, "1 messages are not what was published"},
		{"back", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.live["x"] = labelCancelled
			c.pending++
			c.cancelled++
		}, "1 cancelled messages are back, 1 by the index"},
		{"back in the index only", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.cancelled++
		}, "0 cancelled messages are back, 1 by the index"},
		{"miscounted", func(a *acknowledged, _ map[recall.MessageID]bool, _ *contents) {
			a.cancelled++
		}, "3 messages were cancelled, but 2 matched"},
		{"never delivered", func(_ *acknowledged, r map[recall.MessageID]bool, _ *contents) {
			delete(r, "n")
		}, "1 immediate messages are lost"},
		{"in flight", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			c.pending--
			c.inFlight++
		}, "1 messages are in flight"},
		{"invented", func(_ *acknowledged, _ map[recall.MessageID]bool, c *contents) {
			for i := range singlePublishers + 1 {
				c.live[recall.MessageID(fmt.Sprint(i))] = "deploy-41"
				c.pending++
			}
		}, "17 messages were not acknowledged"},
	} {
		acks, arrived, have := world()
		test.do(acks, arrived, have)
		err := compare(acks, arrived, have).err()
		if test.want == "" && err != nil {
			t.Errorf("%s: got %v", test.name, err)
		}
		if test.want != "" && (!errors.Is(err, errVerification) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// TestWholeLines has a process that is killed while it writes.
func TestWholeLines(t *testing.T) {
	got := []string{}
	for line := range wholeLines(strings.NewReader("delayed a x\ndelayed b y\r\ndelayed c dep")) {
		got = append(got, line)
	}
	if want := []string{"delayed a x", "delayed b y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLargest(t *testing.T) {
	c := &contents{queues: map[sample]int{{"a", "mail"}: 3, {"b", "mail"}: 7, {"b", "reports"}: 7, {"c", "mail"}: 1}}
	for range 10 { // whatever the order of the map
		if got, want := c.largest(), (sample{"b", "reports"}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		c.queues = maps.Clone(c.queues)
	}
}

func TestInParallel(t *testing.T) {
	var all [100]int
	if err := inParallel(7, len(all), func(i int) error { all[i]++; return nil }); err != nil || slices.Contains(all[:], 0) {
		t.Errorf("got %v, %v", all, err)
	}
	fault := errors.New("no")
	if err := inParallel(3, 1<<30, func(i int) error {
		if i == 50 {
			return fault
		}
		return nil
	}); !errors.Is(err, fault) {
		t.Errorf("got %v, want %v", err, fault)
	}
}
