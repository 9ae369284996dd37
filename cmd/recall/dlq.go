package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func dlqCommand() *cobra.Command {
	l, p := &look{}, &pages{}
	cmd := l.command(&cobra.Command{
		Use:   "dlq",
		Short: "List the dead letter queue; publish again, delete",
		Long: `List the messages whose attempts are used up, oldest first: the oldest 100 unless
--limit says otherwise. --from and --to are about publication. --id is the id of
the message; the entry has one of its own, the first column.`,
		Example: "  recall dlq --host api.example.com\n  recall dlq retry --host api.example.com --yes --expect 12",
	}, func(ctx context.Context, s *session, f recall.Filter) error {
		return show(s, s.DeadLetters(ctx, f, recall.DeadLetterID(p.after), p.limit),
			func(d recall.DeadLetter) any { return admin.WireDeadLetter(d) },
			[]string{"ENTRY", "DIED", "TRIES", "MESSAGE", "DESTINATION", "LABELS", "REASON"}, deadRow)
	})
	p.addFlags(cmd)
	cmd.AddCommand(deadGetCommand(), deadCountCommand(),
		deadChangeCommand("retry", "Publish dead letters again", "published again",
			"Publish entries of the dead letter queue again, as new messages that are due at once and have all their attempts.",
			(*admin.Client).RetryDeadLetters, (*admin.Client).RetryDeadMatching),
		deadChangeCommand("delete", "Delete dead letters", "deleted",
			"Delete entries of the dead letter queue. That cannot be undone.",
			(*admin.Client).DeleteDeadLetters, (*admin.Client).DeleteDeadMatching))
	return cmd
}

func deadRow(d recall.DeadLetter) []string {
	m := &d.Message
	return []string{string(d.ID), timeText(d.DiedAt), fmt.Sprint(d.Attempts), string(m.ID), m.URL, strings.Join(m.Labels, ","), d.Reason}
}

func deadGetCommand() *cobra.Command {
	t := &target{}
	body, response := false, false
	cmd := &cobra.Command{
		Use:     "get ENTRY",
		Short:   "Show a dead letter, with the response of its endpoint",
		Long:    "Show a dead letter: the message, why it died, and what its endpoint answered last.",
		Example: "  recall dlq get 1767225600000-7\n  recall dlq get --body 1767225600000-7 > body",
		Args:    exactly(1, "the id of an entry"),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			d, err := s.DeadLetter(ctx, recall.DeadLetterID(args[0]))
			switch {
			case err != nil:
				return err
			case body:
				_, err := s.out.Write(d.Message.Body)
				return err
			case response && d.Response == nil:
				return fmt.Errorf("%w: its endpoint has not answered", recall.ErrNotFound)
			case response:
				_, err := s.out.Write(d.Response.Body)
				return err
			case s.json:
				return printJSON(s.out, admin.WireDeadLetter(d))
			}
			return showDead(s, &d)
		}),
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVar(&body, "body", false, "write the body of the message, byte for byte, and nothing else")
	cmd.Flags().BoolVar(&response, "response-body", false, "write the body that its endpoint answered, and nothing else")
	exclusive(cmd, "body", "response-body")
	exclusive(cmd, "body", "json")
	exclusive(cmd, "response-body", "json")
	return cmd
}

func showDead(s *session, d *recall.DeadLetter) error {
	if err := s.fields("entry", string(d.ID), "died", timeText(d.DiedAt), "attempts", fmt.Sprint(d.Attempts), "reason", d.Reason); err != nil {
		return err
	}
	if d.Response != nil {
		s.say("\nThe last answer, status %d:", d.Response.Status)
		if err := showContent(s, d.Response.Header, d.Response.Body, "response-body"); err != nil {
			return err
		}
	}
	s.say("\nThe message:")
	return showMessage(s, &d.Message)
}

func deadCountCommand() *cobra.Command {
	return (&look{}).command(&cobra.Command{
		Use: "count", Short: "Count dead letters", Long: "Count the dead letters that match; without a filter all of them.",
		Example: "  recall dlq count --host api.example.com",
	}, func(ctx context.Context, s *session, f recall.Filter) error {
		n, err := s.CountDeadLetters(ctx, f)
		switch {
		case err != nil:
			return err
		case s.json:
			return printJSON(s.out, map[string]int{"count": n})
		}
		s.say("%d", n)
		return nil
	})
}

