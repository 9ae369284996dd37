package recall_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// What must be so after each crash of TestCrashFeatures.

func (s *featureSight) check(t *testing.T) {
	t.Helper()
	s.checkLost(t)
	s.checkGone(t)
	for queue, parallelism := range featureQueues {
		s.checkOrder(t, queue, parallelism)
	}
	s.checkRate(t)
	s.checkBatches(t)
	s.checkDeliveredEvents(t)
	s.checkCallbacks(t)
	s.checkCreated(t)
	s.checkScheduleAll(t)
	s.checkScheduleFan(t)
	s.checkRedaction(t)
}

// checkLost: what was acknowledged waits, is dead, was delivered or was cancelled.
func (s *featureSight) checkLost(t *testing.T) {
	t.Helper()
	for id := range s.words["pub"] {
		_, live := s.live[id]
		_, dead := s.dead[id]
		if !live && !dead && !s.has("ended", id) && !s.has("acking", id) && !s.has("taking", id) {
			t.Errorf("%s (%s) is lost", id, s.kinds[id])
		}
	}
}

// checkGone: what was cancelled, swallowed or acknowledged is durably gone, and no
// attempt follows.
func (s *featureSight) checkGone(t *testing.T) {
	t.Helper()
	for _, word := range []string{"taken", "swallowed", "acked"} {
		for id := range s.words[word] {
			_, live := s.live[id]
			_, dead := s.dead[id]
			if live || dead {
				t.Errorf("%s was %s and is back: live %v, dead %v", id, word, live, dead)
			}
		}
		for _, a := range s.starts {
			if at, is := s.words[word][a.id]; is && at < a.line {
				t.Errorf("%s was %s in line %d and delivered in line %d", a.id, word, at, a.line)
			}
		}
	}
}

// checkOrder: when a message of a queue starts, fewer older ones than the queue may
// have out start afterwards, again or for the first time. A callback stands in the
// place of its message. So with a parallelism of one nothing older starts.
func (s *featureSight) checkOrder(t *testing.T, queue string, parallelism int) {
	t.Helper()
	places := map[recall.MessageID]bool{}
	for _, a := range s.starts {
		if a.queue == queue {
			places[a.id] = true
		}
	}
	last := map[recall.MessageID]featureStart{} // of each place, behind where the loop is
	for _, a := range slices.Backward(s.starts) {
		place := a.id
		if places[a.source] {
			place = a.source
		} else if a.queue != queue {
			continue
		}
		var late []string
		for other, b := range last {
			if other < place {
				late = append(late, fmt.Sprintf("%s in line %d", b.id, b.line))
			}
		}
		if len(late) >= parallelism {
			t.Errorf("queue %s: %s started in line %d, before %s", queue, a.id, a.line, strings.Join(late, ", "))
		}
		if _, seen := last[place]; !seen {
			last[place] = a
		}
	}
}

// checkRate: the period has not ended, so the rate bounds all attempts.
func (s *featureSight) checkRate(t *testing.T) {
	t.Helper()
	n := 0
	for _, a := range s.starts {
		if a.key != "rate" {
			continue
		}
		if n++; n > featureRate {
			t.Errorf("%s, in line %d, is attempt %d of a period; the rate is %d", a.id, a.line, n, featureRate)
		}
	}
}

// checkBatches: a batch is cancelled and restored as a whole.
func (s *featureSight) checkBatches(t *testing.T) {
	t.Helper()
	left := map[string]int{}
	for _, m := range s.live {
		if len(m.Labels) > 0 && strings.HasPrefix(m.Labels[0], "batch.") {
			left[m.Labels[0]]++
		}
	}
	for label, said := range s.batches {
		have := left[label]
		switch {
		case said == "cancelled" && have != 0, (said == "batch" || said == "restored") && have != crashBatch,
			have != 0 && have != crashBatch:
			t.Errorf("%s was %s: %d are left of %d", label, said, have, crashBatch)
		}
	}
}

