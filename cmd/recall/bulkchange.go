package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// changer is a bulk call that changes what waits.
type changer = func(*session, context.Context, recall.Filter, admin.Bulk) (recall.ChangeResult, error)

// changeCommand is one of the bulk calls that change what waits. do makes the call,
// done says what became of the messages.
func (b *bulk) changeCommand(cmd *cobra.Command, done string, do changer) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := b.read(cmd, args)
		if err != nil {
			return err
		}
		return b.run(func(ctx context.Context, s *session, _ []string) error { return b.change(ctx, s, f, done, do) })(cmd, args)
	}
	b.addFlags(cmd, strings.ReplaceAll(cmd.Name(), "-", " "), "skip", "stop")
	return cmd
}

func (b *bulk) change(ctx context.Context, s *session, f recall.Filter, done string, do changer) error {
	if b.all {
		f = everyMessage
	}
	more, err := b.settle(ctx, s, f, func(how admin.Bulk) (forecast, error) {
		r, err := do(s, ctx, f, how)
		return forecast{taken: r.Changed, skipped: len(r.Skipped)}, err
	})
	if err != nil {
		return err
	}
	if !more {
		return b.nothing(s, admin.ChangeResult{})
	}
	r, err := do(s, ctx, f, b.how)
	err = b.wouldStop(err)
	if err != nil && r.Operation == "" && !isForecast(err) {
		return err
	}
	return cmpErr(err, b.showChanged(s, r, done))
}

// everyMessage matches all: nothing was published before.
var everyMessage = recall.Filter{From: time.Unix(0, 0).UTC()}

func (b *bulk) showChanged(s *session, r recall.ChangeResult, done string) error {
	if s.json {
		return printJSON(s.out, admin.ChangeResult(r))
	}
	would := ""
	if b.how.DryRun {
		would = "would be "
	}
	s.say("%s %s%s.", countText(r.Changed, "message", "messages"), would, done)
	if len(r.Skipped) > 0 {
		s.say("%s in flight %spassed over.", countText(len(r.Skipped), "message", "messages"), would)
	}
	return nil
}

func holdCommand() *cobra.Command {
	b := &bulk{}
	return b.changeCommand(&cobra.Command{
		Use:   "hold [ID]...",
		Short: "Pause messages that wait, until they are released",
		Long: `Pause the messages that wait and match: they are not delivered until "recall release",
and lose neither due time nor place. What is in flight is passed over.`,
		Example: "  recall hold --host api.example.com --reason 'their maintenance'",
	}, "held", (*session).Hold)
}

func releaseCommand() *cobra.Command {
	b := &bulk{}
	return b.changeCommand(&cobra.Command{
		Use:     "release [ID]...",
		Short:   "Let held messages go on",
		Long:    "End the hold of the messages that match; what is overdue runs at once.",
		Example: "  recall release --host api.example.com",
	}, "released", (*session).Release)
}

func retryNowCommand() *cobra.Command {
	b := &bulk{}
	return b.changeCommand(&cobra.Command{
		Use:     "retry-now [ID]...",
		Short:   "Make what waits for a retry due at once",
		Long:    "Make the matches that wait for a retry due at once; attempts that were made still count.",
		Example: "  recall retry-now --host api.example.com",
	}, "due now", (*session).RetryNow)
}

func rescheduleCommand() *cobra.Command {
	b := &bulk{}
	var due time.Time
	cmd := b.changeCommand(&cobra.Command{
		Use:     "reschedule [ID]...",
		Short:   "Move the next attempt of messages that wait",
		Long:    "Move the next attempt of the messages that wait and match to --due; attempts that were made still count.",
		Example: "  recall reschedule --label digest --due 2026-12-01\n  recall reschedule --queue mail --due +2h",
	}, "moved", func(s *session, ctx context.Context, f recall.Filter, how admin.Bulk) (recall.ChangeResult, error) {
		return s.Reschedule(ctx, f, due, how)
	})
	cmd.Flags().Var(timeFlag{&due}, "due", "when the next attempt is due (required): "+timeHelp)
	required(cmd, "due")
	return cmd
}

// required refuses a command line without a flag.
func required(cmd *cobra.Command, flag string) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed(flag) {
			return usagef("%s needs --%s; see %s --help", cmd.CommandPath(), flag, cmd.CommandPath())
		}
		if before == nil {
			return nil
		}
		return before(cmd, args)
	}
}
