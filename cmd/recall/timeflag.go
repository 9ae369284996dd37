package main

import (
	"strings"
	"time"
)

// timeLayouts are those that a time on the command line may have, beside "now" and
// what is counted from now: +2h, -30m.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

const timeHelp = "RFC 3339, 2026-01-31, \"2026-01-31 15:04\" in UTC, now, or from now: +2h, -30m"

// timeFlag is a flag with a time.
type timeFlag struct{ t *time.Time }

// String implements pflag.Value.
func (f timeFlag) String() string {
	if f.t == nil || f.t.IsZero() {
		return ""
	}
	return f.t.Format(time.RFC3339Nano)
}

// Type implements pflag.Value.
func (f timeFlag) Type() string { return "time" }

// Set implements pflag.Value.
func (f timeFlag) Set(text string) (err error) {
	*f.t, err = parseTime(text, time.Now())
	return err
}

func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") {
		if d, err := time.ParseDuration(text); err == nil {
			return now.Add(d), nil
		}
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%q is not a time: %s", text, timeHelp)
}
