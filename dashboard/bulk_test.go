package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// label12 publishes messages of two campaigns.
func campaigns(t *testing.T, b *recall.Broker) {
	t.Helper()
	for range 12 {
		publish(t, b, recall.Message{Labels: []string{"campaign-12"}, Delay: time.Hour})
	}
	for range 3 {
		publish(t, b, recall.Message{Labels: []string{"other"}, Delay: time.Hour})
	}
}

func pending(t *testing.T, b *recall.Broker) int {
	t.Helper()
	c, err := b.Count(t.Context(), recall.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Pending
}

func TestBulkCancelAndUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		campaigns(t, b)
		web := open(t, b, nil)
		web.get("/bulk?labels=campaign-12").check(t, http.StatusOK, `id="count"`, ">12<", "label", "Cancel 12 messages")
		web.get("/bulk/confirm?labels=campaign-12&policy=skip").check(t, http.StatusOK,
			`name="expect" value="12"`, `name="labels" value="campaign-12"`, "12 would be cancelled")
		where, _ := web.follow("/bulk/run", "labels", "campaign-12", "policy", "skip", "expect", "12", "confirm", "12", "reason", "wrong list")
		synctest.Wait()
		page := web.get(where)
		page.check(t, http.StatusOK, `id="taken"`, ">12<", `id="undo"`)
		if got := pending(t, b); got != 3 {
			t.Fatalf("%d messages wait, want 3", got)
		}
		web.get("/operations").check(t, http.StatusOK, "label=campaign-12", "wrong list", "can be undone")
		_, id, _ := strings.Cut(page.body, "operations/")
		id, _, _ = strings.Cut(id, "/")
		_, page = web.follow("/operations/" + id + "/restore")
		page.check(t, http.StatusOK, "Restored", "It was undone at")
		if got := pending(t, b); got != 15 {
			t.Errorf("%d messages wait, want 15", got)
		}
	})
}

// TestReschedule: a new due time is confirmed like any other bulk call.
func TestReschedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{NoDispatch: true})
		campaigns(t, b)
		web := open(t, b, nil)
		due := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Minute)
		at, shown := due.Format("2006-01-02T15:04"), due.Format("2006-01-02 15:04:05")
		lacks := web.get("/bulk?labels=campaign-12&verb=reschedule")
		lacks.check(t, http.StatusOK, ">12<", "Fill in the new due time.", "Plan")
		if strings.Contains(lacks.body, `id="go"`) {
			t.Error("without a time there is something to confirm")
		}
		web.get("/bulk?labels=campaign-12&verb=reschedule&due=soon").check(t, http.StatusBadRequest, "New due time")
		web.get("/bulk/confirm?labels=campaign-12&verb=reschedule").check(t, http.StatusBadRequest, "Fill in")
		web.get("/bulk/confirm?labels=campaign-12&verb=reschedule&due=2999-01-01T00:00").check(t, http.StatusBadRequest, "ten years")
		web.post("/bulk/run", "labels", "campaign-12", "verb", "reschedule", "expect", "12", "confirm", "12").check(t, http.StatusBadRequest, "Fill in")
		web.get("/bulk?labels=campaign-12&verb=reschedule&due="+at).check(t, http.StatusOK, "Reschedule 12 messages", `name="due" type="datetime-local" step="any" value="`+at)
		web.get("/bulk/confirm?labels=campaign-12&verb=reschedule&due="+at).check(t, http.StatusOK,
			"Reschedule 12 messages?", shown, "in 2 d", "12 would be rescheduled", `name="due" value="`+at, `name="expect" value="12"`)
		web.get("/bulk/confirm?labels=campaign-12&verb=reschedule&due=1999-01-01T00:00").check(t, http.StatusOK, "at once")
		web.get("/bulk?labels=campaign-12&due="+at).check(t, http.StatusOK, "Cancel 12 messages") // the time is for another action
		where, _ := web.follow("/bulk/run", "labels", "campaign-12", "verb", "reschedule", "due", at, "expect", "12", "confirm", "12")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "messages rescheduled", ">12<")
		web.get("/operations").check(t, http.StatusOK, "reschedule")
		moved := 0
		for m, err := range b.List(t.Context(), recall.Filter{}) {
			must(t, err)
			if m.DueAt.Equal(due) != (m.Labels[0] == "campaign-12") {
				t.Errorf("a message with the label %q is due at %v", m.Labels[0], m.DueAt)
			}
			moved++
		}
		if moved != 15 {
			t.Errorf("%d messages wait, want 15", moved)
		}
		where, _ = web.follow("/bulk/run", "labels", "campaign-12", "verb", "reschedule", "due", at, "expect", "11", "confirm", "11")
		synctest.Wait()
		web.get(where).check(t, http.StatusOK, "The number has changed")
	})
}
