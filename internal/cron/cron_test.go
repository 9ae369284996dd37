package cron_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/cronexpr"
	"pgregory.net/rapid"

	"github.com/recallmq/recall/internal/cron"
)

func parse(t *testing.T, line string) *cron.Line {
	t.Helper()
	l, err := cron.Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return l
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	u, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestNext has a line, a time in UTC, and the next times that it is due, in UTC.
func TestNext(t *testing.T) {
	for _, c := range []struct{ line, after, want string }{
		{"*/15 * * * *", "2026-01-01 10:00", "01-01 10:15, 01-01 10:30"},
		{"0 9 * * 1-5", "2026-01-02 09:00", "01-05 09:00, 01-06 09:00"}, // from a Friday on
		{"0 9 * * MON,fri", "2026-01-01 00:00", "01-02 09:00, 01-05 09:00"},
		{"0 0 13 * 5", "2026-02-06 00:00", "02-13 00:00, 02-20 00:00, 02-27 00:00, 03-06 00:00, 03-13 00:00"},
		{"0 0 1,15 * 1", "2026-01-12 00:00", "01-15 00:00, 01-19 00:00"}, // either field names the day
		{"0 0 */2 * 1", "2026-01-01 00:00", "01-03 00:00, 01-05 00:00, 01-07 00:00"},
		{"0 0 ? * 7", "2026-01-01 00:00", "01-04 00:00, 01-11 00:00"},
		{"0 0 29 2 *", "2096-02-29 00:00", "2104-02-29 00:00"},
		{"0 0 31 * *", "2026-01-31 00:00", "03-31 00:00, 05-31 00:00"},
		{"0 22-2 * * *", "2026-01-01 21:00", "01-01 22:00, 01-01 23:00, 01-02 00:00, 01-02 01:00, 01-02 02:00, 01-02 22:00"},
		{"0 0 * * FRI-SUN", "2026-01-01 00:00", "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-09 00:00"},
		{"0 0 * NOV-JAN *", "2026-01-31 00:00", "11-01 00:00"},
		{"@daily", "2026-01-01 00:00", "01-02 00:00"},
		{"@midnight", "2026-01-01 00:01", "01-02 00:00"},
		{"@hourly", "2026-01-01 00:30", "01-01 01:00"},
		{"@weekly", "2026-01-01 00:30", "01-04 00:00"},
		{"@monthly", "2026-01-01 00:30", "02-01 00:00"},
		{"@yearly", "2026-01-01 00:30", "2027-01-01 00:00"},
		{"@annually", "2026-01-01 00:00", "2027-01-01 00:00"},
		{"CRON_TZ=Asia/Kolkata 30 9 * * *", "2026-01-01 00:00", "01-01 04:00, 01-02 04:00"},
		{"  TZ=Asia/Tokyo \t 0 9  * * * ", "2026-01-01 00:00", "01-02 00:00"},
		{"TZ=Asia/Tokyo @daily", "2026-01-01 00:00", "01-01 15:00"},

		// Berlin: 29 March 2026 has no 02:00 to 03:00, 25 October has it twice.
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28 00:00", "03-28 01:30, 03-29 01:00, 03-30 00:30"},
		{"CRON_TZ=Europe/Berlin */20 2 * * *", "2026-03-28 02:00", "03-29 01:00, 03-30 00:00"},
		{"CRON_TZ=Europe/Berlin 0 2,3 * * *", "2026-03-28 02:00", "03-29 01:00, 03-30 00:00"},
		{"CRON_TZ=Europe/Berlin 0 1,4 * * *", "2026-03-28 23:00", "03-29 00:00, 03-29 02:00, 03-29 23:00"},
		{"CRON_TZ=Europe/Berlin 20 * * * *", "2026-03-29 00:00", "03-29 00:20, 03-29 01:20"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24 12:00", "10-25 00:30, 10-26 01:30"},
		{"CRON_TZ=Europe/Berlin 0,30 2,3 * * *", "2026-10-25 00:00", "10-25 00:30, 10-25 02:00, 10-25 02:30"},
		{"CRON_TZ=Europe/Berlin 0,30 2 * * *", "2026-10-25 01:10", "10-26 01:00"}, // asked in the second 02:10
		{"CRON_TZ=Europe/Berlin */30 * * * *", "2026-10-25 00:00", "10-25 00:30, 10-25 01:00, 10-25 01:30, 10-25 02:00"},

		// New York: 8 March and 1 November 2026.
		{"CRON_TZ=America/New_York 30 2 * * *", "2026-03-07 12:00", "03-08 07:00, 03-09 06:30"},
		{"CRON_TZ=America/New_York 30 1 * * *", "2026-10-31 12:00", "11-01 05:30, 11-02 06:30"},
		{"CRON_TZ=America/New_York @hourly", "2026-11-01 04:00", "11-01 05:00, 11-01 06:00, 11-01 07:00"},

		// Lord Howe moves by half an hour: 4 October 2026 has no 02:00 to 02:30, and
		// 5 April has 01:30 to 02:00 twice.
		{"CRON_TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-03 12:00", "10-03 15:30, 10-04 15:15"},
		{"CRON_TZ=Australia/Lord_Howe 45 2 * * *", "2026-10-03 12:00", "10-03 15:45, 10-04 15:45"},
		{"CRON_TZ=Australia/Lord_Howe 15 5 * * *", "2026-10-03 12:00", "10-03 18:15, 10-04 18:15"},
		{"CRON_TZ=Australia/Lord_Howe 45 1 * * *", "2026-04-04 12:00", "04-04 14:45, 04-05 15:15"},
		{"CRON_TZ=Australia/Lord_Howe 45 * * * *", "2026-04-04 14:00", "04-04 14:45, 04-04 15:15, 04-04 16:15"},

		// A zone without changes, and one that has lost a whole day.
		{"CRON_TZ=Asia/Kolkata 30 2 * * *", "2026-03-28 00:00", "03-28 21:00, 03-29 21:00"},
		{"CRON_TZ=Pacific/Apia 0 9 * * *", "2011-12-29 12:00", "12-29 19:00, 12-30 10:00, 12-30 19:00"},
		// Midnight does not exist where it is skipped.
		{"CRON_TZ=America/Sao_Paulo 0 0 * * *", "2018-11-03 12:00", "11-04 03:00, 11-05 02:00"},
	} {
		l, now := parse(t, c.line), at(t, c.after)
		for _, want := range strings.Split(c.want, ", ") {
			if len(want) == len("01-01 10:15") {
				want = fmt.Sprintf("%d-%s", now.Year(), want)
			}
			now = l.Next(now, now)
			if got := now.Format("2006-01-02 15:04"); got != want {
				t.Errorf("%q after %s: got %s, want %s", c.line, c.after, got, want)
				break
			}
		}
	}
}

// TestEvery counts from the start, whenever it is asked.
func TestEvery(t *testing.T) {
	l, start := parse(t, "@every 90m"), at(t, "2026-01-01 00:10")
	for after, want := range map[string]string{
		"2025-01-01 00:00": "2026-01-01 01:40", "2026-01-01 00:10": "2026-01-01 01:40",
		"2026-01-01 01:39": "2026-01-01 01:40", "2026-01-01 01:40": "2026-01-01 03:10", "2026-01-02 01:41": "2026-01-02 03:10",
	} {
		if got := l.Next(at(t, after), start); !got.Equal(at(t, want)) {
			t.Errorf("after %s: got %v, want %s", after, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		line   string
		offset int
		field  string
		text   string
	}{
		{"", 0, "", ""},
		{"   ", 3, "", ""},
		{"* * * *", 7, "day of week", ""},
		{"* * * * * *", 10, "", "*"},
		{"60 * * * *", 0, "minute", "60"},
		{"0 25 * * *", 2, "hour", "25"},
		{"0 1,2,x * * *", 6, "hour", "x"},
		{"0 1,,2 * * *", 4, "hour", ""},
		{"0 1, * * *", 4, "hour", ""},
		{"0  3-99 * * *", 5, "hour", "99"},
		{"0 - * * *", 2, "hour", ""},
		{"*/0 * * * *", 2, "minute", "0"},
		{"*/60 * * * *", 2, "minute", "60"},
		{"*/x * * * *", 2, "minute", "x"},
		{"*/ * * * *", 2, "minute", ""},
		{"1/2/3 * * * *", 2, "minute", "2/3"},
		{"*-5 * * * *", 0, "minute", "*"},
		{"+5 * * * *", 0, "minute", "+5"},
		{"? * * * *", 0, "minute", "?"},
		{"0 22-2/2 * * *", 2, "hour", "22-2/2"},
		{"0 0 0 * *", 4, "day of month", "0"},
		{"0 0 L * *", 4, "day of month", "L"},
		{"0 0 * foo *", 6, "month", "foo"},
		{"0 0 * * mon-xyz", 12, "day of week", "xyz"},
		{"0 0 * * 8", 8, "day of week", "8"},
		{"0 0 30 2 *", 0, "", "0 0 30 2 *"},
		{"CRON_TZ=UTC 0 0 31 4,6 *", 12, "", "0 0 31 4,6 *"},
		{"CRON_TZ=Mars/Base 0 0 * * *", 8, "", "Mars/Base"},
		{"TZ= 0 0 * * *", 3, "", ""},
		{"TZ=Local 0 0 * * *", 3, "", "Local"},
		{"TZ=../../etc/passwd 0 0 * * *", 3, "", "../../etc/passwd"},
		{"TZ=UTC", 6, "", ""},
		{"XX=UTC 0 0 * * *", 0, "", "XX"},
		{"@fortnightly", 0, "", "@fortnightly"},
		{"@daily x", 7, "", "x"},
		{"@every", 0, "", "@every"},
		{"@every 5", 7, "", "5"},
		{"@every 30s", 7, "", "30s"},
		{"@every 60.5s", 7, "", "60.5s"},
		{"@every 90000h", 7, "", "90000h"},
		{"* * * * *\n", 8, "day of week", "*\n"},
		{strings.Repeat("*", 300), 256, "", strings.Repeat("*", 16)},
	} {
		_, err := cron.Parse(c.line)
		var fault *cron.SyntaxError
		if !errors.As(err, &fault) {
			t.Errorf("%q: got %v, want a SyntaxError", c.line, err)
			continue
		}
		if fault.Offset != c.offset || fault.Field != c.field || fault.Text != c.text || fault.Reason == "" {
			t.Errorf("%q: got %+v, want byte %d of %q, %q", c.line, fault, c.offset, c.field, c.text)
		}
	}
}

// element draws what both parsers take to mean the same.
func element(low, high int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		a := rapid.IntRange(low, high).Draw(t, "a")
		b := rapid.IntRange(a, high).Draw(t, "b")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", rapid.IntRange(1, high-low).Draw(t, "step"))
		case 2:
			if a < b { // the other parser takes "0-0" for every day of the week
				return fmt.Sprintf("%d-%d", a, b)
			}
		case 3:
			if b-a > 1 {
				return fmt.Sprintf("%d-%d/%d", a, b, rapid.IntRange(1, b-a).Draw(t, "step"))
			}
		}
		return fmt.Sprint(a)
	})
}

func list(low, high int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(element(low, high), 1, 3).Draw(t, "list"), ",")
	})
}

