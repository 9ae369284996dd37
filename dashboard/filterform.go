package dashboard

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// listField is a field of a filter that is a list of texts. Names hold no control
// characters, so that one a line is exact.
type listField struct {
	Name, Label, Hint string
	at                func(*recall.Filter) *[]string
}

// listFields have the names that filters have as JSON, but for ids and states,
// whose values are of types of their own.
var listFields = []listField{
	{"labels", "Labels", "order-7", func(f *recall.Filter) *[]string { return &f.Labels }},
	{"queues", "Queues", "", func(f *recall.Filter) *[]string { return &f.Queues }},
	{"urls", "URLs", "https://example.com/hook", func(f *recall.Filter) *[]string { return &f.URLs }},
	{"hosts", "Hosts", "example.com", func(f *recall.Filter) *[]string { return &f.Hosts }},
	{"paths", "Paths", "/hook", func(f *recall.Filter) *[]string { return &f.Paths }},
	{"topics", "URL groups", "", func(f *recall.Filter) *[]string { return &f.Topics }},
	{"schedules", "Schedules", "", func(f *recall.Filter) *[]string { return &f.Schedules }},
	{"flowKeys", "Flow keys", "", func(f *recall.Filter) *[]string { return &f.FlowKeys }},
	{"callerIPs", "Caller IPs", "10.0.0.0/8", func(f *recall.Filter) *[]string { return &f.CallerIPs }},
}

// timeField is a field of a filter that is a time.
type timeField struct {
	Name, Label string
	at          func(*recall.Filter) *time.Time
}

var timeFields = []timeField{
	{"from", "Published from", func(f *recall.Filter) *time.Time { return &f.From }},
	{"to", "Published to", func(f *recall.Filter) *time.Time { return &f.To }},
	{"dueAfter", "Due after", func(f *recall.Filter) *time.Time { return &f.DueAfter }},
	{"dueBefore", "Due before", func(f *recall.Filter) *time.Time { return &f.DueBefore }},
}

// states are those of live messages, in the order of a life.
var states = []recall.State{
	recall.StateDelayed, recall.StateReady, recall.StateRetrying, recall.StateHeld,
	recall.StateQueueBlocked, recall.StateFlowWaiting, recall.StateInFlight,
}

// filterOf reads the filter of a form. A field that is empty is no restriction.
func filterOf(q url.Values) (f recall.Filter, err error) {
	for _, text := range lines(q["ids"]) {
		f.IDs = append(f.IDs, recall.MessageID(text))
	}
	for _, field := range listFields {
		*field.at(&f) = lines(q[field.Name])
	}
	for _, text := range lines(q["states"]) {
		f.States = append(f.States, recall.State(text))
	}
	for _, field := range timeFields {
		if *field.at(&f), err = parseTime(field.Label, q.Get(field.Name)); err != nil {
			return f, err
		}
	}
	if f.MinAttempts, err = wholeNumber("Attempts made", q.Get("minAttempts")); err != nil {
		return f, err
	}
	return f, f.Validate()
}

// valuesOf is the form that [filterOf] reads as f.
func valuesOf(f recall.Filter) url.Values {
	q := url.Values{}
	for _, id := range f.IDs {
		q.Add("ids", string(id))
	}
	for _, field := range listFields {
		if list := *field.at(&f); len(list) > 0 {
			q[field.Name] = list
		}
	}
	for _, s := range f.States {
		q.Add("states", string(s))
	}
	for _, field := range timeFields {
		if t := *field.at(&f); !t.IsZero() {
			q.Set(field.Name, formTime(t))
		}
	}
	if f.MinAttempts > 0 {
		q.Set("minAttempts", strconv.Itoa(f.MinAttempts))
	}
	return q
}

// lines are the values of a field: one a line, in any number of inputs.
func lines(values []string) (list []string) {
	for _, value := range values {
		for line := range strings.Lines(value) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				list = append(list, line)
			}
		}
	}
	return list
}

// timeLayouts are what browsers send for a time without a zone, which is UTC here,
// and what people paste.
var timeLayouts = []string{"2006-01-02T15:04", "2006-01-02T15:04:05.999", "2006-01-02 15:04:05", time.RFC3339Nano}

func parseTime(label, text string) (time.Time, error) {
	if text = strings.TrimSpace(text); text == "" {
		return time.Time{}, nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, badInput(fmt.Sprintf("%s: %q is not a time such as 2026-01-02T15:04:05.", label, short(text, 40)))
}

func formTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999") }

// wholeNumber reads a number that may have commas between its digits; nothing is 0.
func wholeNumber(label, text string) (int, error) {
	text = strings.NewReplacer(",", "", " ", "").Replace(text)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, badInput(fmt.Sprintf("%s: %q is not a number from 0 on.", label, short(text, 40)))
	}
	return n, nil
}

// filterForm is a filter as the inputs of a page.
type filterForm struct {
	IDs    string
	Lists  []listInput
	Times  []timeInput
	States []stateInput
	Least  string // of attempts
	Set    int    // fields that restrict something
	Open   bool   // show the rarer fields
}

type listInput struct {
	listField
	Value string
	Rows  int
}

type timeInput struct {
	timeField
	Value string
}

type stateInput struct {
	State recall.State
	On    bool
}

// formOf fills the inputs with what was sent, right or wrong.
func formOf(q url.Values) filterForm {
	form := filterForm{IDs: strings.Join(lines(q["ids"]), "\n"), Least: q.Get("minAttempts")}
	count := func(set bool) {
		if set {
			form.Set++
		}
	}
	count(form.IDs != "")
	count(form.Least != "")
	for i, field := range listFields {
		list := lines(q[field.Name])
		form.Lists = append(form.Lists, listInput{field, strings.Join(list, "\n"), max(1, min(6, len(list)))})
		count(len(list) > 0)
		form.Open = form.Open || i >= 6 && len(list) > 0
	}
	for _, field := range timeFields {
		form.Times = append(form.Times, timeInput{field, q.Get(field.Name)})
		count(q.Get(field.Name) != "")
	}
	chosen := lines(q["states"])
	count(len(chosen) > 0)
	for _, s := range states {
		form.States = append(form.States, stateInput{s, slices.Contains(chosen, string(s))})
	}
	return form
}