// deadChange changes entries that are named, or that match.
type deadChange struct {
	target
	filterFlags
	all, yes bool
	expect   int
	limit    int

	verb, done string
	named      func(*admin.Client, context.Context, ...recall.DeadLetterID) (int, error)
	matching   func(*admin.Client, context.Context, recall.Filter, bool, admin.Bulk) (int, error)
}

func deadChangeCommand(
	verb, short, done, long string,
	named func(*admin.Client, context.Context, ...recall.DeadLetterID) (int, error),
	matching func(*admin.Client, context.Context, recall.Filter, bool, admin.Bulk) (int, error),
) *cobra.Command {
	d := &deadChange{verb: verb, done: done, named: named, matching: matching}
	cmd := &cobra.Command{
		Use: verb + " [ENTRY]...", Short: short,
		Long: long + `

Name the entries, or give a filter, or --all. It shows how many there are and asks;
what dies meanwhile is left alone.`,
		Example: "  recall dlq " + verb + " 1767225600000-7\n  recall dlq " + verb + " --host api.example.com --yes --expect 12",
	}
	d.target.addFlags(cmd)
	d.filterFlags.addFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&d.all, "all", false, "all of them, instead of a filter")
	f.BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	f.IntVar(&d.expect, "expect", -1, "refuse unless exactly so many match")
	f.IntVar(&d.limit, "limit", 0, "take only the oldest so many")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := d.filter()
		if err != nil {
			return err
		}
		ways := 0
		for _, given := range []bool{len(args) > 0, !filter.IsZero(), d.all} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			return usagef("which entries? Name them, or give a filter, or --all; see %s --help", cmd.CommandPath())
		}
		if cmd.Flags().Changed("limit") && d.limit < 1 || cmd.Flags().Changed("expect") && d.expect < 0 {
			return usagef("--limit has to be 1 or more, and --expect 0 or more")
		}
		if len(args) > 0 && d.limit > 0 {
			return usagef("--limit means nothing for entries that are named")
		}
		return d.run(func(ctx context.Context, s *session, args []string) error { return d.change(ctx, s, args, filter) })(cmd, args)
	}
	return cmd
}

func (d *deadChange) change(ctx context.Context, s *session, args []string, f recall.Filter) error {
	how, more, err := d.settle(ctx, s, args, f)
	if err != nil {
		return err
	}
	n := 0
	switch {
	case !more:
	case len(args) > 0:
		var ids []recall.DeadLetterID
		for _, id := range args {
			ids = append(ids, recall.DeadLetterID(id))
		}
		if n, err = d.named(s.Client, ctx, ids...); err == nil && n == 0 {
			return recall.ErrNotFound
		}
	default:
		n, err = d.matching(s.Client, ctx, f, d.all, how)
	}
	if err != nil && n == 0 {
		return err
	}
	return cmpErr(err, d.show(s, n))
}

// settle asks, unless that was answered beforehand, and returns how to make the call
// for what matches. What was confirmed by hand is a bound. more tells whether there is
// anything to do.
func (d *deadChange) settle(ctx context.Context, s *session, args []string, f recall.Filter) (how admin.Bulk, more bool, err error) {
	how.Limit = d.limit
	if d.expect >= 0 {
		how.ExpectExactly = &d.expect
	}
	take := len(args)
	switch {
	case take > 0 && d.expect >= 0 && d.expect != take:
		return how, false, &recall.UnexpectedCountError{Found: take, Least: d.expect, Most: d.expect}
	case d.yes:
		return how, true, nil
	case take == 0:
		if take, err = s.CountDeadLetters(ctx, f); err != nil {
			return how, false, err
		}
		if d.expect >= 0 && d.expect != take {
			return how, false, &recall.UnexpectedCountError{Found: take, Least: d.expect, Most: d.expect}
		}
		if d.limit > 0 {
			take = min(take, d.limit)
		}
		how.Limit = take
	}
	if take == 0 {
		return how, false, nil
	}
	return how, true, s.confirm(fmt.Sprintf("%s %s?", capitalised(d.verb), countText(take, "dead letter", "dead letters")))
}

func (d *deadChange) show(s *session, n int) error {
	if s.json {
		return printJSON(s.out, map[string]int{"count": n})
	}
	s.say("%s %s.", countText(n, "dead letter", "dead letters"), d.done)
	return nil
}
