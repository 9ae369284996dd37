package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func setSchedule(t *testing.T, b *recall.Broker, s recall.Schedule) recall.Schedule {
	t.Helper()
	got, err := b.SetSchedule(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func schedule(t *testing.T, b *recall.Broker, id string) recall.Schedule {
	t.Helper()
	s, err := b.Schedule(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everyMinute publishes a message that nobody takes.
var everyMinute = recall.Schedule{ID: "s", Cron: "* * * * *", Message: recall.Message{URL: "local:nobody"}}

// published are the times at which a schedule has published messages that are
// still there.
func published(t *testing.T, b *recall.Broker, id string) (at []string) {
	t.Helper()
	for _, m := range listed(t, b, recall.Filter{Schedules: []string{id}}) {
		at = append(at, m.CreatedAt.UTC().Format("2 15:04:05"))
	}
	return at
}

func checkPublished(t *testing.T, b *recall.Broker, id string, want ...string) {
	t.Helper()
	if got := published(t, b, id); !slices.Equal(got, want) {
		t.Errorf("published by %s: %q, want %q", id, got, want)
	}
}

// TestYearOfSchedules lets a year pass; the clocks change twice in it.
func TestYearOfSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		var mu sync.Mutex
		got := map[string][]time.Time{}
		handle(t, b, "local:h", func(_ context.Context, d *recall.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			got[d.ScheduleID] = append(got[d.ScheduleID], time.Now())
			return nil
		})
		sleep(90 * time.Second)
		begin := time.Now()
		for id, line := range map[string]string{
			"hourly": "@hourly", "berlin": "CRON_TZ=Europe/Berlin 30 2 * * *", "york": "CRON_TZ=America/New_York 30 1 * * 0",
		} {
			setSchedule(t, b, recall.Schedule{ID: id, Cron: line, Message: recall.Message{URL: "local:h"}})
		}
		sleep(366 * 24 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if n := len(got["hourly"]); n != 366*24 {
			t.Errorf("hourly: %d times, want %d", n, 366*24)
		}
		for i, at := range got["hourly"] {
			if want := begin.Truncate(time.Hour).Add(time.Duration(i+1) * time.Hour); !at.Equal(want) {
				t.Fatalf("hourly: %v, want %v", at, want)
			}
		}
		checkDays(t, got["berlin"], "Europe/Berlin", 366, map[string]string{"2000-03-26": "03:00 +0200", "2000-10-29": "02:30 +0200"}, "02:30")
		checkDays(t, got["york"], "America/New_York", 53, map[string]string{"2000-10-29": "01:30 -0400"}, "01:30")
	})
}

// checkDays checks that each day was met once, at the same time but on special
// days.
func checkDays(t *testing.T, times []time.Time, zone string, n int, special map[string]string, usual string) {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	days := map[string]bool{}
	for _, at := range times {
		local := at.In(loc)
		day := local.Format("2006-01-02")
		want, is := usual+local.Format(" -0700"), local.Format("15:04 -0700")
		if s, ok := special[day]; ok {
			want = s
		}
		if is != want || days[day] {
			t.Errorf("%s on %s: at %s, want once, at %s", zone, day, is, want)
		}
		days[day] = true
	}
	if len(days) != n {
		t.Errorf("%s: %d days, want %d", zone, len(days), n)
	}
}

func TestSchedulePublishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Timeout: 7 * time.Second})
		addEndpoints(t, b, "t", threeEndpoints...)
		setSchedule(t, b, recall.Schedule{ID: "topic", Cron: "*/2 * * * *", Message: recall.Message{Topic: "t", Delay: time.Hour}})
		setSchedule(t, b, recall.Schedule{ID: "queue", Cron: "@every 90s", Message: recall.Message{
			URL: "local:x", Queue: "q", Retries: recall.Retries(9), ScheduleID: "another",
		}})
		sleep(150 * time.Second)
		checkPublished(t, b, "topic", "1 00:02:00", "1 00:02:00", "1 00:02:00")
		checkPublished(t, b, "queue", "1 00:01:30")
		checkPublished(t, b, "another")
		for i, m := range listed(t, b, recall.Filter{Schedules: []string{"topic"}}) {
			want := threeEndpoints[i]
			if m.URL != want.URL || m.Endpoint != want.Name || m.Topic != "t" || m.Timeout != 7*time.Second ||
				m.Method != http.MethodPost || *m.Retries != recall.DefaultRetries || !m.DueAt.Equal(m.CreatedAt.Add(time.Hour)) {
				t.Errorf("message %d: %+v", i, m)
			}
		}
		if m := listed(t, b, recall.Filter{Queues: []string{"q"}})[0]; *m.Retries != 9 || m.ScheduleID != "queue" {
			t.Errorf("in the queue: %+v", m)
		}
		s := schedule(t, b, "topic")
		if time.Until(s.Next) != 90*time.Second || s.Next.Sub(s.Last) != 2*time.Minute || s.Error != "" {
			t.Errorf("the schedule: %+v", s)
		}

		res, err := b.CancelMatching(t.Context(), recall.Filter{Schedules: []string{"topic"}})
		if err != nil || res.Cancelled != 3 {
			t.Errorf("CancelMatching: %+v, %v", res, err)
		}
		if _, err := b.CancelFuture(t.Context(), recall.Filter{Schedules: []string{"queue"}}, time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		sleep(50 * time.Second) // the queue's next time is taken on arrival
		checkPublished(t, b, "queue", "1 00:01:30")
		if s := schedule(t, b, "queue"); s.Last.Format("15:04:05") != "00:03:00" {
			t.Errorf("the schedule: %+v", s)
		}
	})
}