// checkDeliveredEvents: what the log calls delivered is gone, and was delivered.
func (s *featureSight) checkDeliveredEvents(t *testing.T) {
	t.Helper()
	told := map[recall.MessageID]int{}
	for _, ev := range s.events {
		if ev.State != recall.EventDelivered {
			continue
		}
		if _, live := s.live[ev.Message]; live {
			t.Errorf("event %s tells of the delivery of %s, which waits", ev.ID, ev.Message)
		}
		if !s.has("ended", ev.Message) && !s.has("acking", ev.Message) {
			t.Errorf("event %s tells of the delivery of %s, which was not delivered", ev.ID, ev.Message)
		}
		if told[ev.Message]++; told[ev.Message] > 1 {
			t.Errorf("event %s tells of the delivery of %s again", ev.ID, ev.Message)
		}
	}
}

// calledBack returns the callbacks to url that are known, by what they are about.
func (s *featureSight) calledBack(url string) map[recall.MessageID]map[recall.MessageID]bool {
	all := map[recall.MessageID]map[recall.MessageID]bool{}
	add := func(to string, source, id recall.MessageID) {
		if to != url || source == "" {
			return
		}
		if all[source] == nil {
			all[source] = map[recall.MessageID]bool{}
		}
		all[source][id] = true
	}
	for _, a := range s.starts {
		add(a.url, a.source, a.id)
	}
	for _, m := range s.live {
		add(m.URL, m.Source, m.ID)
	}
	for _, d := range s.dead {
		add(d.Message.URL, d.Message.Source, d.Message.ID)
	}
	return all
}

// checkCallbacks: each outcome that was noted has one callback, and each dead
// letter one of its failure.
func (s *featureSight) checkCallbacks(t *testing.T) {
	t.Helper()
	outcomes, failures := map[recall.MessageID]int{}, map[recall.MessageID]int{}
	for _, ev := range s.events {
		switch ev.State {
		case recall.EventDelivered, recall.EventError:
			outcomes[ev.Message]++
		case recall.EventFailed:
			failures[ev.Message]++
		}
	}
	called, failed := s.calledBack("local:callback"), s.calledBack("local:failed")
	for id, kind := range s.kinds {
		calls, fails := slices.Contains([]string{"plain", "called", "hopeless"}, kind), kind == "called" || kind == "hopeless"
		if have := len(called[id]); calls && have != outcomes[id] || !calls && have != 0 {
			t.Errorf("%s (%s) has %d outcomes and %d callbacks: %v",
				id, kind, outcomes[id], have, slices.Sorted(maps.Keys(called[id])))
		}
		if have := len(failed[id]); fails && have != failures[id] || !fails && have != 0 {
			t.Errorf("%s (%s) has failed %d times and has %d callbacks of that", id, kind, failures[id], have)
		}
		if _, dead := s.dead[id]; dead != (failures[id] == 1) || failures[id] > 1 {
			t.Errorf("%s (%s) has failed %d times by the log; dead letter %v", id, kind, failures[id], dead)
		}
	}
}

// checkCreated: an id was stored once, a publish to a topic for each endpoint.
func (s *featureSight) checkCreated(t *testing.T) {
	t.Helper()
	byLabel := map[string][]recall.MessageID{}
	for _, ev := range s.events {
		if ev.State == recall.EventCreated && len(ev.Labels) > 0 {
			byLabel[ev.Labels[0]] = append(byLabel[ev.Labels[0]], ev.Message)
		}
	}
	for label, ids := range byLabel {
		switch kind, _, _ := strings.Cut(label, "."); {
		case kind == "dedup" && len(ids) != 1:
			t.Errorf("%s was stored %d times: %v", label, len(ids), ids)
		case kind == "topic" && len(ids) != 2:
			t.Errorf("%s was stored for %d endpoints of 2: %v", label, len(ids), ids)
		}
	}
}

