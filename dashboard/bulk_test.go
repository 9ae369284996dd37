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
