package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dashboard"
)

// TestDeleteDeadLetters: nothing is deleted before the number was typed.
func TestDeleteDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, recall.Options{Transport: answers{"no"}})
		for range 4 {
			publish(t, b, recall.Message{Retries: recall.Retries(0)})
		}
		synctest.Wait()
		var ids []string
		for d, err := range b.DeadLetters(t.Context(), recall.Filter{}) {
			must(t, err)
			ids = append(ids, string(d.ID))
		}
		web := open(t, b, nil)
		web.get("/dead").check(t, http.StatusOK, `formmethod="get" formaction="./dead/delete"`)
		web.get("/dead/"+ids[0]).check(t, http.StatusOK, `formmethod="get" formaction="../dead/delete"`)
		asked := web.get("/dead/delete?" + url.Values{"id": {ids[1], ids[0], ids[1]}}.Encode())
		asked.check(t, http.StatusOK, "Delete 2 dead letters?", ids[0], ids[1], "Type <b class=\"num\">2</b>")
		if strings.Contains(asked.body, ids[2]) {
			t.Error("the page names a dead letter that was not chosen")
		}
		for _, form := range [][]string{{}, {"confirm", ""}, {"confirm", "1"}, {"confirm", "3"}, {"confirm", "two"}} {
			web.post("/dead/delete", append(form, "id", ids[0], "id", ids[1])...).check(t, http.StatusBadRequest, "Nothing was changed")
		}
		web.post("/dead/change", "do", "delete", "id", ids[0]).check(t, http.StatusBadRequest)
		web.post("/dead/delete", "confirm", "0").check(t, http.StatusBadRequest, "No dead letter was chosen")
		if n := b.Stats().DeadLetters; n != 4 {
			t.Fatalf("without a confirmation %d dead letters are left, want 4", n)
		}
		_, page := web.follow("/dead/delete", "id", ids[0], "id", ids[1], "confirm", "2")
		page.check(t, http.StatusOK, "Deleted.", ids[2], ids[3])
		if n := b.Stats().DeadLetters; n != 2 {
			t.Errorf("%d dead letters are left, want 2", n)
		}
		web.get("/dead/delete?id="+ids[0]+"&id="+ids[2]).check(t, http.StatusOK, "Delete 1 dead letter?", "1 of those that were chosen is gone")
		web.get("/dead/delete?id="+ids[0]).check(t, http.StatusNotFound)
		web.get("/dead/delete?id=x").check(t, http.StatusBadRequest)
		web.get("/dead/delete").check(t, http.StatusBadRequest)
		_, page = web.follow("/dead/delete", "id", ids[0], "confirm", "1")
		page.check(t, http.StatusOK, "Nothing was changed")
	})
}

// TestDeleteSchedule: nothing is deleted before the name was typed.
func TestDeleteSchedule(t *testing.T) {
	b := openBroker(t, recall.Options{NoDispatch: true})
	ctx := t.Context()
	const name = "s?&/ of the night"
	for _, id := range []string{name, "other"} {
		_, err := b.SetSchedule(ctx, recall.Schedule{ID: id, Cron: "@hourly", Message: recall.Message{URL: "https://example.com/report"}})
		must(t, err)
	}
	web := open(t, b, nil)
	web.get("/schedules").check(t, http.StatusOK, `formmethod="get" formaction="./schedules/delete"`)
	web.get("/schedules/delete?"+url.Values{"name": {name}}.Encode()).check(t, http.StatusOK,
		"Delete this schedule?", "Type <b>s?&amp;/ of the night</b>", "https://example.com/report", "@hourly")
	for _, typed := range []string{"", "other", "s?&/", "S?&/ OF THE NIGHT"} {
		web.post("/schedules/delete", "name", name, "confirm", typed).check(t, http.StatusBadRequest, "Nothing was changed")
	}
	web.post("/schedules/change", "name", name, "do", "delete").check(t, http.StatusBadRequest)
	if _, err := b.Schedule(ctx, name); err != nil {
		t.Fatalf("without a confirmation the schedule is gone: %v", err)
	}
	_, page := web.follow("/schedules/delete", "name", name, "confirm", " "+name)
	page.check(t, http.StatusOK, "Deleted.", "other")
	if list, err := b.Schedules(ctx); err != nil || len(list) != 1 {
		t.Errorf("%d schedules are left, %v, want the other one", len(list), err)
	}
	web.get("/schedules/delete?name=none").check(t, http.StatusNotFound)
	web.post("/schedules/delete", "name", "none", "confirm", "none").check(t, http.StatusNotFound)
	look := open(t, b, &dashboard.Options{ReadOnly: true})
	look.get("/schedules/delete?name=other").check(t, http.StatusForbidden, "change nothing")
	look.get("/dead/delete?id=x").check(t, http.StatusForbidden, "change nothing")
}