// TestMissedTimes closes the broker for a while.
func TestMissedTimes(t *testing.T) {
	for _, c := range []struct {
		name string
		s    recall.Schedule
		down time.Duration
		want []string // from the open on
	}{
		{"one for all", recall.Schedule{}, 3 * time.Hour, []string{"1 03:00:30", "1 03:01:00"}},
		{"nothing was missed", recall.Schedule{Cron: "@daily"}, 3 * time.Hour, nil},
		{"none", recall.Schedule{Cron: "15 * * * *", CatchUp: recall.CatchUpNone}, 3 * time.Hour, nil},
		{"none, but one that is almost met", recall.Schedule{CatchUp: recall.CatchUpNone}, 3 * time.Hour, []string{"1 03:00:30", "1 03:01:00"}},
		{"all", recall.Schedule{Cron: "15 * * * *", CatchUp: recall.CatchUpAll}, 3 * time.Hour, []string{"1 03:00:30", "1 03:00:30", "1 03:00:30"}},
		{"paused", recall.Schedule{CatchUp: recall.CatchUpAll, Paused: true}, 3 * time.Hour, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path, opts := filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
				b, err := recall.Open(path, opts)
				if err != nil {
					t.Fatal(err)
				}
				s := everyMinute
				s.CatchUp, s.Paused = c.s.CatchUp, c.s.Paused
				if c.s.Cron != "" {
					s.Cron = c.s.Cron
				}
				sleep(30 * time.Second)
				set := setSchedule(t, b, s)
				closeNow(t, b, t.Context())
				sleep(c.down)
				if b, err = recall.Open(path, opts); err != nil {
					t.Fatal(err)
				}
				defer func() { closeNow(t, b, context.Background()) }()
				if got := schedule(t, b, "s"); got.Cron != set.Cron || got.Paused != set.Paused || !got.CreatedAt.Equal(set.CreatedAt) {
					t.Errorf("the schedule: %+v, want %+v", got, set)
				}
				sleep(45 * time.Second)
				checkPublished(t, b, "s", c.want...)
			})
		})
	}
}

// TestCatchUpIsBounded misses far more than is made up for.
func TestCatchUpIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := enginetest.NewReference()
		b := newBrokerOn(t, engine, nil)
		s := everyMinute
		s.CatchUp = recall.CatchUpAll
		setSchedule(t, b, s)
		seldom := recall.Schedule{ID: "seldom", Cron: "0 0 29 2 *", Message: recall.Message{URL: "local:nobody"}}
		setSchedule(t, b, seldom)
		closeNow(t, b, t.Context())
		sleep(20 * 365 * 24 * time.Hour)
		engine = engine.Reopen()
		b = newBrokerOn(t, engine, nil)
		opened := time.Now()
		sleep(90 * time.Second)
		if n := len(published(t, b, "s")); n != recall.MaxCatchUp+1 {
			t.Errorf("published %d, want %d", n, recall.MaxCatchUp+1)
		}
		if got := schedule(t, b, "s"); !got.Last.Equal(opened.Add(time.Minute)) {
			t.Errorf("the last time: %v, want %v", got.Last, opened.Add(time.Minute))
		}
		if got := schedule(t, b, "seldom"); len(published(t, b, "seldom")) != 1 || got.Last.Format("2006-01") != "2016-02" {
			t.Errorf("29 February: %+v", got)
		}
	})
}

func TestPausedSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		ctx := t.Context()
		s := everyMinute
		s.CatchUp = recall.CatchUpAll
		setSchedule(t, b, s)
		sleep(90 * time.Second)
		for range 2 {
			if err := b.PauseSchedule(ctx, "s"); err != nil {
				t.Fatal(err)
			}
			if got := schedule(t, b, "s"); !got.Paused || !got.Next.IsZero() {
				t.Errorf("paused: %+v", got)
			}
			sleep(time.Hour)
		}
		checkPublished(t, b, "s", "1 00:01:00")
		for range 2 {
			if err := b.ResumeSchedule(ctx, "s"); err != nil {
				t.Fatal(err)
			}
			if got := schedule(t, b, "s"); got.Paused || time.Until(got.Next) != 30*time.Second {
				t.Errorf("resumed: %+v", got)
			}
		}
		sleep(time.Minute)
		checkPublished(t, b, "s", "1 00:01:00", "1 02:02:00")

		s.Paused = true
		setSchedule(t, b, s)
		sleep(time.Hour)
		s.Paused = false
		setSchedule(t, b, s)
		sleep(time.Minute)
		checkPublished(t, b, "s", "1 00:01:00", "1 02:02:00", "1 03:03:00")

		if err := b.DeleteSchedule(ctx, "s"); err != nil {
			t.Fatal(err)
		}
		sleep(time.Hour)
		checkPublished(t, b, "s", "1 00:01:00", "1 02:02:00", "1 03:03:00")
		for _, err := range []error{
			b.DeleteSchedule(ctx, "s"), b.PauseSchedule(ctx, "s"), b.ResumeSchedule(ctx, "s"), publishError(b.Schedule(ctx, "s")),
		} {
			if !errors.Is(err, recall.ErrNoSchedule) || !strings.Contains(err.Error(), `"s"`) {
				t.Errorf("of a schedule that is gone: %v", err)
			}
		}
		// Anew, it knows nothing of what was before.
		setSchedule(t, b, s)
		if got := schedule(t, b, "s"); !got.Last.IsZero() || !got.CreatedAt.Equal(time.Now()) {
			t.Errorf("anew: %+v", got)
		}
	})
}

func TestSetScheduleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := enginetest.NewReference()
		b := newBrokerOn(t, engine, &recall.Options{NoDispatch: true})
		made := time.Now()
		first := setSchedule(t, b, recall.Schedule{ID: "s", Cron: "@every 1h", Message: recall.Message{URL: "local:nobody", Body: []byte("old")}})
		sleep(100 * time.Minute)
		again := first
		again.Message.Body = []byte("new")
		got := setSchedule(t, b, again)
		if !got.Next.Equal(first.Next) || !got.CreatedAt.Equal(made) || !got.UpdatedAt.Equal(time.Now()) {
			t.Errorf("set again, with the same line: %+v, before %+v", got, first)
		}
		closeNow(t, b, t.Context())
		b = newBrokerOn(t, engine.Reopen(), nil)
		sleep(30 * time.Minute) // the missed time with the new message, and one that counts from the first call
		checkPublished(t, b, "s", "1 01:40:00", "1 02:00:00")
		if m := listed(t, b, recall.Filter{Schedules: []string{"s"}})[0]; string(m.Body) != "new" {
			t.Errorf("the message: %q", m.Body)
		}
		again.Cron = "0 3 * * *"
		if got := setSchedule(t, b, again); got.Next.Format("15:04") != "03:00" || got.Last.Format("15:04") != "02:00" {
			t.Errorf("with another line: %+v", got)
		}
		one, two := first, first
		one.ID, two.ID = "", ""
		one, two = setSchedule(t, b, one), setSchedule(t, b, two)
		if !strings.HasPrefix(one.ID, "scd_") || one.ID == two.ID {
			t.Errorf("ids: %q and %q", one.ID, two.ID)
		}
		if all, err := b.Schedules(t.Context()); err != nil || len(all) != 3 || !reflect.DeepEqual(all[2], schedule(t, b, all[2].ID)) {
			t.Errorf("Schedules: %+v, %v", all, err)
		}
	})
}

