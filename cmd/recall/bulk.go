package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// bulk is a command that changes what matches a filter: it shows what that is, and
// asks.
type bulk struct {
	target
	filterFlags
	all            bool
	yes            bool
	expect, atMost int
	how            admin.Bulk

	verb     string // "cancel"
	policies []string
	found    bool // something matches
}

func (b *bulk) addFlags(cmd *cobra.Command, verb string, policies ...string) {
	b.verb, b.policies = verb, policies
	b.target.addFlags(cmd)
	b.filterFlags.addFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&b.all, "all", false, "all that wait, instead of a filter")
	b.addAnswers(cmd)
	f.IntVar(&b.atMost, "expect-at-most", 0, "refuse if more than so many messages wait and match")
	f.StringVar(&b.how.Policy, "policy", "", "about messages in flight: "+strings.Join(policies, ", ")+"; the first is the default")
	completing(cmd, "policy", policies...)
	f.IntVar(&b.how.Limit, "limit", 0, "take only the oldest so many")
	f.StringVar(&b.how.Reason, "reason", "", "text that is kept with the record")
	f.BoolVar(&b.how.DryRun, "dry-run", false, "only say what would happen")
}

// addAnswers adds the flags that answer the question beforehand.
func (b *bulk) addAnswers(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&b.yes, "yes", "y", false, "do not ask")
	cmd.Flags().IntVar(&b.expect, "expect", 0, "refuse unless exactly so many match")
}

// read takes over the flags, and ids that were given as arguments.
func (b *bulk) read(cmd *cobra.Command, args []string) (recall.Filter, error) {
	b.ids = append(b.ids, args...)
	f, err := b.filter()
	if err != nil {
		return f, err
	}
	switch {
	case b.all && !f.IsZero():
		return f, usagef("there is a filter, and --all")
	case !b.all && f.IsZero():
		return f, usagef("which messages? Give a filter, such as --label, or --all; see %s --help", cmd.CommandPath())
	}
	if p := b.how.Policy; p != "" && !slices.Contains(b.policies, p) {
		return f, usagef("--policy: %q is none of %s", p, strings.Join(b.policies, ", "))
	}
	if cmd.Flags().Changed("expect") {
		b.how.ExpectExactly = &b.expect
	}
	if cmd.Flags().Changed("expect-at-most") {
		b.how.ExpectAtMost = &b.atMost
	}
	return f, nil
}

func countText(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func capitalised(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// cancelCommand cancels by filter.
func cancelCommand() *cobra.Command {
	b := &bulk{}
	cmd := &cobra.Command{
		Use:   "cancel [ID]...",
		Short: "Take back messages that wait",
		Long: `Take back the messages that wait and match: oldest first, in one durable commit,
which "recall restore" undoes for a while. It stops at the first match that is in
flight, with exit status 4; what it has cancelled before stays cancelled. --policy
and --wait change that.

It shows how it would go about it and how many there are, and asks. --yes does
not ask; with --expect N it is refused, with exit status 5, unless there are just
so many. Without a terminal and without --yes nothing is done.`,
		Example: `  recall cancel --label campaign-12
  recall cancel --host api.example.com --state retrying --yes --expect 40
  recall cancel --queue mail --policy skip --reason "wrong price"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := b.read(cmd, args)
			if err != nil {
				return err
			}
			return b.run(func(ctx context.Context, s *session, _ []string) error { return b.cancel(ctx, s, f) })(cmd, args)
		},
	}
	b.addFlags(cmd, "cancel", "stop", "skip", "sticky", "abort")
	cmd.Flags().DurationVar(&b.how.Wait, "wait", 0, "wait so long for attempts that block it")
	exclusive(cmd, "wait", "policy")
	return cmd
}

func (b *bulk) cancel(ctx context.Context, s *session, f recall.Filter) error {
	do := func(how admin.Bulk) (recall.CancelResult, error) {
		if b.all {
			return s.CancelAll(ctx, how)
		}
		return s.CancelMatching(ctx, f, how)
	}
	more, err := b.settle(ctx, s, f, func(how admin.Bulk) (forecast, error) {
		r, err := do(how)
		return forecast{taken: r.Cancelled, requested: r.Requested, skipped: len(r.Skipped)}, err
	})
	if err != nil {
		return err
	}
	if !more {
		return b.nothing(s, admin.CancelResult{})
	}
	begun := time.Now()
	r, err := do(b.how)
	err = b.wouldStop(err)
	if err != nil && r.Operation == "" && !isForecast(err) {
		return err
	}
	return cmpErr(err, b.showCancelled(s, r, time.Since(begun)))
}

// cmpErr is the first error: the second is about showing what happened.
func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func (b *bulk) showCancelled(s *session, r recall.CancelResult, took time.Duration) error {
	if s.json {
		return printJSON(s.out, admin.CancelResult(r))
	}
	would := ""
	if b.how.DryRun {
		would = "would be "
	}
	s.say("%s %scancelled, by the index %q, in %v.", countText(r.Cancelled, "message", "messages"), would, r.Index, took.Round(time.Millisecond))
	if r.Requested > 0 {
		s.say("%s in flight %sasked to stop: not tried again.", countText(r.Requested, "message", "messages"), would)
	}
	if len(r.Skipped) > 0 {
		s.say("%s in flight %spassed over.", countText(len(r.Skipped), "message", "messages"), would)
	}
	if r.Operation != "" {
		s.say("To undo it: recall restore %s", r.Operation)
	}
	return nil
}
