package dashboard

import (
	"errors"
	"net/http"

	"github.com/recallmq/recall"
)

// deadLetters is a page of the dead letter queue.
type deadLetters struct {
	Form    filterForm
	List    []recall.DeadLetter
	Next    string
	Later   bool
	Total   int
	Query   string
	Problem string
}

// deadOnPage is how many dead letters a page shows.
const deadOnPage = 50

func deadPage(v *visit) error {
	data := deadLetters{Form: formOf(v.r.Form), Total: v.site.broker.Stats().DeadLetters, Later: v.r.Form.Get("after") != ""}
	f, err := filterOf(v.r.Form)
	var page recall.DeadLetterPage
	if err == nil {
		page, err = v.site.broker.DeadLetterPage(v.r.Context(), f, recall.DeadLetterID(v.r.Form.Get("after")), deadOnPage)
	}
	if err != nil {
		status, text := explain(err)
		if status != http.StatusBadRequest {
			return err
		}
		data.Problem = text
		v.showStatus(status, "dead", "Dead letters", data)
		return nil
	}
	q := valuesOf(f)
	data.List, data.Query = page.DeadLetters, q.Encode()
	if page.Next != "" {
		q.Set("after", string(page.Next))
		data.Next = q.Encode()
	}
	return v.show("dead", "Dead letters", data)
}

func deadLetterPage(v *visit) error {
	d, err := v.site.broker.DeadLetter(v.r.Context(), recall.DeadLetterID(v.r.PathValue("id")))
	if err != nil {
		return err
	}
	events, err := v.site.broker.MessageEvents(v.r.Context(), d.Message.ID)
	if err != nil && !errors.Is(err, recall.ErrUnsupported) {
		return err
	}
	return v.show("deadletter", "Dead letter", struct {
		Letter   recall.DeadLetter
		Events   []recall.Event
		NoEvents bool
	}{d, events, v.site.broker.Options().NoEvents})
}

// changeDead publishes the chosen entries of the dead letter queue again.
func changeDead(v *visit) error {
	ids, err := chosenDead(v)
	if err != nil {
		return err
	}
	if v.r.PostForm.Get("do") != "retry" {
		return badInput("There is no such change of a dead letter.")
	}
	if _, err := v.site.broker.RetryDeadLetters(v.r.Context(), ids...); err != nil {
		return err
	}
	return v.done("dead", "redriven")
}