func TestBadSchedules(t *testing.T) {
	b := newBroker(t, &recall.Options{NoDispatch: true, MaxBody: 10})
	message := recall.Message{URL: "local:a"}
	for _, c := range []struct {
		s    recall.Schedule
		want error
		text string
	}{
		{recall.Schedule{Cron: "0 25 * * *", Message: message}, recall.ErrInvalid, `Cron: at byte 2, hour: "25"`},
		{recall.Schedule{Message: message}, recall.ErrInvalid, "Cron: at byte 0"},
		{recall.Schedule{Cron: "TZ=Mars 0 0 * * *", Message: message}, recall.ErrInvalid, "at byte 3"},
		{recall.Schedule{ID: strings.Repeat("x", 257), Cron: "@daily", Message: message}, recall.ErrInvalid, "ID"},
		{recall.Schedule{ID: "\n", Cron: "@daily", Message: message}, recall.ErrInvalid, "ID"},
		{recall.Schedule{Cron: "@daily", CatchUp: 3, Message: message}, recall.ErrInvalid, "CatchUp"},
		{recall.Schedule{Cron: "@daily"}, recall.ErrInvalid, "Message: recall: invalid URL"},
		{recall.Schedule{Cron: "@daily", Message: recall.Message{URL: "local:a", Body: make([]byte, 11)}}, recall.ErrInvalid, "Body"},
		{recall.Schedule{Cron: "@daily", Message: recall.Message{URL: "local:a", NotBefore: time.Now()}}, recall.ErrInvalid, "NotBefore"},
		{recall.Schedule{Cron: "@daily", Message: recall.Message{Topic: strings.Repeat("x", 257)}}, recall.ErrInvalid, "Topic"},
		{recall.Schedule{Cron: "@daily", Message: recall.Message{Topic: "unknown"}}, recall.ErrNoTopic, "unknown"},
	} {
		if _, err := b.SetSchedule(t.Context(), c.s); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("got %v, want %v with %q", err, c.want, c.text)
		}
	}
	for _, err := range []error{
		publishError(b.Schedule(t.Context(), "")), b.DeleteSchedule(t.Context(), ""), b.PauseSchedule(t.Context(), ""),
		b.ResumeSchedule(t.Context(), strings.Repeat("x", 300)),
	} {
		if !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("a bad id: %v", err)
		}
	}
	if all, err := b.Schedules(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("what is left: %v, %v", all, err)
	}
}

// TestScheduleKeepsItsMessage: everything that the program sets comes back, also
// after a restart, and is published.
func TestScheduleKeepsItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, opts := filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
		b, err := recall.Open(path, opts)
		if err != nil {
			t.Fatal(err)
		}
		callback := &recall.Callback{URL: "local:c", Retries: recall.Retries(0)}
		m := recall.Message{
			URL: "https://a.test/x", Method: http.MethodPut, Header: http.Header{"X-A": {"1", "caf\xe9"}}, Body: []byte("\x00\xffbody"),
			Queue: "q", Topic: "t", FlowKey: "k", Labels: []string{"a", "b"}, CallerIP: "10.0.0.1", Delay: time.Hour,
			Retries: recall.Retries(0), RetryDelay: "1000", Timeout: time.Minute, Priority: -3, Flow: &recall.FlowLimit{Rate: 3},
			Callback: callback, FailureCallback: callback, DeduplicationID: "d", DeduplicateContent: true,
			Redact: &recall.Redaction{Header: []string{"X-None"}},
		}
		// Whoever adds a field to Message has to store it with schedules.
		for i, v := 0, reflect.ValueOf(m); i < v.NumField(); i++ {
			switch name := v.Type().Field(i).Name; name {
			case "ScheduleID", "NotBefore", "ID", "State", "CreatedAt", "DueAt", "Attempts", "Endpoint", "Source", "Blocks", "Root":
			default:
				if v.Field(i).IsZero() {
					t.Errorf("Message.%s is not covered", name)
				}
			}
		}
		setSchedule(t, b, recall.Schedule{ID: "s", Cron: "* * * * *", CatchUp: recall.CatchUpAll, Message: m})
		given := m.Body[0]
		m.Body[0] = 'X' // the caller's, from here on
		schedule(t, b, "s").Message.Labels[0] = "X"
		m.Body[0] = given
		for range 2 {
			if got := schedule(t, b, "s"); !reflect.DeepEqual(got.Message, m) || got.CatchUp != recall.CatchUpAll {
				t.Errorf("got %+v, want %+v", got.Message, m)
			}
			closeNow(t, b, t.Context())
			if b, err = recall.Open(path, opts); err != nil {
				t.Fatal(err)
			}
		}
		defer func() { closeNow(t, b, context.Background()) }()
		sleep(61 * time.Second)
		all := listed(t, b, recall.Filter{Schedules: []string{"s"}})
		if len(all) != 1 {
			t.Fatalf("published: %d messages", len(all))
		}
		got := all[0]
		if got.URL != m.URL || got.Method != m.Method || !reflect.DeepEqual(got.Header, m.Header) || string(got.Body) != string(m.Body) ||
			got.Topic != "t" || got.FlowKey != "k" || !reflect.DeepEqual(got.Callback, callback) || got.Priority != -3 || *got.Retries != 0 {
			t.Errorf("published: %+v", got)
		}
	})
}

