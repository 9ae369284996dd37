package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/recallmq/recall"
)

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]error{
		"y\n": nil, "YES\n": nil, " yes \n": nil, "y": nil,
		"\n": errNotConfirmed, "": errNotConfirmed, "n\n": errNotConfirmed, "yep\n": errNotConfirmed, "40\n": errNotConfirmed,
	} {
		var notes strings.Builder
		c := console{in: strings.NewReader(answer), notes: &notes, canAsk: true}
		if err := c.confirm("Cancel 40 messages?"); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: got %v", answer, err)
		}
		if !strings.HasPrefix(notes.String(), "Cancel 40 messages? [y/N] ") {
			t.Errorf("asked %q", &notes)
		}
	}
	c := console{in: strings.NewReader("y\n")}
	if err := c.confirm("?"); !errors.Is(err, errNotConfirmed) || !errors.Is(err, errNoTerminal) {
		t.Errorf("without a terminal: got %v", err)
	}
}

func tableText(t *testing.T, width int, rows ...[]string) string {
	t.Helper()
	var out strings.Builder
	tab := (&console{out: &out, width: width}).table("ID", "DESTINATION", "LABELS")
	for _, row := range rows {
		if err := tab.row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTableFits(t *testing.T) {
	row := func() []string {
		return []string{"msg_01J8Z0M3Q4", "https://example.com/" + strings.Repeat("x", 100), "a,日本語"}
	}
	for _, width := range []int{10, 30, 40, 80, 200} {
		text := tableText(t, width, row(), []string{"msg_2", "short", ""})
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			least := 3*narrowest + 2*len(columnGap)
			if got := ansi.StringWidth(line); got > max(width, least) {
				t.Errorf("width %d: %d columns in %q", width, got, line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("width %d: blanks at the end of %q", width, line)
			}
		}
		if !strings.Contains(text, "msg_01J8Z0M3Q4") && width >= 40 {
			t.Errorf("width %d: the first column was cut: %q", width, text)
		}
	}
	if got := tableText(t, 0, row()); !strings.Contains(got, strings.Repeat("x", 100)) {
		t.Errorf("cut without a terminal: %q", got)
	}
	// What comes behind the first block keeps its columns.
	var rows [][]string
	for range tableBlock + 1 {
		rows = append(rows, []string{"a", "b", "c"})
	}
	rows[tableBlock][0] = "wide"
	lines := strings.Split(tableText(t, 40, rows...), "\n")
	if len(lines) != tableBlock+3 || lines[1] != "a   b            c" || lines[tableBlock+1] != "w…  b            c" {
		t.Errorf("got %q … %q, %d lines", lines[1], lines[tableBlock+1], len(lines))
	}
}

// TestNothingSteersTheTerminal: what publishers write is shown without its teeth.
func TestNothingSteersTheTerminal(t *testing.T) {
	const evil = "a\x1b]0;owned\x07\u202e\r\nb\u0085"
	if got := tableText(t, 0, []string{evil, evil, evil}); strings.ContainsAny(got, "\x1b\x07\r\u202e\u0085") || strings.Count(got, "\n") != 2 {
		t.Errorf("got %q", got)
	}
	if got, ok := plainText([]byte("a\tb\n\x1b[2J")); !ok || got != "a\tb\n\uFFFD[2J" {
		t.Errorf("got %q", got)
	}
	for _, body := range []string{"\xff", "a\x00b"} {
		if _, ok := plainText([]byte(body)); ok {
			t.Errorf("%q is text", body)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"now": "2026-01-31T12:00:00Z", "+2h": "2026-01-31T14:00:00Z", "-30m": "2026-01-31T11:30:00Z", "2026-01-02": "2026-01-02T00:00:00Z",
		"2026-01-02 15:04": "2026-01-02T15:04:00Z", "2026-01-02T15:04:05": "2026-01-02T15:04:05Z", "2026-01-02T15:04:05.5+01:00": "2026-01-02T14:04:05.5Z",
		"2h": "", "yesterday": "", "": "", "+": "", "2026-13-01": "", "1700000000": "",
	} {
		got, err := parseTime(text, now)
		if err != nil && (want != "" || exitStatus(err) != exitUsage) {
			t.Errorf("%q: got %v", text, err)
		}
		if err == nil && got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// TestFrame draws top at several sizes.
func TestFrame(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	f := frame{title: "http://queue.test\x1b[2J", now: snapshot{at: at}}
	next := snapshot{at: at.Add(2 * time.Second)}
	next.stats.Delivered, next.stats.Failed = 100, 4
	for i := range 50 {
		next.queues = append(next.queues, recall.QueueInfo{Name: strings.Repeat("q", i), Lag: i})
	}
	next.flow = []recall.FlowState{{Key: "api", FlowSettings: recall.FlowSettings{Limit: recall.FlowLimit{Rate: 3}}}}
	f.move(next)
	for _, size := range []struct{ width, height int }{{40, 24}, {80, 24}, {200, 60}} {
		f.width, f.height = size.width, size.height
		text := f.text()
		lines := strings.Split(text, "\n")
		if len(lines) > size.height {
			t.Errorf("%+v: %d lines:\n%s", size, len(lines), text)
		}
		for _, want := range []string{"delivered 100 (50/s), failed 4 (2/s)", "api", "3/1s", "more", "█", " 49 "} {
			if !strings.Contains(text, want) {
				t.Errorf("%+v: no %q in\n%s", size, want, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("the title steers the terminal: %q", text)
		}
	}
	next = snapshot{at: at.Add(3 * time.Second)} // it has begun anew
	if f.move(next); !strings.Contains(f.text(), "delivered 0 (0/s)") {
		t.Errorf("got\n%s", f.text())
	}
	if got := sparkline([]float64{0, 1, 2, 4}, 3); got != "▂▄█" {
		t.Errorf("got %q", got)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 30: "1.0 GiB", 1 << 62: "4096.0 PiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
