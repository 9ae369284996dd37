package dashboard_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dashboard"
)

func stateOf(t *testing.T, b *recall.Broker, id recall.MessageID) recall.State {
	t.Helper()
	m, err := b.Get(t.Context(), id)
	must(t, err)
	return m.State
}

func TestChangeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{Transport: answers{"no"}})
		web := open(t, b, nil)
		id := publish(t, b, recall.Message{Delay: time.Hour})
		path := "/messages/" + string(id) + "/change"
		_, page := web.follow(path, "do", "hold")
		page.check(t, http.StatusOK, "The message is held.", "Release")
		if got := stateOf(t, b, id); got != recall.StateHeld {
			t.Errorf("after hold it is %s", got)
		}
		_, page = web.follow(path, "do", "hold")
		page.check(t, http.StatusOK, "Nothing was changed")
		_, page = web.follow(path, "do", "release")
		page.check(t, http.StatusOK, "The message is released.")
		if got := stateOf(t, b, id); got != recall.StateDelayed {
			t.Errorf("after release it is %s", got)
		}
		_, page = web.follow(path, "do", "cancel")
		page.check(t, http.StatusOK, "The message is cancelled.", "cancelled")
		if n := pending(t, b); n != 0 {
			t.Errorf("after cancel %d messages wait", n)
		}
		web.post(path, "do", "cancel").check(t, http.StatusNotFound)

		retries := publish(t, b, recall.Message{Retries: recall.Retries(9)})
		synctest.Wait()
		page = web.get("/messages/" + string(retries))
		page.check(t, http.StatusOK, "retrying", "Retry now", "next attempt at")
		_, page = web.follow("/messages/"+string(retries)+"/change", "do", "retry")
		page.check(t, http.StatusOK, "The message is due now.")
		synctest.Wait()
		if m, err := b.Get(t.Context(), retries); err != nil || m.Attempts != 2 {
			t.Errorf("after retry it has %d attempts, %v", m.Attempts, err)
		}
	})
}

func TestChangeInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{})
		release := make(chan struct{})
		must(t, b.Handle("local:slow", func(ctx context.Context, _ *recall.Delivery) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}))
		id := publish(t, b, recall.Message{URL: "local:slow", Timeout: time.Hour, Labels: []string{"x"}})
		synctest.Wait()
		web := open(t, b, nil)
		path := "/messages/" + string(id)
		web.get(path).check(t, http.StatusOK, "in flight", "Abort the attempt")
		web.post(path+"/change", "do", "cancel").check(t, http.StatusConflict, "in flight")
		_, page := web.follow(path+"/change", "do", "sticky")
		page.check(t, http.StatusOK, "The running attempt is the last")
		web.follow(path+"/change", "do", "abort")
		synctest.Wait()
		web.get(path).check(t, http.StatusOK, "It was cancelled by")
	})
}

func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		ctx := t.Context()
		_, err := b.SetSchedule(ctx, recall.Schedule{ID: "s?&/", Cron: "@hourly", Message: recall.Message{URL: "https://example.com/"}})
		must(t, err, b.SetQueue(ctx, "q?&/", 1), b.PinFlow(ctx, "k?&/", recall.FlowLimit{Rate: 1}))
		paused := map[string]func() bool{
			"queues":    func() bool { q, err := b.Queue(ctx, "q?&/"); must(t, err); return q.Paused },
			"flow":      func() bool { k, err := b.FlowKey(ctx, "k?&/"); must(t, err); return k.Paused },
			"schedules": func() bool { s, err := b.Schedule(ctx, "s?&/"); must(t, err); return s.Paused },
		}
		web := open(t, b, nil)
		for page, is := range paused {
			name := page[:1] + "?&/"
			if page == "flow" {
				name = "k?&/"
			}
			_, shown := web.follow("/"+page+"/change", "do", "pause", "name", name)
			shown.check(t, http.StatusOK, "Paused.", "Resume")
			if !is() {
				t.Errorf("%s is not paused", name)
			}
			_, shown = web.follow("/"+page+"/change", "do", "resume", "name", name)
			shown.check(t, http.StatusOK, "Resumed.")
			if is() {
				t.Errorf("%s is paused", name)
			}
		}
		_, page := web.follow("/flow/change", "do", "reset", "name", "k?&/")
		page.check(t, http.StatusOK, "What was used of the period is forgotten.")
	})
}

func TestRetryDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{Transport: answers{"no"}})
		publish(t, b, recall.Message{Retries: recall.Retries(0)})
		synctest.Wait()
		id := string(firstDead(t, b).ID)
		web := open(t, b, nil)
		web.post("/dead/change", "do", "burn", "id", id).check(t, http.StatusBadRequest)
		_, page := web.follow("/dead/change", "do", "retry", "id", id)
		page.check(t, http.StatusOK, "Published again")
		synctest.Wait()
		if d := firstDead(t, b); string(d.ID) == id {
			t.Error("the dead letter was not published again")
		}
	})
}

func TestStanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		web := open(t, b, nil)
		_, page := web.follow("/standing/create", "labels", "spam", "minutes", "5", "reason", "a flood")
		page.check(t, http.StatusOK, "in force", "a flood", "label=spam")
		publish(t, b, recall.Message{Labels: []string{"spam"}})
		if n := pending(t, b); n != 0 {
			t.Errorf("%d messages wait, want none", n)
		}
		list, err := b.StandingCancellations(t.Context())
		must(t, err)
		_, page = web.follow("/operations/" + string(list[0].ID) + "/lift")
		page.check(t, http.StatusOK, "Lifted.")
		publish(t, b, recall.Message{Labels: []string{"spam"}})
		if n := pending(t, b); n != 1 {
			t.Errorf("%d messages wait, want 1", n)
		}
	})
}

func TestConfirmTheNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		campaigns(t, b)
		web := open(t, b, nil)
		for _, form := range [][]string{
			{"expect", "12", "confirm", "11"},
			{"expect", "12"},
			{"confirm", "12"},
			{"expect", "-1", "confirm", "-1"},
			{"expect", "12", "confirm", "12", "guard", "most", "number", "11"},
			{"expect", "x", "confirm", "x"},
			{"expect", "12", "confirm", "12", "reason", strings.Repeat("x", 2000)},
		} {
			if a := web.post("/bulk/run", append(form, "labels", "campaign-12")...); a.StatusCode/100 != 4 {
				where := a.Header.Get("Location")
				synctest.Wait()
				if page := web.get("/" + strings.TrimPrefix(where, "../")); !strings.Contains(page.body, `role="alert"`) {
					t.Errorf("%q: status %d", form, a.StatusCode)
				}
			}
		}
		// A message comes after the number was shown.
		publish(t, b, recall.Message{Labels: []string{"campaign-12"}, Delay: time.Hour})
		where, _ := web.follow("/bulk/run", "labels", "campaign-12", "expect", "12", "confirm", "12")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "The number has changed", "13 messages match now")
		if n := pending(t, b); n != 16 {
			t.Errorf("%d messages wait, want 16", n)
		}
		web.get("/bulk?labels=campaign-12&guard=most&number=10").check(t, http.StatusOK, "The guard holds the call back")
		where, _ = web.follow("/bulk/run", "labels", "campaign-12", "expect", "13", "confirm", "13", "limit", "4")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, ">4<")
		if n := pending(t, b); n != 12 {
			t.Errorf("after 4 of 13 %d messages wait, want 12", n)
		}
	})
}

func TestBulkVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		campaigns(t, b)
		web := open(t, b, nil)
		held := func() int {
			c, err := b.Count(t.Context(), recall.Filter{States: []recall.State{recall.StateHeld}})
			must(t, err)
			return c.Pending
		}
		web.get("/bulk/confirm?labels=campaign-12&verb=hold").check(t, http.StatusOK, "Hold 12 messages?", "12 would be held")
		where, _ := web.follow("/bulk/run", "labels", "campaign-12", "verb", "hold", "expect", "12", "confirm", "12")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "messages held")
		if n := held(); n != 12 {
			t.Errorf("%d messages are held, want 12", n)
		}
		web.follow("/bulk/run", "states", "held", "verb", "release", "expect", "12", "confirm", "12")
		synctest.Wait()
		if n := held(); n != 0 {
			t.Errorf("%d messages are held, want none", n)
		}
		web.get("/bulk?all=1").check(t, http.StatusOK, "Cancel 15 messages")
		web.follow("/bulk/run", "all", "1", "expect", "15", "confirm", "15")
		synctest.Wait()
		if n := pending(t, b); n != 0 {
			t.Errorf("%d messages wait, want none", n)
		}
		op := ""
		for o, err := range b.Cancellations(t.Context()) {
			must(t, err)
			op = string(o.ID)
		}
		time.Sleep(time.Hour)
		web.post("/operations/"+op+"/restore").check(t, http.StatusConflict, "too late")
	})
}

