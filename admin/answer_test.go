package admin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// TestListHasToMakeSense: a line that is neither an item, an error nor the end is an
// error, and so is a list without an end.
func TestListHasToMakeSense(t *testing.T) {
	const item = `{"item":{"id":"msg_01ARZ3NDEKTSV4RRFFQ69G5FAV"}}` + "\n"
	for lines, want := range map[string]string{
		item + "{}\n" + `{"end":{}}`:             "neither an item, an error nor the end",
		item + `{"items":[]}` + `{"end":{}}`:     "neither an item, an error nor the end",
		item + "null\n" + `{"end":{}}`:           "neither an item, an error nor the end",
		item + "nonsense":                        "cannot be read",
		item:                                     "ended too early",
		"":                                       "ended too early",
		item + item + `{"error":{"error":"no"}}`: "no",
	} {
		c := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, lines) }), "")
		n, failed := 0, error(nil)
		for _, err := range c.List(t.Context(), recall.Filter{}, "", 0) {
			if err != nil {
				failed = err
				continue
			}
			n++
		}
		if failed == nil || !strings.Contains(failed.Error(), want) || n != strings.Count(lines, `"item"`) {
			t.Errorf("%q: got %d items, %v", lines, n, failed)
		}
	}
}

// timed is an answer on a connection that has deadlines.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
	late     bool // something was written after it
}

func (w *timed) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *timed) Write(p []byte) (int, error) {
	w.late = w.late || time.Now().After(w.deadline)
	return w.ResponseRecorder.Write(p)
}

// TestLongCallKeepsItsAnswer: a call that takes longer than a server gives an answer has
// time to write its own, also where it ends in an error.
func TestLongCallKeepsItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, recall.Options{NoDispatch: true})
		publish(t, b, recall.Message{Queue: "pull", Labels: []string{"x"}})
		if _, err := b.Reschedule(t.Context(), recall.Filter{Labels: []string{"x"}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		out, err := b.Receive(t.Context(), "pull", 1)
		if err != nil {
			t.Fatal(err)
		}
		h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, Logger: quiet})
		for body, status := range map[string]int{ // the message is in flight for a while
			fmt.Sprintf(`{"filter":{"labels":["x"]},"wait":%d}`, 3*time.Second): http.StatusConflict,
			`{"filter":{"labels":["y"]}}`:                                       http.StatusOK,
		} {
			w := &timed{ResponseRecorder: httptest.NewRecorder(), deadline: time.Now().Add(time.Second)}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, admin.Prefix+"cancel", strings.NewReader(body))
			begun := time.Now()
			h.ServeHTTP(w, r)
			if status == http.StatusConflict && time.Since(begun) < 3*time.Second {
				t.Errorf("it did not wait: %v", time.Since(begun))
			}
			if w.Code != status || w.late || w.Body.Len() == 0 || time.Until(w.deadline) <= 0 {
				t.Errorf("%s: got %d %s, late: %v", body, w.Code, w.Body, w.late)
			}
		}
		if err := out[0].Ack(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