// TestScheduleWithoutTopic passes over what cannot be published, and goes on.
func TestScheduleWithoutTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logs
		b := newBroker(t, &recall.Options{Logger: log.logger()})
		addEndpoints(t, b, "t", recall.Endpoint{URL: "local:nobody"})
		setSchedule(t, b, recall.Schedule{ID: "s", Cron: "* * * * *", Message: recall.Message{Topic: "t"}})
		if err := b.DeleteTopic(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		sleep(150 * time.Second)
		got := schedule(t, b, "s")
		if !strings.Contains(got.Error, "no such topic") || got.Last.Format("04:05") != "02:00" || got.Next.Format("04:05") != "03:00" {
			t.Errorf("the schedule: %+v", got)
		}
		if n := log.count("passed over"); n != 2 {
			t.Errorf("people were told %d times, want 2", n)
		}
		addEndpoints(t, b, "t", recall.Endpoint{URL: "local:nobody"})
		sleep(time.Minute)
		checkPublished(t, b, "s", "1 00:03:00")
		if got := schedule(t, b, "s"); got.Error != "" {
			t.Errorf("the schedule: %+v", got)
		}
	})
}

// TestScheduleClock moves the clock by hand.
func TestScheduleClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &handClock{now: time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)}
		b := newBroker(t, &recall.Options{Clock: clock})
		move := func(d time.Duration) {
			for ; d > 0; d -= 10 * time.Second {
				clock.move(10 * time.Second)
				synctest.Wait()
			}
			clock.move(d)
			synctest.Wait()
		}
		setSchedule(t, b, everyMinute)
		move(time.Minute)
		checkPublished(t, b, "s", "1 12:01:00")
		move(-time.Hour)
		if err := b.PauseSchedule(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		if err := b.ResumeSchedule(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		again := everyMinute
		again.Cron = "*/1 * * * *"
		setSchedule(t, b, again)
		move(time.Hour)
		checkPublished(t, b, "s", "1 12:01:00")
		move(time.Minute)
		checkPublished(t, b, "s", "1 12:01:00", "1 12:02:00")
		clock.move(24 * time.Hour) // set forward
		synctest.Wait()
		checkPublished(t, b, "s", "1 12:01:00", "1 12:02:00", "2 12:02:30")
		move(time.Minute)
		checkPublished(t, b, "s", "1 12:01:00", "1 12:02:00", "2 12:02:30", "2 12:03:00")
	})
}

// refusing refuses changes with messages as long as err is set.
type refusing struct {
	*enginetest.Reference
	mu      sync.Mutex
	err     error
	refused int
}

func (r *refusing) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *refusing) Apply(ctx context.Context, c recall.Change) ([]recall.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && len(c.Messages) > 0 {
		r.refused++
		return nil, r.err
	}
	return r.Reference.Apply(ctx, c)
}

// TestScheduleWithoutRoom: a time whose message found no room is not lost, also
// of a schedule that does not catch up. The time that comes meanwhile is missed.
func TestScheduleWithoutRoom(t *testing.T) {
	for catchUp, want := range map[recall.CatchUp]int{recall.CatchUpOne: 2, recall.CatchUpNone: 1, recall.CatchUpAll: 2} {
		t.Run(catchUp.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := &refusing{Reference: enginetest.NewReference()}
				engine.set(recall.ErrFull)
				b := newBrokerOn(t, engine, nil)
				s := everyMinute
				s.Cron, s.CatchUp = "0 * * * *", catchUp
				setSchedule(t, b, s)
				sleep(130 * time.Minute)
				if engine.refused < 2 || engine.refused > 800 {
					t.Errorf("tried %d times", engine.refused)
				}
				if got := schedule(t, b, "s"); !got.Last.IsZero() || got.Next.Format("15:04") != "01:00" {
					t.Errorf("the schedule: %+v", got)
				}
				engine.set(nil)
				sleep(10 * time.Second)
				if got := schedule(t, b, "s"); len(published(t, b, "s")) != want || got.Last.Format("15:04") != "02:00" {
					t.Errorf("published %q, the schedule: %+v", published(t, b, "s"), got)
				}
			})
		})
	}
}

