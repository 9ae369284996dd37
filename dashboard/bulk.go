package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/recallmq/recall"
)

const (
	// sampleSize is how many matches the preview shows, and blockersShown how many
	// of those in flight.
	sampleSize, blockersShown = 8, 5
	// maxWait bounds the Wait of a call that is made here.
	maxWait = time.Hour
)

// bulkPage has the filter, and what it meets: its count, plan and sample are the
// live part, which a script asks for at every keystroke.
func bulkPage(v *visit) error {
	data := struct {
		Form    bulkForm
		Preview *preview
		Problem string
		Query   string
	}{Form: bulkFormOf(v.r.Form)}
	status := http.StatusOK
	call, err := callOf(v.r.Form)
	if err == nil {
		data.Preview, err = v.preview(call)
	}
	if err != nil {
		if status, data.Problem = explain(err); status != http.StatusBadRequest {
			return err
		}
		data.Preview = nil
	} else {
		data.Query = call.values().Encode()
	}
	v.showStatus(status, "bulk", "Bulk cancel", data)
	return nil
}

// preview is what a call would meet.
type preview struct {
	Call     *bulkCall
	Count    recall.Count
	Plan     recall.Plan
	Sample   []recall.Message
	Blockers []recall.Message
	Lacks    string // what has to be filled in; "" if nothing
	Guard    string // how the number is not what was expected; "" if it is
}

// Ready tells whether there is something to confirm.
func (p *preview) Ready() bool {
	return (p.Call.All || !p.Call.Filter.IsZero()) && p.Lacks == "" && p.Guard == "" && (p.Count.Pending > 0 || p.Count.InFlight > 0 && p.Call.asks())
}

// Takes is how many of the messages that wait the call is about to take, if
// nothing in flight ends it early.
func (p *preview) Takes() int {
	if p.Call.Limit > 0 {
		return min(p.Call.Limit, p.Count.Pending)
	}
	return p.Count.Pending
}

func (v *visit) preview(call *bulkCall) (*preview, error) {
	b, ctx := v.site.broker, v.r.Context()
	p := &preview{Call: call, Lacks: call.lacks()}
	var err error
	if p.Count, err = b.Count(ctx, call.Filter); err != nil {
		return nil, err
	}
	if p.Plan, err = b.Explain(ctx, call.Filter); err != nil {
		return nil, err
	}
	if p.Sample, err = firstOf(ctx, b, call.Filter, sampleSize); err != nil {
		return nil, err
	}
	if p.Count.InFlight > 0 {
		out := call.Filter
		out.States = []recall.State{recall.StateInFlight}
		if p.Blockers, err = firstOf(ctx, b, out, blockersShown); err != nil {
			return nil, err
		}
	}
	p.Guard = call.unmet(p.Count.Pending)
	return p, nil
}

// firstOf returns the oldest matches of a filter.
func firstOf(ctx context.Context, b *recall.Broker, f recall.Filter, limit int) (list []recall.Message, err error) {
	for m, err := range b.List(ctx, f) {
		if err != nil {
			return nil, err
		}
		if list = append(list, m); len(list) == limit {
			break
		}
	}
	return list, nil
}

// confirmPage shows what exactly the call will do, and asks for the number.
func confirmPage(v *visit) error {
	call, err := callOf(v.r.Form)
	if err != nil {
		return err
	}
	p, err := v.preview(call)
	if err != nil {
		return err
	}
	if p.Lacks != "" {
		return badInput(p.Lacks)
	}
	if p.Guard != "" {
		return &fault{status: http.StatusConflict, text: p.Guard}
	}
	if !p.Ready() {
		return &fault{status: http.StatusConflict, text: "Nothing matches that could be changed."}
	}
	forecast, err := call.do(v.r.Context(), v.site.broker, recall.DryRun())
	var blocked *recall.NotCancellableError
	if err != nil && !errors.As(err, &blocked) {
		return err
	}
	data := struct {
		Preview  *preview
		Forecast outcome
		Blocker  recall.MessageID
		Hidden   []hidden
		Back     string
	}{Preview: p, Forecast: forecast, Hidden: hiddenOf(call.values()), Back: call.values().Encode()}
	if blocked != nil {
		data.Blocker = blocked.ID
	}
	return v.show("confirm", "Confirm", data)
}

// hidden is a hidden input.
type hidden struct{ Name, Value string }

func hiddenOf(q url.Values) (list []hidden) {
	for _, name := range sortedKeys(q) {
		for _, value := range q[name] {
			list = append(list, hidden{name, value})
		}
	}
	return list
}

// startRun makes the call, if the number that the visitor has typed is the one
// that the page has shown. The number is passed on as ExpectExactly: if messages
// have come or gone meanwhile, nothing is changed.
func startRun(v *visit) error {
	call, err := callOf(v.r.PostForm)
	if err != nil {
		return err
	}
	if call.Expect, err = strconv.Atoi(v.r.PostForm.Get("expect")); err != nil || call.Expect < 0 {
		return badInput("The number of messages that the call is about is missing.")
	}
	typed, err := wholeNumber("Number", v.r.PostForm.Get("confirm"))
	if err != nil {
		return err
	}
	if v.r.PostForm.Get("confirm") == "" || typed != call.Expect {
		return badInput(fmt.Sprintf("The number that you typed is not %s. Nothing was changed.", number(call.Expect)))
	}
	if lacks := call.lacks(); lacks != "" {
		return badInput(lacks)
	}
	if guard := call.unmet(call.Expect); guard != "" {
		return &fault{status: http.StatusConflict, text: guard}
	}
	run, err := v.site.runs.start(v.site, call)
	if err != nil {
		return err
	}
	redirect(v.w, v.root+"bulk/runs/"+run.ID)
	return nil
}
