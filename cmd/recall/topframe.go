package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// frame is what top shows at one time.
type frame struct {
	title         string
	now           snapshot
	before        snapshot  // zero: this is the first
	delivered     []float64 // a second, the newest last
	fault         string
	width, height int // 0: no bounds
}

// wire is a snapshot as JSON.
func (s *snapshot) wire() any {
	queues, flow := []any{}, []any{}
	for _, q := range s.queues {
		queues = append(queues, admin.WireQueue(q))
	}
	for _, k := range s.flow {
		flow = append(flow, admin.FlowKey(k))
	}
	return map[string]any{"at": s.at, "stats": admin.Stats(s.stats), "queues": queues, "flow": flow}
}

// history is how many rates the line of them has.
const history = 60

// move goes on to the next snapshot.
func (f *frame) move(next snapshot) {
	f.before, f.now = f.now, next
	f.delivered = append(f.delivered, f.rate(func(s *recall.Stats) int64 { return s.Delivered }))
	f.delivered = f.delivered[max(0, len(f.delivered)-history):]
}

// rate is how fast a counter goes up, a second. A server that has begun anew counts
// from 0.
func (f *frame) rate(counter func(*recall.Stats) int64) float64 {
	took := f.now.at.Sub(f.before.at)
	if f.before.at.IsZero() || took <= 0 {
		return 0
	}
	return max(0, float64(counter(&f.now.stats)-counter(&f.before.stats))/took.Seconds())
}

func (f *frame) text() string {
	var out strings.Builder
	f.head(&out)
	rows := f.height - strings.Count(out.String(), "\n") - 1
	f.queueTable(&out, max(3, rows/2))
	f.flowTable(&out, max(3, f.height-strings.Count(out.String(), "\n")-1))
	return strings.TrimRight(out.String(), "\n")
}

func (f *frame) head(out *strings.Builder) {
	st := &f.now.stats
	if f.title != "" {
		fmt.Fprintf(out, "recall top · %s · %s · q ends it\n", printable(f.title), f.now.at.Format(time.TimeOnly))
	}
	if f.fault != "" {
		fmt.Fprintf(out, "! %s\n", printable(f.fault))
	}
	fmt.Fprintf(out, "messages  %d pending, %d in flight, %d dead\n", st.Pending, st.InFlight, st.DeadLetters)
	fmt.Fprintf(out, "slots     %d of %d busy, %d leased by consumers\n", st.Busy, st.Slots, st.Leased)
	fmt.Fprintf(out, "delivered %d%s, failed %d%s\n", st.Delivered, f.perSecond(func(s *recall.Stats) int64 { return s.Delivered }),
		st.Failed, f.perSecond(func(s *recall.Stats) int64 { return s.Failed }))
	fmt.Fprintf(out, "commits   %d%s\n", st.Commits, f.perSecond(func(s *recall.Stats) int64 { return s.Commits }))
	fmt.Fprintf(out, "file      %s, %s of it free; %d events, %s undoable\n", bytesText(st.FileBytes), bytesText(st.FreeBytes), st.Events, bytesText(st.UndoBytes))
	if line := sparkline(f.delivered, max(0, f.width-12)); line != "" {
		fmt.Fprintf(out, "          %s\n", line)
	}
	if st.Broken {
		fmt.Fprintln(out, "! a commit has failed: every change is refused until the file is opened again")
	}
}

func (f *frame) perSecond(counter func(*recall.Stats) int64) string {
	if f.before.at.IsZero() {
		return ""
	}
	return fmt.Sprintf(" (%.0f/s)", f.rate(counter))
}

// bars are the eighths of a line.
const bars = "▁▂▃▄▅▆▇█"

// sparkline draws the last of some numbers, of which the largest is full height.
func sparkline(numbers []float64, width int) string {
	numbers = numbers[max(0, len(numbers)-width):]
	if len(numbers) == 0 {
		return ""
	}
	top, steps := slices.Max(numbers), []rune(bars)
	var line strings.Builder
	for _, n := range numbers {
		step := 0
		if top > 0 {
			step = int(n / top * float64(len(steps)-1))
		}
		line.WriteRune(steps[step])
	}
	return line.String()
}

// queueTable has the queues in which most wait.
func (f *frame) queueTable(out *strings.Builder, rows int) {
	list := slices.Clone(f.now.queues)
	slices.SortStableFunc(list, func(a, b recall.QueueInfo) int { return cmp.Compare(b.Lag, a.Lag) })
	t := &table{out: out, width: f.width, header: []string{"QUEUE", "WAITING", "IN FLIGHT", "PARALLELISM", "PAUSED"}}
	showRows(t, out, list, f.bound(rows), func(q recall.QueueInfo) []string {
		return []string{q.Name, fmt.Sprint(q.Lag), fmt.Sprint(q.InFlight), fmt.Sprint(q.Parallelism), yesText(q.Paused)}
	})
}

func (f *frame) flowTable(out *strings.Builder, rows int) {
	t := &table{out: out, width: f.width, header: []string{"FLOW KEY", "RATE", "USED", "PARALLELISM", "IN FLIGHT", "PAUSED"}}
	showRows(t, out, f.now.flow, f.bound(rows), func(k recall.FlowState) []string {
		return []string{k.Key, rateText(&k.Limit), fmt.Sprint(k.Used), zeroless(k.Limit.Parallelism), fmt.Sprint(k.InFlight), yesText(k.Paused)}
	})
}

// bound is how many rows a table may have.
func (f *frame) bound(rows int) int {
	if f.height == 0 {
		return 20
	}
	return max(0, rows-3) // its header, an empty line, and what is left out
}

func showRows[T any](t *table, out *strings.Builder, list []T, rows int, row func(T) []string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(out)
	shown := list[:min(rows, len(list))]
	for _, item := range shown {
		_ = t.row(row(item)...) // a strings.Builder takes everything
	}
	_ = t.flush()
	if more := len(list) - len(shown); more > 0 {
		fmt.Fprintf(out, "… and %d more\n", more)
	}
}
