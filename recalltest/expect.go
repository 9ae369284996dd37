package recalltest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// NoBody is the Body of a [Message] that must be empty.
const NoBody = "\x00no body"

// Message is what a check expects of a message. Fields that are not set are not
// looked at.
type Message struct {
	ID     recall.MessageID
	URL    string
	Method string
	Body   string            // [NoBody]: there is none
	Header map[string]string // those of the message that must have these values
	// Queue, Topic, ScheduleID and FlowKey must be equal, Label one of the
	// message's.
	Queue, Topic, ScheduleID, FlowKey, Label string
	// Delay is how long after it was published the first attempt was due.
	Delay time.Duration
	// Attempts is how many attempts were made.
	Attempts int
}

// field is one thing that a check looks at, as it is shown.
type field struct {
	name, want, got string
	same            bool
}

// compare returns what m expects beside what there is.
func (m *Message) compare(k *known) (fields []field, same bool) {
	have := &k.message
	same = true
	add := func(name, want, got string, equal bool) {
		fields = append(fields, field{name, want, got, equal})
		same = same && equal
	}
	text := func(name, want, got string) {
		if want != "" {
			add(name, fmt.Sprintf("%q", want), fmt.Sprintf("%q", got), want == got)
		}
	}
	text("ID", string(m.ID), string(have.ID))
	text("URL", m.URL, have.URL)
	text("Method", m.Method, have.Method)
	if m.Body == NoBody {
		add("Body", "none", fmt.Sprintf("%q", have.Body), len(have.Body) == 0)
	} else {
		text("Body", m.Body, string(have.Body))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		got := strings.Join(have.Header[http.CanonicalHeaderKey(name)], ", ")
		add(name, fmt.Sprintf("%q", m.Header[name]), fmt.Sprintf("%q", got), got == m.Header[name])
	}
	text("Queue", m.Queue, have.Queue)
	text("Topic", m.Topic, have.Topic)
	text("ScheduleID", m.ScheduleID, have.ScheduleID)
	text("FlowKey", m.FlowKey, have.FlowKey)
	if m.Label != "" {
		add("Label", fmt.Sprintf("%q", m.Label), fmt.Sprintf("%q", have.Labels), slices.Contains(have.Labels, m.Label))
	}
	if m.Delay != 0 {
		add("Delay", m.Delay.String(), delayOf(k).String(), m.Delay == delayOf(k))
	}
	if m.Attempts != 0 {
		add("Attempts", fmt.Sprint(m.Attempts), fmt.Sprint(have.Attempts), m.Attempts == have.Attempts)
	}
	return fields, same
}

func delayOf(k *known) time.Duration { return k.message.DueAt.Sub(k.message.CreatedAt) }

// diff shows what is wanted beside the messages there are, the most alike first.
func diff(m *Message, list []known) string {
	var out strings.Builder
	if len(list) == 0 {
		fields, _ := m.compare(&known{record: &record{}})
		for _, f := range fields {
			fmt.Fprintf(&out, "\n  - %s %s", f.name, f.want)
		}
		return out.String() + "\n  there is no other message"
	}
	best, most := 0, -1
	for i := range list {
		fields, _ := m.compare(&list[i])
		alike := 0
		for _, f := range fields {
			if f.same {
				alike++
			}
		}
		if alike > most {
			best, most = i, alike
		}
	}
	fields, _ := m.compare(&list[best])
	fmt.Fprintf(&out, "\n  the most alike (- wanted, + there): %s", list[best].line())
	for _, f := range fields {
		if f.same {
			fmt.Fprintf(&out, "\n    %s %s", f.name, f.want)
		} else {
			fmt.Fprintf(&out, "\n  - %s %s\n  + %s %s", f.name, f.want, f.name, f.got)
		}
	}
	return out.String()
}

// line is a message in one line.
func (k *known) line() string {
	m := &k.message
	text := fmt.Sprintf("%s %s %s %s", m.ID, m.Method, m.URL, clip(string(m.Body)))
	for _, part := range [...][2]string{
		{"queue", m.Queue}, {"topic", m.Topic}, {"schedule", m.ScheduleID}, {"label", strings.Join(m.Labels, ",")},
	} {
		if part[1] != "" {
			text += " " + part[0] + "=" + part[1]
		}
	}
	text += ": " + string(k.fate)
	if k.fate == fateWaits {
		text += " until " + k.due.UTC().Format("2006-01-02 15:04:05.000")
	}
	var outcomes []string
	for _, d := range k.requests {
		outcomes = append(outcomes, d.outcome())
	}
	if len(outcomes) > 0 {
		text += ", attempts: " + strings.Join(outcomes, ", ")
	}
	return text
}

// outcome is what came of a request, in a word.
func (d *Delivery) outcome() string {
	switch {
	case d.Error != "":
		return d.Error
	case d.Status == 0:
		return "not answered yet"
	}
	return fmt.Sprint(d.Status)
}

// clip shortens a body to what a line has room for.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
}

// lines shows messages, one a line.
func lines(list []known) string {
	const most = 20
	var out strings.Builder
	for i := range list {
		if i == most {
			fmt.Fprintf(&out, "\n  and %d more", len(list)-most)
			break
		}
		fmt.Fprintf(&out, "\n  %s", list[i].line())
	}
	return out.String()
}
