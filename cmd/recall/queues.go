package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func queuesCommand() *cobra.Command {
	cmd := listing(&cobra.Command{
		Use:   "queues",
		Short: "List queues; set, pause, resume, delete one",
		Long: `List the queues with how many messages wait in each and how many are out. A queue
comes into being with its first message, or with "recall queues set".`,
		Example: "  recall queues\n  recall queues set mail --parallelism 4\n  recall queues pause mail",
	}, func(ctx context.Context, s *session) ([]recall.QueueInfo, error) { return s.Queues(ctx) },
		wireQueue, []string{"QUEUE", "WAITING", "IN FLIGHT", "PARALLELISM", "PAUSED", "UPDATED"}, func(q recall.QueueInfo) []string {
			return []string{q.Name, fmt.Sprint(q.Lag), fmt.Sprint(q.InFlight), fmt.Sprint(q.Parallelism), yesText(q.Paused), timeText(q.UpdatedAt)}
		})
	const what = "the name of a queue"
	cmd.AddCommand(
		showing("get QUEUE", "Show a queue", "  recall queues get mail", what,
			func(ctx context.Context, s *session, name string) (recall.QueueInfo, error) {
				return s.Queue(ctx, name)
			},
			wireQueue, func(q recall.QueueInfo) []string {
				return []string{
					"queue", q.Name, "waiting", fmt.Sprint(q.Lag), "in flight", fmt.Sprint(q.InFlight), "parallelism", fmt.Sprint(q.Parallelism),
					"paused", yesText(q.Paused), "created", timeText(q.CreatedAt), "updated", timeText(q.UpdatedAt),
				}
			}),
		setQueueCommand(),
		named("pause QUEUE", "Keep the messages of a queue from going out", "Keep the messages of a queue from going out. Attempts that run go on.",
			"  recall queues pause mail", what, "paused", func(ctx context.Context, s *session, name string) error { return s.PauseQueue(ctx, name) }),
		named("resume QUEUE", "Let a paused queue go on", "Let a paused queue go on.",
			"  recall queues resume mail", what, "resumed", func(ctx context.Context, s *session, name string) error { return s.ResumeQueue(ctx, name) }),
		removing("delete QUEUE", "Delete an empty queue", "Delete a queue in which no message waits and of which none is out. To empty it: recall cancel --queue.",
			"  recall queues delete mail", what, "deleted", func(ctx context.Context, s *session, name string) error { return s.DeleteQueue(ctx, name) }),
	)
	return cmd
}

func wireQueue(q recall.QueueInfo) any { return admin.WireQueue(q) }

func setQueueCommand() *cobra.Command {
	parallelism := 0
	cmd := named("set QUEUE", "Set how many messages of a queue may be out at a time",
		"Set how many messages of a queue may be out at a time, and make the queue if there is none.",
		"  recall queues set mail --parallelism 4", "the name of a queue", "set", func(ctx context.Context, s *session, name string) error {
			return s.UpdateQueue(ctx, name, recall.QueueUpdate{Parallelism: parallelism})
		})
	cmd.Flags().IntVar(&parallelism, "parallelism", 0, fmt.Sprintf("messages out at a time, up to %d (required)", recall.MaxParallelism))
	required(cmd, "parallelism")
	return cmd
}
