package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func eventsCommand() *cobra.Command {
	l, p := &look{}, &pages{}
	var f recall.EventFilter
	var states []string
	cmd := &cobra.Command{
		Use:   "events [MESSAGE]",
		Short: "Show what has happened to messages",
		Long: `Show the log: newest first, or --oldest-first. With the id of a message, all that has
happened to it, oldest first, bulk cancellations included. The flags of the filter
are about the message; --since and --until about when it happened, --event about
what: created, active, error, retry, delivered, failed, "cancel requested",
cancelled.`,
		Example: "  recall events --event failed --since -1h\n  recall events msg_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one message", cmd.CommandPath())
			}
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if f.Filter, err = l.filter(); err != nil {
			return err
		}
		for _, s := range states {
			f.States = append(f.States, recall.EventState(s))
		}
		if err := f.Validate(); err != nil {
			return usageError{err}
		}
		return l.run(func(ctx context.Context, s *session, args []string) error {
			if len(args) == 1 {
				list, err := s.MessageEvents(ctx, recall.MessageID(args[0]))
				if err == nil && len(list) == 0 {
					err = recall.ErrNotFound
				}
				if err != nil {
					return err
				}
				return showEvents(s, each(list))
			}
			return showEvents(s, s.Events(ctx, f, recall.EventID(p.after), p.limit))
		})(cmd, args)
	}
	l.addFlags(cmd)
	p.addFlags(cmd)
	fs := cmd.Flags()
	fs.StringArrayVar(&states, "event", nil, "what happened (repeatable)")
	fs.Var(timeFlag{&f.From}, "since", "happened at this time or later")
	fs.Var(timeFlag{&f.To}, "until", "happened at this time or before")
	fs.BoolVar(&f.OldestFirst, "oldest-first", false, "oldest first")
	return cmd
}

func showEvents(s *session, items func(func(recall.Event, error) bool)) error {
	return show(s, items, func(e recall.Event) any { return admin.Event(e) },
		[]string{"TIME", "EVENT", "MESSAGE", "DESTINATION", "DETAIL"}, func(e recall.Event) []string {
			what := string(e.Message)
			if what == "" {
				what = string(e.Operation)
			}
			return []string{e.At.UTC().Format("2006-01-02T15:04:05.000Z"), string(e.State), what, e.URL, eventText(&e)}
		})
}

// eventText is what an event tells beside the message.
func eventText(e *recall.Event) string {
	switch e.State {
	case recall.EventActive:
		return fmt.Sprintf("attempt %d", e.Attempt)
	case recall.EventRetry:
		return "due " + timeText(e.Due)
	case recall.EventDelivered:
		return fmt.Sprintf("attempt %d, status %d", e.Attempt, e.Status)
	case recall.EventError, recall.EventFailed:
		return fmt.Sprintf("attempt %d: %s", e.Attempt, e.Reason)
	case recall.EventCancelled, recall.EventCancelRequested:
		if e.Message == "" {
			return countText(e.Count, "message", "messages")
		}
		return string(e.Operation)
	}
	if e.Queue != "" {
		return "queue " + e.Queue
	}
	return ""
}

func statsCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:     "stats",
		Short:   "Show counters and sizes",
		Long:    "Show how many messages there are, what has happened since the server began, and the size of the file.",
		Example: "  recall stats --json",
		Args:    noArgs,
		RunE: t.run(func(ctx context.Context, s *session, _ []string) error {
			st, err := s.Stats(ctx)
			switch {
			case err != nil:
				return err
			case s.json:
				return printJSON(s.out, admin.Stats(st))
			}
			return s.fields(statsFields(&st)...)
		}),
	}
	t.addFlags(cmd)
	return cmd
}

func statsFields(st *recall.Stats) []string {
	n := func(n any) string { return fmt.Sprint(n) }
	return []string{
		"pending", n(st.Pending), "in flight", n(st.InFlight), "dead letters", n(st.DeadLetters),
		"slots", fmt.Sprintf("%d of %d busy", st.Busy, st.Slots), "leased", n(st.Leased),
		"delivered", n(st.Delivered), "failed attempts", n(st.Failed), "dead letters dropped", n(st.DeadLettersDropped),
		"commits", n(st.Commits), "file", fmt.Sprintf("%s, %s of it free", bytesText(st.FileBytes), bytesText(st.FreeBytes)),
		"segments", n(st.Segments), "backlog", n(st.Backlog), "undoable", fmt.Sprintf("%d, %s", st.Undoable, bytesText(st.UndoBytes)),
		"deduplication ids", n(st.DeduplicationIDs), "events", n(st.Events), "longest update", durationText(st.LongestUpdate.Round(time.Microsecond)),
		"clock clamp", durationText(st.ClockClamp), "broken", yesText(st.Broken),
	}
}