// TestWaitAndStop: a run that waits for an attempt shows it, and can be stopped.
func TestWaitAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{})
		must(t, b.Handle("local:slow", func(ctx context.Context, _ *recall.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		first := publish(t, b, recall.Message{Labels: []string{"x"}, Delay: time.Hour})
		blocker := publish(t, b, recall.Message{URL: "local:slow", Labels: []string{"x"}, Timeout: 24 * time.Hour})
		for range 4 {
			publish(t, b, recall.Message{Labels: []string{"x"}, Delay: time.Hour})
		}
		synctest.Wait()
		web := open(t, b, nil)
		web.get("/bulk?labels=x").check(t, http.StatusOK, "The call ends at the oldest", string(blocker))
		web.get("/bulk/confirm?labels=x").check(t, http.StatusOK, string(blocker), "1 would be cancelled")
		where, page := web.follow("/bulk/run", "labels", "x", "policy", "wait", "wait", "600", "expect", "5", "confirm", "5")
		page.check(t, http.StatusOK)
		synctest.Wait()
		page = web.get(where)
		page.check(t, http.StatusOK, "4 of 5 left", string(blocker), ">Stop<")
		if strings.Contains(page.body, "data-done") {
			t.Error("a run that waits is shown as done")
		}
		web.follow(where + "/stop")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "You have stopped it", "data-done")
		if _, err := b.Get(t.Context(), first); err == nil {
			t.Error("what came before the blocker is not cancelled")
		}
		where, _ = web.follow("/bulk/run", "labels", "x", "policy", "stop", "expect", "4", "confirm", "4")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "It ended at", string(blocker))
		where, _ = web.follow("/bulk/run", "labels", "x", "policy", "skip", "expect", "4", "confirm", "4")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, ">4<", "1 in flight passed over", string(blocker))
		web.get("/bulk/confirm?labels=x&policy=abort").check(t, http.StatusOK, "1 in flight would not be tried again")
		where, _ = web.follow("/bulk/run", "labels", "x", "policy", "abort", "expect", "0", "confirm", "0")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "1 in flight is not tried again")
		if s := b.Stats(); s.InFlight != 0 {
			t.Errorf("%d messages are in flight", s.InFlight)
		}
	})
}

// TestTooManyRuns: calls that wait are bounded, and end with the broker.
func TestTooManyRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{})
		must(t, b.Handle("local:slow", func(ctx context.Context, _ *recall.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		publish(t, b, recall.Message{URL: "local:slow", Labels: []string{"x"}, Timeout: 24 * time.Hour})
		synctest.Wait()
		web := open(t, b, nil)
		form := []string{"labels", "x", "policy", "wait", "wait", "3600", "expect", "0", "confirm", "0"}
		for range 8 {
			web.post("/bulk/run", form...).check(t, http.StatusSeeOther)
		}
		synctest.Wait()
		web.post("/bulk/run", form...).check(t, http.StatusServiceUnavailable, "Too many")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = b.Close(ctx) // the attempt is cut short
		synctest.Wait()
	})
}

// TestPlots: whoever looks twice sees what happened in between.
func TestPlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{})
		must(t, b.Handle("local:h", func(context.Context, *recall.Delivery) error {
			time.Sleep(40 * time.Millisecond)
			return nil
		}))
		web := open(t, b, nil)
		web.get("/").check(t, http.StatusOK, "Nothing yet", "No attempt has ended yet")
		for range 3 {
			for range 20 {
				publish(t, b, recall.Message{URL: "local:h"})
			}
			time.Sleep(2 * time.Second)
			web.get("/").check(t, http.StatusOK, "<polyline", "delivered <b>10/s</b>", "median <b>37.5 ms</b>")
		}
		time.Sleep(time.Second)
		a := web.get("/")
		a.check(t, http.StatusOK, "median <b>37.5 ms</b>") // nothing has ended since: it is the last that is known
		time.Sleep(10 * time.Minute)
		a = web.get("/")
		a.check(t, http.StatusOK, "Nothing yet") // nobody has looked
		if strings.Contains(a.body, "delivered <b>10/s") {
			t.Error("old samples are shown")
		}
	})
}

func TestNoEvents(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true, NoEvents: true})
	id := publish(t, b, recall.Message{Delay: time.Hour})
	web := open(t, b, &dashboard.Options{})
	web.get("/events").check(t, http.StatusOK, "No events are kept")
	web.get("/messages/"+string(id)).check(t, http.StatusOK, "No events are kept")
	_, page := web.follow("/messages/"+string(id)+"/change", "do", "cancel")
	page.check(t, http.StatusOK, "The message is cancelled.")
}