// wanted are the local times from a day on that the second parser finds, which
// is asked in UTC only: what it makes of clocks that change is not what is
// promised here.
func wanted(t *rapid.T, line string, from, to time.Time) map[time.Time]bool {
	e, err := cronexpr.Parse(line)
	if err != nil {
		t.Fatalf("the second parser refuses %q: %v", line, err)
	}
	found := map[time.Time]bool{}
	for w := e.Next(from.Add(-time.Second)); !w.IsZero() && w.Before(to); w = e.Next(w) {
		found[w] = true
	}
	return found
}

// due goes over the minutes one by one, as a person with a watch would.
func due(wanted map[time.Time]bool, loc *time.Location, anyHour bool, from, to time.Time) (times []time.Time) {
	wall := func(i time.Time) time.Time {
		_, offset := i.In(loc).Zone()
		return i.Add(time.Duration(offset) * time.Second)
	}
	shown := wall(from.Add(-6 * time.Hour))
	for i := from.Add(-6 * time.Hour); i.Before(to); i = i.Add(time.Minute) {
		w := wall(i)
		hit := wanted[w]
		if !anyHour {
			hit = false
			for past := shown.Add(time.Minute); !past.After(w); past = past.Add(time.Minute) {
				hit = hit || wanted[past]
			}
		}
		if w.After(shown) {
			shown = w
		}
		if hit && i.After(from) {
			times = append(times, i)
		}
	}
	return times
}

