package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// look is a command that shows what matches a filter.
type look struct {
	target
	filterFlags
}

func (l *look) addFlags(cmd *cobra.Command) {
	l.target.addFlags(cmd)
	l.filterFlags.addFlags(cmd)
}

// command fills in what the commands have in common.
func (l *look) command(cmd *cobra.Command, do func(ctx context.Context, s *session, f recall.Filter) error) *cobra.Command {
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := l.filter()
		if err != nil {
			return err
		}
		return l.run(func(ctx context.Context, s *session, _ []string) error { return do(ctx, s, f) })(cmd, args)
	}
	l.addFlags(cmd)
	return cmd
}

func countCommand() *cobra.Command {
	return (&look{}).command(&cobra.Command{
		Use:     "count",
		Short:   "Count messages",
		Long:    "Count the messages that match, those that wait and those in flight. Without a filter it counts all.",
		Example: "  recall count --label campaign-12\n  recall count --json --state retrying",
	}, func(ctx context.Context, s *session, f recall.Filter) error {
		n, err := s.Count(ctx, f)
		switch {
		case err != nil:
			return err
		case s.json:
			return printJSON(s.out, admin.Count(n))
		}
		s.say("%d pending, %d in flight", n.Pending, n.InFlight)
		return nil
	})
}

func explainCommand() *cobra.Command {
	return (&look{}).command(&cobra.Command{
		Use:     "explain",
		Short:   "Say how a cancellation would go about a filter",
		Long:    "Show the index that a cancellation of what matches would walk, and the others, with how many entries it would look at.",
		Example: "  recall explain --queue mail --label campaign-12",
	}, func(ctx context.Context, s *session, f recall.Filter) error {
		p, err := s.Explain(ctx, f)
		switch {
		case err != nil:
			return err
		case s.json:
			return printJSON(s.out, admin.WirePlan(p))
		}
		s.say("%s", strings.TrimRight(p.String(), "\n"))
		return nil
	})
}

// defaultRows is how many rows a list has unless more are asked for.
const defaultRows = 100

// pages are the flags of a list.
type pages struct {
	limit int
	after string
}

func (p *pages) addFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.limit, "limit", defaultRows, "how many to show; 0: all")
	cmd.Flags().StringVar(&p.after, "after", "", "go on behind this one")
}

// show writes a list: a table, or an object a line.
func show[T any](s *session, items iter.Seq2[T, error], wire func(T) any, header []string, row func(T) []string) error {
	t := s.table(header...)
	for item, err := range items {
		if err == nil && s.json {
			err = printJSON(s.out, wire(item))
		} else if err == nil {
			err = t.row(row(item)...)
		}
		if err != nil {
			return err
		}
	}
	if s.json {
		return nil
	}
	return t.flush()
}

func lsCommand() *cobra.Command {
	l, p := &look{}, &pages{}
	cmd := l.command(&cobra.Command{
		Use:     "ls",
		Short:   "List messages that wait or are in flight",
		Long:    "List the live messages that match, in the order of publication: the oldest 100 unless --limit says otherwise.",
		Example: "  recall ls --queue mail --state held\n  recall ls --json --limit 0 | jq -r .url",
	}, func(ctx context.Context, s *session, f recall.Filter) error {
		items := s.List(ctx, f, recall.MessageID(p.after), p.limit)
		return show(s, items, func(m recall.Message) any { return admin.Message(m) },
			[]string{"ID", "STATE", "DUE", "TRIES", "QUEUE", "DESTINATION", "LABELS"}, messageRow)
	})
	p.addFlags(cmd)
	return cmd
}

func messageRow(m recall.Message) []string {
	return []string{
		string(m.ID), string(m.State), timeText(m.DueAt), fmt.Sprint(m.Attempts), m.Queue, m.URL, strings.Join(m.Labels, ","),
	}
}

// timeText is a time for people, in UTC.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func getCommand() *cobra.Command {
	t := &target{}
	body := false
	cmd := &cobra.Command{
		Use:     "get ID",
		Short:   "Show one message",
		Long:    "Show a message that waits or is in flight, with headers and body. One that is gone has exit status 3: see recall events.",
		Example: "  recall get msg_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2\n  recall get --body msg_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2 > body",
		Args:    exactly(1, "the id of a message"),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			m, err := s.Get(ctx, recall.MessageID(args[0]))
			switch {
			case err != nil:
				return err
			case body:
				_, err := s.out.Write(m.Body)
				return err
			case s.json:
				return printJSON(s.out, admin.Message(m))
			}
			return showMessage(s, &m)
		}),
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVar(&body, "body", false, "write the body, byte for byte, and nothing else")
	exclusive(cmd, "body", "json")
	return cmd
}

// fields writes what has a value, a line each.
func (s *session) fields(pairs ...string) error {
	t := s.table()
	t.header = []string{"", ""}
	t.widths = []int{0, max(narrowest, s.width)}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			t.widths[0] = max(t.widths[0], len(pairs[i]))
		}
	}
	t.width = 0 // one thing is shown whole
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if err := t.row(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return t.flush()
}

func showMessage(s *session, m *recall.Message) error {
	err := s.fields(
		"id", string(m.ID), "state", string(m.State), "destination", m.URL, "method", m.Method, "queue", m.Queue, "topic", m.Topic,
		"endpoint", m.Endpoint, "schedule", m.ScheduleID, "flow key", m.FlowKey, "labels", strings.Join(m.Labels, ", "),
		"caller", m.CallerIP, "published", timeText(m.CreatedAt), "due", timeText(m.DueAt), "attempts", fmt.Sprint(m.Attempts),
		"retries", retriesText(m.Retries), "retry delay", m.RetryDelay, "timeout", durationText(m.Timeout), "priority", zeroless(m.Priority),
		"callback of", string(m.Source),
	)
	if err != nil {
		return err
	}
	return showContent(s, m.Header, m.Body, "body")
}

// showContent writes headers and a body; what is no text only by its size, and the flag
// that writes it.
func showContent(s *session, header map[string][]string, body []byte, flag string) error {
	for _, name := range sortedKeys(header) {
		for _, value := range header[name] {
			s.say("%s: %s", printable(name), printable(value))
		}
	}
	if len(body) == 0 {
		return nil
	}
	if text, ok := plainText(body); ok {
		s.say("\n%s", text)
		return nil
	}
	s.say("\n(%d bytes that are no text; --%s writes them)", len(body), flag)
	return nil
}