func (s *featureSight) schedule(t *testing.T, id string) (recall.Schedule, bool) {
	t.Helper()
	for _, one := range s.schedules {
		if one.ID == id {
			return one, !one.Last.IsZero()
		}
	}
	if len(s.events) > 0 && s.boots > 1 {
		t.Logf("schedule %s is not there yet", id)
	}
	return recall.Schedule{}, false
}

// checkScheduleAll: there is one message for each minute that was met.
func (s *featureSight) checkScheduleAll(t *testing.T) {
	t.Helper()
	one, met := s.schedule(t, "all")
	if !met {
		return
	}
	var ids []recall.MessageID
	for _, ev := range s.events {
		if ev.State == recall.EventCreated && ev.ScheduleID == one.ID {
			ids = append(ids, ev.Message)
		}
	}
	minutes := int(one.Last.Sub(one.CreatedAt.Truncate(time.Minute)) / time.Minute)
	if len(ids) != minutes {
		t.Errorf("schedule %s has published %d messages in %d minutes, until %v: %v",
			one.ID, len(ids), minutes, one.Last, ids)
	}
}

// checkScheduleFan: there is at most one message for each minute and endpoint, for
// both endpoints or none, and one for the last minute.
func (s *featureSight) checkScheduleFan(t *testing.T) {
	t.Helper()
	one, met := s.schedule(t, "fan")
	if !met {
		return
	}
	minutes := map[time.Time]map[string]recall.MessageID{}
	add := func(id recall.MessageID, schedule, endpoint string, due time.Time) {
		if schedule != one.ID {
			return
		}
		minute := due.Truncate(time.Minute).UTC()
		if minutes[minute] == nil {
			minutes[minute] = map[string]recall.MessageID{}
		}
		if first := minutes[minute][endpoint]; first != "" && first != id {
			t.Errorf("schedule %s has published %s and %s to %s for %v", one.ID, first, id, endpoint, minute)
		}
		minutes[minute][endpoint] = id
	}
	first := map[recall.MessageID]bool{}
	for _, a := range s.starts {
		if !first[a.id] {
			add(a.id, a.schedule, a.endpoint, a.due)
		}
		first[a.id] = true
	}
	for id, m := range s.live {
		if !first[id] {
			add(id, m.ScheduleID, m.Endpoint, m.DueAt)
		}
	}
	s.checkFanned(t, one, minutes)
}

func (s *featureSight) checkFanned(
	t *testing.T, one recall.Schedule, minutes map[time.Time]map[string]recall.MessageID,
) {
	t.Helper()
	for minute, ids := range minutes {
		if len(ids) != 2 {
			t.Errorf("schedule %s has published %v for %v, and has two endpoints", one.ID, ids, minute)
		}
		if minute.After(one.Last) {
			t.Errorf("schedule %s has published %v for %v and begins anew after %v", one.ID, ids, minute, one.Last)
		}
	}
	if len(minutes[one.Last.UTC()]) == 0 {
		t.Errorf("schedule %s has met %v and published nothing", one.ID, one.Last)
	}
}

// checkRedaction: what is hidden is not shown.
func (s *featureSight) checkRedaction(t *testing.T) {
	t.Helper()
	for id, m := range s.live {
		if m.Redact != nil && len(m.Body) > 0 && !strings.HasPrefix(string(m.Body), "REDACTED:") {
			t.Errorf("%s is shown with %q", id, m.Body)
		}
	}
}

// checkDrained: nothing is left but what has no room in its rate and what is not due.
func (s *featureSight) checkDrained(t *testing.T) {
	t.Helper()
	for id, m := range s.live {
		if m.State != recall.StateDelayed && (m.State != recall.StateFlowWaiting || m.FlowKey != "rate") {
			t.Errorf("%s (%s) was not delivered: it is %s", id, s.kinds[id], m.State)
		}
	}
}