// TestAgainstAnotherParser compares the times of random lines around random
// days, and around the days on which clocks change, with those of another parser.
func TestAgainstAnotherParser(t *testing.T) {
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca",
		"America/Sao_Paulo", "Pacific/Apia", "Asia/Tehran", "America/St_Johns",
	}
	rapid.Check(t, func(t *rapid.T) {
		hour := list(0, 23).Draw(t, "hour")
		dom, dow := list(1, 31).Draw(t, "dom"), list(0, 6).Draw(t, "dow")
		// A list that has a star beside other days is a star for one of the two only.
		if strings.Contains(dom, "*") {
			dom = "*"
		}
		if strings.Contains(dow, "*") {
			dow = "*"
		}
		minute := rapid.OneOf(list(0, 59), rapid.SampledFrom([]string{"0", "30", "*/15", "5,45", "7-59/26"})).Draw(t, "minute")
		fields := strings.Join([]string{minute, hour, dom, list(1, 12).Draw(t, "month"), dow}, " ")
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		from := time.Unix(rapid.Int64Range(1_262_304_000, 1_893_456_000).Draw(t, "from"), 0).Truncate(time.Minute).UTC()
		if _, change := from.In(loc).ZoneBounds(); rapid.Bool().Draw(t, "change") && !change.IsZero() && change.Year() < 2031 {
			from = change.UTC().Add(time.Duration(rapid.IntRange(-180, 180).Draw(t, "minutes")) * time.Minute)
		}
		to := from.Add(26 * time.Hour)

		line, err := cron.Parse("CRON_TZ=" + name + " " + fields)
		if err != nil {
			if fault := new(cron.SyntaxError); errors.As(err, &fault) && fault.Reason == "no month has such a day" {
				t.Skip()
			}
			t.Fatal(err)
		}
		hours := wanted(t, "0 "+hour+" * * *", to.Truncate(24*time.Hour), to.Truncate(24*time.Hour).Add(24*time.Hour))
		want := due(wanted(t, fields, from.Add(-19*time.Hour), to.Add(15*time.Hour)), loc, len(hours) == 24, from, to)
		for now := from; ; {
			now = line.Next(now, from)
			if len(want) == 0 && (now.IsZero() || !now.Before(to)) {
				return
			}
			if len(want) == 0 || !now.Equal(want[0]) {
				t.Fatalf("%q in %s after %v: got %v, want %v", fields, name, from.In(loc), now.In(loc), want[:min(3, len(want))])
			}
			want = want[1:]
		}
	})
}

// FuzzParse looks for lines that are taken and make no sense, or that the parser
// refuses where the check did not.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"* * * * *", "*/5 1-3,9 1,2/3 jan-mar mon#2", "CRON_TZ=Europe/Berlin 0 9 * * *", "@every 1h", "@daily", "TZ=", "TZ=x",
		"0 0 31 2 *", "0 22-2 28-3 * FRI-SUN", "1-1/1 * * * *", "0 0 ? * ?/2",
	} {
		f.Add(s)
	}
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		l, err := cron.Parse(s)
		if err != nil {
			var fault *cron.SyntaxError
			if !errors.As(err, &fault) || fault.Offset < 0 || fault.Offset > len(s) || !strings.HasPrefix(s[fault.Offset:], fault.Text) {
				t.Fatalf("%q: %#v", s, err)
			}
			return
		}
		now := start
		for range 3 {
			next := l.Next(now, start)
			if !next.After(now) || next.Nanosecond() != 0 {
				t.Fatalf("%q after %v: %v", s, now, next)
			}
			now = next
		}
	})
}
