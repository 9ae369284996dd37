// Package cron says when a line of cron is due. The fields of a line are read by
// a parser of others, after a check of our own that knows where a fault is; the
// times are found here, because what happens when the clocks change is a promise
// of Recall's.
//
// A line with named hours (any but every hour) is due at each local time that it
// names once: a time that the clocks skip is made up for in the moment after the
// gap, one for all that fall into it, and of a time that comes twice only the
// first counts. A line for every hour goes by the clock on the wall: it is due
// in both of two equal hours, and not at times that are skipped.
package cron

import (
	"math/bits"
	"time"

	parser "github.com/netresearch/go-cron"
)

// Line is a line that was parsed. It is safe for concurrent use.
type Line struct {
	minute, hour, dom, month, dow uint64
	anyDom, anyDow                bool // the field is a star
	anyHour                       bool
	loc                           *time.Location
	every                         time.Duration // of @every; then nothing else counts
}

// searchYears is how far ahead a match is looked for: 29 February may be eight
// years away.
const searchYears = 9

// starBit is how the parser marks a field that is a star.
const starBit = 1 << 63

func newLine(s *parser.SpecSchedule, loc *time.Location) *Line {
	const hours = 1<<24 - 1
	return &Line{
		minute: s.Minute &^ starBit, hour: s.Hour &^ starBit, dom: s.Dom &^ starBit, month: s.Month &^ starBit,
		dow: s.Dow &^ starBit, anyDom: s.Dom&starBit != 0, anyDow: s.Dow&starBit != 0,
		anyHour: s.Hour&hours == hours, loc: loc,
	}
}

// Next returns the first time after t at which the line is due; the zero time if
// there is none. @every counts from start.
func (l *Line) Next(t, start time.Time) time.Time {
	if l.every > 0 {
		start = start.UTC()
		if t.Before(start) {
			return start.Add(l.every)
		}
		return start.Add((t.Sub(start)/l.every + 1) * l.every)
	}
	s := stretchAt(t.In(l.loc))
	wall := s.wall(t).Truncate(time.Minute).Add(time.Minute)
	if !l.anyHour {
		wall = latest(wall, s.shown())
	}
	for {
		due, ok := l.match(ceilMinute(wall))
		if !ok {
			return time.Time{}
		}
		if at := s.instant(due); s.end.IsZero() || at.Before(s.end) {
			return at
		}
		// The clocks change before that.
		before, change := s, s.end
		s = stretchAt(change)
		wall = s.wall(change)
		if l.anyHour {
			continue
		}
		if due.Before(wall) { // it is skipped
			return change.UTC()
		}
		wall = latest(wall, before.wall(change))
	}
}

// match returns the first local time from w on that the line names.
func (l *Line) match(w time.Time) (time.Time, bool) {
	day := time.Date(w.Year(), w.Month(), w.Day(), 0, 0, 0, 0, time.UTC)
	hour, minute := w.Hour(), w.Minute()
	for day.Year() <= w.Year()+searchYears {
		if l.month>>day.Month()&1 == 0 {
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			hour, minute = 0, 0
			continue
		}
		if l.onDay(day) {
			if d, ok := l.ofDay(hour, minute); ok {
				return day.Add(d), true
			}
		}
		day = day.AddDate(0, 0, 1)
		hour, minute = 0, 0
	}
	return time.Time{}, false
}

// onDay tells whether the line names the day: by both its fields if one of them
// is a star, else by either.
func (l *Line) onDay(day time.Time) bool {
	dom, dow := l.dom>>day.Day()&1 == 1, l.dow>>day.Weekday()&1 == 1
	if l.anyDom || l.anyDow {
		return dom && dow
	}
	return dom || dow
}

// ofDay returns the first time of a day from hour and minute on.
func (l *Line) ofDay(hour, minute int) (time.Duration, bool) {
	for ; hour < 24; hour, minute = hour+1, 0 {
		if l.hour>>hour&1 == 0 {
			continue
		}
		if rest := l.minute >> minute; rest != 0 {
			minute += bits.TrailingZeros64(rest)
			return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute, true
		}
	}
	return 0, false
}

// stretch is a time without a change of the clocks. Local times are written as
// if they were UTC.
type stretch struct {
	start, end time.Time // zero: there is none
	offset     time.Duration
}

func stretchAt(t time.Time) (s stretch) {
	s.start, s.end = t.ZoneBounds()
	s.offset = offset(t)
	return s
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

func (s stretch) wall(t time.Time) time.Time { return t.UTC().Add(s.offset) }

func (s stretch) instant(wall time.Time) time.Time { return wall.Add(-s.offset) }

// shown is the local time that the clocks had reached when they were changed at
// the start of s; if that was forward, it is before all of s.
func (s stretch) shown() time.Time {
	if s.start.IsZero() {
		return time.Time{}
	}
	return s.start.UTC().Add(offset(s.start.Add(-time.Second)))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func ceilMinute(t time.Time) time.Time {
	if down := t.Truncate(time.Minute); down.Before(t) {
		return down.Add(time.Minute)
	}
	return t
}
