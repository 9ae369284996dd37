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

// settle shows what matches and asks. It reports whether there is anything to do.
// What was confirmed by hand is a bound: no more than that is taken.
func (b *bulk) settle(ctx context.Context, s *session, f recall.Filter) (bool, error) {
	n, err := s.Count(ctx, f)
	if err != nil {
		return false, err
	}
	if n == (recall.Count{}) && b.how.ExpectExactly == nil {
		return false, nil
	}
	if b.yes || b.how.DryRun {
		return true, nil
	}
	if b.how.ExpectExactly != nil && *b.how.ExpectExactly != n.Pending {
		return false, &recall.UnexpectedCountError{Found: n.Pending, Least: *b.how.ExpectExactly, Most: *b.how.ExpectExactly}
	}
	plan, err := s.Explain(ctx, f)
	if err != nil {
		return false, err
	}
	s.note("%s", strings.TrimRight(plan.String(), "\n"))
	s.note("%s, %d in flight", countText(n.Pending, "message waits", "messages wait"), n.InFlight)
	take := n.Pending
	if b.how.Limit > 0 {
		take = min(take, b.how.Limit)
	}
	if err := s.confirm(fmt.Sprintf("%s %s?", capitalised(b.verb), countText(take, "message", "messages"))); err != nil {
		return false, err
	}
	if b.how.ExpectExactly == nil && (b.how.ExpectAtMost == nil || *b.how.ExpectAtMost > n.Pending) {
		b.how.ExpectAtMost = &n.Pending
	}
	return true, nil
}

// nothing is the end of a call that found nothing to do. Who named ids meant these.
func (b *bulk) nothing(s *session, result any) error {
	if len(b.ids) > 0 {
		return recall.ErrNotFound
	}
	if s.json {
		return printJSON(s.out, result)
	}
	s.say("Nothing matches.")
	return nil
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
	if more, err := b.settle(ctx, s, f); err != nil || !more {
		if err != nil {
			return err
		}
		return b.nothing(s, admin.CancelResult{})
	}
	begun := time.Now()
	var r recall.CancelResult
	var err error
	if b.all {
		r, err = s.CancelAll(ctx, b.how)
	} else {
		r, err = s.CancelMatching(ctx, f, b.how)
	}
	if err != nil && r.Operation == "" {
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