// TestSchedulesStop ends with the store, and says so once.
func TestSchedulesStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logs
		engine := &refusing{Reference: enginetest.NewReference()}
		b := newBrokerOn(t, engine, &recall.Options{Logger: log.logger()})
		setSchedule(t, b, everyMinute)
		engine.set(fmt.Errorf("%w: disk", recall.ErrFailed))
		sleep(time.Hour)
		if engine.refused != 1 || log.count("schedules have stopped") != 1 {
			t.Errorf("tried %d times:\n%s", engine.refused, log.String())
		}
	})
}

// TestScheduleAcrossFailedCommits fails every commit in turn, before it is made
// and after, and opens the file again: each minute is met once, whatever happened.
func TestScheduleAcrossFailedCommits(t *testing.T) {
	const minutes = 12
	for _, side := range []string{"before", "after"} {
		for every := 2; every <= 4; every++ {
			t.Run(fmt.Sprintf("%s %d", side, every), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "q.db")
					opts := &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
					b, err := recall.Open(path, opts)
					if err != nil {
						t.Fatal(err)
					}
					addEndpoints(t, b, "t", threeEndpoints[:2]...)
					sleep(30 * time.Second)
					s := recall.Schedule{ID: "s", Cron: "* * * * *", CatchUp: recall.CatchUpAll, Message: recall.Message{Topic: "t"}}
					setSchedule(t, b, s)
					closeNow(t, b, t.Context())
					failures := 0
					for end := time.Now().Add(minutes * time.Minute); time.Now().Before(end); sleep(time.Minute) {
						failures += failingMinute(t, path, side, every)
					}
					if failures == 0 {
						t.Error("no commit failed")
					}
					if b, err = recall.Open(path, opts); err != nil {
						t.Fatal(err)
					}
					defer func() { closeNow(t, b, context.Background()) }()
					synctest.Wait()
					if n := len(published(t, b, "s")); n != 2*minutes {
						t.Errorf("published %d messages, want %d", n, 2*minutes)
					}
					if got := schedule(t, b, "s"); time.Until(got.Next) != 30*time.Second {
						t.Errorf("the schedule: %+v", got)
					}
				})
			})
		}
	}
}

// failingMinute runs a broker for some minutes; from its n-th commit on all fail.
func failingMinute(t *testing.T, path, side string, n int) (failures int) {
	t.Helper()
	var commits, failed atomic.Int64
	hook := func(at string) func() error {
		return func() error {
			if at == side && commits.Add(1) >= int64(n) {
				failed.Add(1)
				return errInjected
			}
			return nil
		}
	}
	opts := &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}
	engine, err := recall.OpenFaulty(path, opts, hook("before"), hook("after"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(engine, opts)
	if err != nil {
		t.Fatal(err)
	}
	sleep(3 * time.Minute)
	_ = b.Close(context.Background()) // it may have failed
	return int(failed.Load())
}

// TestManySchedules changes schedules from several goroutines while time passes:
// no minute is met twice.
func TestManySchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &recall.Options{Logger: slog.New(slog.DiscardHandler)})
		addEndpoints(t, b, "t", threeEndpoints[1])
		var all sync.WaitGroup
		for i := range 4 {
			id := fmt.Sprint("s", i%2)
			all.Go(func() {
				for n := range 200 {
					var err error
					switch n % 5 {
					case 0:
						_, err = b.SetSchedule(t.Context(), recall.Schedule{
							ID: id, Cron: []string{"* * * * *", "*/2 * * * *"}[n/5%2], Message: recall.Message{Topic: "t"}, CatchUp: recall.CatchUpAll,
						})
					case 1:
						err = b.PauseSchedule(t.Context(), id)
					case 2:
						err = b.ResumeSchedule(t.Context(), id)
					case 3:
						_, err = b.AddEndpoints(t.Context(), "t", recall.Endpoint{URL: "local:two"})
					case 4:
						_, err = b.Schedules(t.Context())
					}
					if err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(7+i) * time.Second)
				}
			})
		}
		all.Wait()
		for _, id := range []string{"s0", "s1"} {
			at := published(t, b, id)
			if len(at) < 10 || len(slices.Compact(slices.Clone(at))) != len(at) {
				t.Errorf("%s: published at %q", id, at)
			}
		}
	})
}
