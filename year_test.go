package recall_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/cron"
)

// TestYear lets a year of schedules pass twice, with endpoints that fail, and
// compares the two logs of events line by line.
//
// The log is compared in the order of time, and within a millisecond in that of
// the messages: no order is promised between what different messages do at one
// instant, nor where the start of an attempt stands among the events of others.
// Each message's own events stay as the log has them.
func TestYear(t *testing.T) {
	var logs [2][]string
	for i := range logs {
		path := filepath.Join(t.TempDir(), "q.db")
		synctest.Test(t, func(t *testing.T) { logs[i] = liveYear(t, path).text() })
	}
	if len(logs[0]) != len(logs[1]) {
		t.Errorf("%d lines the first time, %d the second", len(logs[0]), len(logs[1]))
	}
	for i := range min(len(logs[0]), len(logs[1])) {
		if logs[0][i] != logs[1][i] {
			t.Fatalf("line %d differs:\n%s\n%s", i, logs[0][i], logs[1][i])
		}
	}
}

// yearPeriod is that of the flow-control limit. No number of periods that follow
// one another ends at the time of a schedule.
const yearPeriod = 7*time.Minute + time.Second

// year is one run.
type year struct {
	t      *testing.T
	path   string
	broker *recall.Broker

	begun, paused, resumed, closed, opened, ended time.Time

	mu    sync.Mutex
	calls map[recall.MessageID]yearCall // by id of the callback

	events []recall.Event
	names  map[recall.MessageID]int
	late   bool // the queue has ever had messages waiting
}

// yearCall is what a callback says.
type yearCall struct {
	Source  recall.MessageID    `json:"sourceMessageId"`
	Retried int                 `json:"retried"`
	DLQ     recall.DeadLetterID `json:"dlqId"`
}

func yearSchedules() []recall.Schedule {
	office := "30 6-18/6 * * MON-FRI"
	if os.Getenv("RECALL_SOAK") != "" {
		office = "*/15 * * * MON-FRI"
	}
	limit := &recall.FlowLimit{Rate: 1, Period: yearPeriod}
	list := []recall.Schedule{
		{ID: "daily", Cron: "CRON_TZ=Europe/Berlin 30 2 * * *", Message: recall.Message{
			Topic: "morning", FlowKey: "api", Flow: limit, Priority: 5, Retries: recall.Retries(2),
		}},
		{ID: "monthly", Cron: "@monthly", Message: recall.Message{
			URL: "https://ledger.test/close", Queue: "ledger", Retries: recall.Retries(60), RetryDelay: "86400000",
		}},
		{ID: "office", Cron: office, CatchUp: recall.CatchUpAll, Message: recall.Message{
			URL: "https://office.test/tick", FlowKey: "api", Flow: limit, Retries: recall.Retries(1),
		}},
	}
	for i := range list {
		m := &list[i].Message
		m.Labels = []string{list[i].ID}
		m.Callback = &recall.Callback{URL: "https://watch.test/each", Retries: recall.Retries(1)}
		m.FailureCallback = &recall.Callback{URL: "https://watch.test/dead", Retries: recall.Retries(3)}
	}
	return list
}

func liveYear(t *testing.T, path string) *year {
	y := &year{t: t, path: path, calls: map[recall.MessageID]yearCall{}, names: map[recall.MessageID]int{}}
	y.open()
	defer func() { closeNow(t, y.broker, t.Context()) }()
	sleep(30 * time.Second)
	addEndpoints(t, y.broker, "morning",
		recall.Endpoint{Name: "mail", URL: "https://mail.test/send"}, recall.Endpoint{Name: "wiki", URL: "https://wiki.test/page"})
	for _, s := range yearSchedules() {
		setSchedule(t, y.broker, s)
	}
	y.begun = time.Now()
	y.pass()
	y.events = allEvents(t, y.broker)
	y.name()
	y.check()
	return y
}

