package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func flowCommand() *cobra.Command {
	cmd := listing(&cobra.Command{
		Use:     "flow",
		Short:   "List flow-control keys; pin, pause, resume, reset one",
		Long:    "List the flow-control keys that have a limit, are pinned or paused, with what they have used of their period.",
		Example: "  recall flow\n  recall flow pin api.example.com --rate 10 --period 1s --parallelism 2",
	}, func(ctx context.Context, s *session) ([]recall.FlowState, error) { return s.FlowKeys(ctx) },
		wireFlow, []string{"KEY", "RATE", "USED", "PARALLELISM", "IN FLIGHT", "PINNED", "PAUSED"}, func(k recall.FlowState) []string {
			return []string{
				k.Key, rateText(&k.Limit), fmt.Sprint(k.Used), zeroless(k.Limit.Parallelism), fmt.Sprint(k.InFlight), pinnedText(&k), yesText(k.Paused),
			}
		})
	const what = "a flow-control key"
	cmd.AddCommand(
		showing("get KEY", "Show a flow-control key", "  recall flow get api.example.com", what,
			func(ctx context.Context, s *session, key string) (recall.FlowState, error) {
				return s.FlowKey(ctx, key)
			},
			wireFlow, func(k recall.FlowState) []string {
				return []string{
					"key", k.Key, "rate", rateText(&k.Limit), "used", fmt.Sprint(k.Used), "period began", timeText(k.PeriodStart),
					"parallelism", zeroless(k.Limit.Parallelism), "in flight", fmt.Sprint(k.InFlight), "pinned", pinnedText(&k), "paused", yesText(k.Paused),
				}
			}),
		pinCommand(),
		unpinCommand(),
		named("pause KEY", "Keep the messages of a key from going out", "Keep the messages of a key from going out. Attempts that run go on.",
			"  recall flow pause api.example.com", what, "paused", func(ctx context.Context, s *session, key string) error { return s.PauseFlow(ctx, key) }),
		named("resume KEY", "Let a paused key go on", "Let a paused key go on.",
			"  recall flow resume api.example.com", what, "resumed", func(ctx context.Context, s *session, key string) error { return s.ResumeFlow(ctx, key) }),
		named("reset KEY", "Forget what a key has used of its period", "Forget what a key has used of its period: the next attempt begins a new one.",
			"  recall flow reset api.example.com", what, "reset", func(ctx context.Context, s *session, key string) error { return s.ResetFlow(ctx, key) }),
	)
	return cmd
}

func wireFlow(k recall.FlowState) any { return admin.FlowKey(k) }

func rateText(l *recall.FlowLimit) string {
	if l.Rate == 0 {
		return ""
	}
	period := "1s"
	if l.Period != 0 {
		period = l.Period.String()
	}
	return fmt.Sprintf("%d/%s", l.Rate, period)
}

func pinnedText(k *recall.FlowState) string {
	switch {
	case k.PinnedRate && k.PinnedParallelism:
		return "yes"
	case k.PinnedRate:
		return "rate"
	case k.PinnedParallelism:
		return "parallelism"
	}
	return ""
}

func pinCommand() *cobra.Command {
	var limit recall.FlowLimit
	var flags func(string) bool
	cmd := named("pin KEY", "Set the limit of a key, and keep messages from changing it",
		"Set the limit of a key, and keep messages from changing it. Only the parts that are given are pinned; 0 lifts that limit.",
		"  recall flow pin api.example.com --rate 10 --period 1s --parallelism 2", "a flow-control key", "pinned",
		func(ctx context.Context, s *session, key string) error {
			var parts []recall.FlowPart
			if flags("rate") || flags("period") {
				parts = append(parts, recall.FlowRate)
			}
			if flags("parallelism") {
				parts = append(parts, recall.FlowParallelism)
			}
			if parts == nil {
				return usagef("pin needs --rate, --parallelism, or both")
			}
			return s.PinFlow(ctx, key, limit, parts...)
		})
	flags = cmd.Flags().Changed
	cmd.Flags().IntVar(&limit.Rate, "rate", 0, "attempts that may begin in each period")
	cmd.Flags().DurationVar(&limit.Period, "period", 0, "period of the rate (default 1s)")
	cmd.Flags().IntVar(&limit.Parallelism, "parallelism", 0, "attempts that may run at a time")
	return cmd
}

func unpinCommand() *cobra.Command {
	var rate, parallelism bool
	cmd := named("unpin KEY", "Let messages set the limit of a key again", "Let the next message that brings a limit set it again; without flags both parts.",
		"  recall flow unpin api.example.com --rate", "a flow-control key", "unpinned",
		func(ctx context.Context, s *session, key string) error {
			var parts []recall.FlowPart
			if rate {
				parts = append(parts, recall.FlowRate)
			}
			if parallelism {
				parts = append(parts, recall.FlowParallelism)
			}
			return s.UnpinFlow(ctx, key, parts...)
		})
	cmd.Flags().BoolVar(&rate, "rate", false, "the rate only")
	cmd.Flags().BoolVar(&parallelism, "parallelism", false, "the parallelism only")
	return cmd
}
