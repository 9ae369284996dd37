package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func cancellationsCommand() *cobra.Command {
	t, p := &target{}, &pages{}
	cmd := &cobra.Command{
		Use:   "cancellations",
		Short: "List what was cancelled, and cancel what will arrive",
		Long: `List the records of bulk calls, oldest first: cancellations, standing ones, and holds,
releases and the like. Subcommands say who cancelled a message, and begin and end
standing cancellations, which take what arrives.`,
		Example: "  recall cancellations --limit 0\n  recall cancellations who msg_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2",
		Args:    noArgs,
		RunE: t.run(func(ctx context.Context, s *session, _ []string) error {
			items := s.Cancellations(ctx, recall.OperationID(p.after), p.limit)
			return show(s, items, func(o recall.Operation) any { return admin.WireOperation(o) },
				[]string{"OPERATION", "KIND", "AT", "MESSAGES", "UNDO", "FILTER", "REASON"}, operationRow)
		}),
	}
	t.addFlags(cmd)
	p.addFlags(cmd)
	cmd.AddCommand(whoCommand(), standingCommand(), beginCommand(), liftCommand())
	return cmd
}

func operationRow(o recall.Operation) []string {
	return []string{string(o.ID), string(o.Kind), timeText(o.At), fmt.Sprint(o.Count), undoText(&o), o.Filter, o.Reason}
}

func undoText(o *recall.Operation) string {
	switch {
	case !o.RestoredAt.IsZero():
		return "done"
	case o.Undoable:
		return "possible"
	}
	return "no"
}

func whoCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:     "who MESSAGE",
		Short:   "Say which operation took a message",
		Long:    "Show the record of the bulk call that took a message. The cancellation of a single pending message over QStash's API leaves none.",
		Example: "  recall cancellations who msg_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2",
		Args:    exactly(1, "the id of a message"),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			o, err := s.WhoCancelled(ctx, recall.MessageID(args[0]))
			switch {
			case err != nil:
				return err
			case s.json:
				return printJSON(s.out, admin.WireOperation(o))
			}
			return s.fields(
				"operation", string(o.ID), "kind", string(o.Kind), "at", timeText(o.At), "filter", o.Filter, "reason", o.Reason,
				"policy", o.Policy.String(), "messages", fmt.Sprint(o.Count), "requested", zeroless(o.Requested), "blocker", string(o.Blocker),
				"index", o.Index, "scanned", fmt.Sprint(o.Scanned), "took", durationText(o.Took), "until", timeText(o.Until),
				"lifted", timeText(o.LiftedAt), "restored", timeText(o.RestoredAt), "undo", undoText(&o),
			)
		}),
	}
	t.addFlags(cmd)
	return cmd
}

func standingCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:     "standing",
		Short:   "List the standing cancellations",
		Long:    "List the standing cancellations: active ones, and for some time those that have expired or were lifted.",
		Example: "  recall cancellations standing",
		Args:    noArgs,
		RunE: t.run(func(ctx context.Context, s *session, _ []string) error {
			list, err := s.StandingCancellations(ctx)
			if err != nil {
				return err
			}
			return show(s, each(list), func(c recall.StandingCancellation) any { return admin.Standing(c) },
				[]string{"OPERATION", "AT", "UNTIL", "LIFTED", "MESSAGES", "FILTER", "REASON"},
				func(c recall.StandingCancellation) []string {
					return []string{
						string(c.ID), timeText(c.At), timeText(c.Until), timeText(c.LiftedAt), fmt.Sprint(c.Count), c.Filter.String(), c.Reason,
					}
				})
		}),
	}
	t.addFlags(cmd)
	return cmd
}

func beginCommand() *cobra.Command {
	l := &look{}
	var until time.Time
	var reason string
	cmd := l.command(&cobra.Command{
		Use:   "begin",
		Short: "Cancel what matches when it arrives",
		Long: `Begin a standing cancellation: until --until, what matches is cancelled when it is
published, and when it would wait for a retry. Such messages cannot be restored.
What waits already is not touched: recall cancel is for that.`,
		Example: "  recall cancellations begin --label product-7 --until +24h --reason 'recalled'",
	}, func(ctx context.Context, s *session, f recall.Filter) error {
		if f.IsZero() {
			return usagef("which messages? Give a filter, such as --label")
		}
		op, err := s.CancelFuture(ctx, f, until, reason)
		switch {
		case err != nil:
			return err
		case s.json:
			return printJSON(s.out, map[string]recall.OperationID{"id": op})
		}
		s.say("%s", op)
		return nil
	})
	cmd.Flags().Var(timeFlag{&until}, "until", "when it ends (required): "+timeHelp)
	cmd.Flags().StringVar(&reason, "reason", "", "text that is kept with the record")
	required(cmd, "until")
	return cmd
}

func liftCommand() *cobra.Command {
	return named("lift OPERATION", "End a standing cancellation", "End a standing cancellation. What it has taken stays cancelled.",
		"  recall cancellations lift op_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2", "the operation to end", "lifted",
		func(ctx context.Context, s *session, id string) error {
			return s.LiftCancellation(ctx, recall.OperationID(id))
		})
}