// pass is the year: a holiday of one schedule, a day without the broker, and at
// the end enough time for what still waits.
func (y *year) pass() {
	t := y.t
	y.paused = y.until(time.June, 5, 12, 0, 17)
	if err := y.broker.PauseSchedule(t.Context(), "office"); err != nil {
		t.Fatal(err)
	}
	y.resumed = y.until(time.June, 14, 9, 1, 3)
	if err := y.broker.ResumeSchedule(t.Context(), "office"); err != nil {
		t.Fatal(err)
	}
	y.closed = y.until(time.September, 5, 6, 30, 1) // a Tuesday; attempts are waiting and running
	closeNow(t, y.broker, t.Context())
	y.opened = y.until(time.September, 5, 19, 0, 41)
	y.open()
	y.ended = y.until(time.December, 31, 23, 59, 30)
	for _, s := range yearSchedules() {
		if err := y.broker.DeleteSchedule(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	sleep(15 * 24 * time.Hour)
}

func (y *year) until(month time.Month, day, hour, minute, second int) time.Time {
	at := time.Date(2000, month, day, hour, minute, second, 0, time.UTC)
	sleep(time.Until(at))
	return at
}

func (y *year) open() {
	y.broker = logFile(y.t, y.path, recall.Options{
		Transport: roundTrip(y.answer), DeadLetterRetention: -1, EventRetention: 1000 * 24 * time.Hour, MaxEvents: 10_000_000,
	})
}

// answer is every endpoint. How long it takes and what it says hangs on URL, time
// and attempt alone; the ledger is away for weeks.
func (y *year) answer(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, r.URL, now.UnixMilli(), r.Header.Get("Recall-Retried"))
	luck := h.Sum32()
	if r.URL.Host == "watch.test" {
		y.called(r, body)
	}
	time.Sleep(time.Duration(100+luck%797) * time.Millisecond)
	switch luck /= 797; {
	case r.URL.Host == "ledger.test" && now.YearDay() > 20 && now.YearDay() < 75:
		return answer(503), nil
	case luck%50 == 0:
		return answer(489, "Upstash-NonRetryable-Error", "true"), nil
	case luck%4 == 0:
		return answer(500), nil
	}
	return answer(200), nil
}

// called notes a callback, which may come again if it was answered badly.
func (y *year) called(r *http.Request, body []byte) {
	var c yearCall
	if err := json.Unmarshal(body, &c); err != nil {
		y.t.Errorf("callback %q: %v", body, err)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.calls[recall.MessageID(r.Header.Get("Recall-Message-Id"))] = c
}

func allEvents(t *testing.T, b *recall.Broker) (all []recall.Event) {
	t.Helper()
	for after := recall.EventID(""); ; {
		page, err := b.EventPage(t.Context(), recall.EventFilter{OldestFirst: true}, after, recall.MaxEventPage)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Events...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// name numbers the messages in the order of publication; those of one millisecond
// by what they are, since different goroutines publish them.
func (y *year) name() {
	var created []recall.Event
	for _, ev := range y.events {
		if ev.State == recall.EventCreated {
			created = append(created, ev)
		}
	}
	slices.SortStableFunc(created, func(a, b recall.Event) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(describe(a), describe(b)))
	})
	for i, ev := range created {
		y.names[ev.Message] = i + 1
	}
}

func describe(ev recall.Event) string {
	due := ""
	if !ev.Due.IsZero() {
		due = ev.Due.UTC().Format(time.StampMilli)
	}
	return fmt.Sprintf("%s schedule=%s topic=%s queue=%s flow=%s labels=%v attempt=%d status=%d due=%s %s",
		ev.URL, ev.ScheduleID, ev.Topic, ev.Queue, ev.FlowKey, ev.Labels, ev.Attempt, ev.Status, due, ev.Reason)
}

// text is the log without anything that differs from file to file.
func (y *year) text() (lines []string) {
	slices.SortStableFunc(y.events, func(a, b recall.Event) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(y.names[a.Message], y.names[b.Message]))
	})
	for _, ev := range y.events {
		at := ev.At.UTC().Format("2006-01-02 15:04:05.000")
		lines = append(lines, fmt.Sprintf("%s #%d %s %s", at, y.names[ev.Message], ev.State, describe(ev)))
	}
	return lines
}

func (y *year) check() {
	checkCount(y.t, y.broker, recall.Count{})
	for _, s := range yearSchedules() {
		y.checkFires(s)
	}
	y.checkEnds()
	y.checkCallbacks()
	y.checkFlow()
	y.checkLedger()
}

// checkFires compares when a schedule has published with what the line says.
func (y *year) checkFires(s recall.Schedule) {
	got := map[string][]time.Time{}
	for _, ev := range y.events {
		if ev.State == recall.EventCreated && ev.ScheduleID == s.ID {
			got[ev.URL] = append(got[ev.URL], ev.At.UTC())
		}
	}
	urls := []string{s.Message.URL}
	if s.Message.Topic != "" {
		urls = []string{"https://mail.test/send", "https://wiki.test/page"}
	}
	want := y.fires(s)
	for _, url := range urls {
		if !slices.EqualFunc(got[url], want, time.Time.Equal) {
			y.t.Errorf("%s has published %d times to %s, want %d at other times", s.ID, len(got[url]), url, len(want))
		}
	}
	if len(got) != len(urls) {
		y.t.Errorf("%s has published to %d URLs, want %d", s.ID, len(got), len(urls))
	}
}

