package recalltest

import (
	"slices"

	"github.com/recallmq/recall"
)

// CheckPublished reports a failure for each message that was not published, by
// whatever way: the API, a Go call, a schedule, a callback. It does not matter what
// became of it. Each message that there is stands for one that is wanted, also
// over several calls; in which order they are named does not matter.
func (s *Server) CheckPublished(t Reporter, want ...Message) {
	t.Helper()
	for i := range want {
		s.check(t, &want[i], listPublished, "published", func(*known) bool { return true })
	}
}

// CheckDelivered waits for what is due, see [Server.Settle], and reports a failure
// for each message that was not delivered: an endpoint or a handler has taken it.
// Each delivered message stands for one that is wanted, also over several calls; in
// which order they are named does not matter.
func (s *Server) CheckDelivered(t Reporter, want ...Message) {
	t.Helper()
	for i := range want {
		s.check(t, &want[i], listDelivered, "delivered", func(k *known) bool { return k.fate == fateDelivered })
	}
}

// settled waits for what is due and returns what is known of all messages. If that
// fails, so does the test, and ok is false.
func (s *Server) settled(t Reporter) (w *world, all []known, ok bool) {
	t.Helper()
	s.Settle()
	w = s.now()
	all, err := s.all(w)
	if err != nil {
		t.Errorf("recalltest: %v", err)
	}
	return w, all, err == nil
}

// check looks for one message among those that no check of the list has named yet.
func (s *Server) check(t Reporter, m *Message, list int, what string, fits func(*known) bool) {
	t.Helper()
	w, all, ok := s.settled(t)
	if !ok {
		return
	}
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	all = slices.DeleteFunc(all, func(k known) bool { return k.lists[list] })
	for i := range all {
		if _, same := m.compare(&all[i]); same && fits(&all[i]) {
			all[i].lists[list], all[i].named = true, true
			return
		}
	}
	t.Errorf("recalltest: a message that should have been %s was not%s", what, diff(m, all))
}

// CheckCancelled waits for what is due and reports a failure unless n messages
// that match a filter are cancelled now: one that was restored is not, one that
// was cancelled on arrival is. The filter is that of a cancellation, without due
// times, states and attempts, which are no more.
func (s *Server) CheckCancelled(t Reporter, f recall.Filter, n int) {
	t.Helper()
	if err := checkable(f); err != nil {
		t.Errorf("recalltest: CheckCancelled: %v", err)
		return
	}
	w, all, ok := s.settled(t)
	if !ok {
		return
	}
	matched := slices.DeleteFunc(all, func(k known) bool { return !matches(&f, &k.message) })
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	cancelled := 0
	for _, k := range matched {
		if k.fate == fateCancelled {
			cancelled++
			k.named = true
		}
	}
	if cancelled == n {
		return
	}
	text := lines(matched)
	if len(matched) == 0 {
		text = "\n  no message matches"
	}
	t.Errorf("recalltest: messages cancelled with %s: got %d, want %d%s", f, cancelled, n, text)
}

// CheckNothingElse waits for what is due and reports a failure if there is a
// message that no check has named: not as published, delivered or cancelled.
func (s *Server) CheckNothingElse(t Reporter) {
	t.Helper()
	w, all, ok := s.settled(t)
	if !ok {
		return
	}
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	all = slices.DeleteFunc(all, func(k known) bool { return k.named })
	if len(all) > 0 {
		t.Errorf("recalltest: %d messages that no check has named:%s", len(all), lines(all))
	}
}