// fires are the times at which a schedule should publish.
func (y *year) fires(s recall.Schedule) (times []time.Time) {
	line, err := cron.Parse(s.Cron)
	if err != nil {
		y.t.Fatal(err)
	}
	for at := line.Next(y.begun, y.begun); !at.After(y.ended); at = line.Next(at, y.begun) {
		switch {
		case s.ID == "office" && at.After(y.paused) && !at.After(y.resumed):
		case at.After(y.closed) && at.Before(y.opened): // made up for
			times = append(times, y.opened)
		default:
			times = append(times, at)
		}
	}
	return times
}

// checkEnds: every message has ended, and the dead ones are dead letters.
func (y *year) checkEnds() {
	n := map[recall.EventState]int{}
	for _, ev := range y.events {
		n[ev.State]++
	}
	dead := len(deadLetters(y.t, y.broker))
	if n[recall.EventFailed] != dead || dead == 0 {
		y.t.Errorf("%d have failed for good, and there are %d dead letters; want as many, and some", n[recall.EventFailed], dead)
	}
	if ends := n[recall.EventDelivered] + dead; n[recall.EventCreated] != ends || n[recall.EventCreated] != len(y.names) {
		y.t.Errorf("%d messages were published, %d are named, %d have ended", n[recall.EventCreated], len(y.names), ends)
	}
	if n[recall.EventError] != n[recall.EventRetry]+dead || n[recall.EventRetry] == 0 {
		y.t.Errorf("%d attempts have failed, with %d retries and %d dead", n[recall.EventError], n[recall.EventRetry], dead)
	}
	if attempts := n[recall.EventError] + n[recall.EventDelivered]; n[recall.EventActive] != attempts {
		y.t.Errorf("%d attempts have begun and %d ended", n[recall.EventActive], attempts)
	}
	y.t.Logf("%v", n)
}

// checkCallbacks: each attempt has exactly one, and each dead message another.
func (y *year) checkCallbacks() {
	want, got := map[yearCall]int{}, map[yearCall]int{}
	for _, ev := range y.events {
		if ev.ScheduleID == "" {
			continue // a callback has none
		}
		if ev.State == recall.EventError || ev.State == recall.EventDelivered {
			want[yearCall{Source: ev.Message, Retried: ev.Attempt - 1}]++
		}
	}
	for _, d := range deadLetters(y.t, y.broker) {
		if d.Message.ScheduleID != "" {
			want[yearCall{Source: d.Message.ID, Retried: d.Attempts - 1, DLQ: d.ID}]++
		}
	}
	for _, c := range y.calls {
		got[c]++
	}
	for c, n := range want {
		if n != 1 || got[c] != 1 {
			y.t.Fatalf("%d callbacks tell %+v, want 1", got[c], c)
		}
	}
	if len(got) != len(want) {
		y.t.Errorf("%d callbacks, want %d", len(got), len(want))
	}
}

// checkFlow: one attempt begins in each period, also over the restart.
func (y *year) checkFlow() {
	waited := 0
	var last time.Time
	for _, ev := range y.begins("api") {
		if ev.At.Sub(last) < yearPeriod {
			y.t.Fatalf("attempts begin at %v and %v, less than %v apart", last, ev.At, yearPeriod)
		}
		if ev.At.Sub(last) == yearPeriod {
			waited++
		}
		last = ev.At
	}
	if waited == 0 {
		y.t.Error("the limit has never kept anything waiting")
	}
}

// begins are the starts of attempts of a flow-control key, in the order of time.
func (y *year) begins(key string) (list []recall.Event) {
	for _, ev := range y.events {
		if ev.State == recall.EventActive && ev.FlowKey == key {
			list = append(list, ev)
		}
	}
	slices.SortFunc(list, func(a, b recall.Event) int { return a.At.Compare(b.At) })
	return list
}

// checkLedger: the queue goes by the order of publication, one after the other,
// and was late while its endpoint was away.
func (y *year) checkLedger() {
	var created, ended []recall.MessageID
	var head recall.MessageID
	for _, ev := range y.events {
		switch {
		case ev.Queue != "ledger":
		case ev.State == recall.EventCreated:
			created = append(created, ev.Message)
		case ev.State == recall.EventActive && head == "":
			head = ev.Message
		case ev.Message != head:
			y.t.Errorf("%s of %s while %s is the head of the queue", ev.State, ev.Message, head)
		case ev.State == recall.EventDelivered || ev.State == recall.EventFailed:
			ended, head = append(ended, head), ""
		}
		if ev.Queue == "ledger" && len(created)-len(ended) > 1 {
			y.late = true
		}
	}
	if !slices.Equal(created, ended) || !y.late {
		y.t.Errorf("the queue has published %q and ended %q, late: %v", created, ended, y.late)
	}
}
