package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func schedulesCommand() *cobra.Command {
	cmd := listing(&cobra.Command{
		Use:     "schedules",
		Short:   "List schedules; set, pause, resume, delete one",
		Long:    "List the schedules, with the time that comes next.",
		Example: "  recall schedules\n  recall schedules set nightly --cron '0 3 * * *' https://example.com/clean",
	}, func(ctx context.Context, s *session) ([]recall.Schedule, error) { return s.Schedules(ctx) },
		wireSchedule, []string{"SCHEDULE", "CRON", "NEXT", "LAST", "PAUSED", "TO", "ERROR"}, func(c recall.Schedule) []string {
			return []string{c.ID, c.Cron, timeText(c.Next), timeText(c.Last), yesText(c.Paused), toText(&c.Message), c.Error}
		})
	const what = "the id of a schedule"
	cmd.AddCommand(
		showing("get SCHEDULE", "Show a schedule", "  recall schedules get nightly", what,
			func(ctx context.Context, s *session, id string) (recall.Schedule, error) { return s.Schedule(ctx, id) },
			wireSchedule, func(c recall.Schedule) []string {
				return []string{
					"schedule", c.ID, "cron", c.Cron, "to", toText(&c.Message), "queue", c.Message.Queue, "labels", strings.Join(c.Message.Labels, ", "),
					"catch up", c.CatchUp.String(), "paused", yesText(c.Paused), "next", timeText(c.Next), "last", timeText(c.Last),
					"error", c.Error, "body", fmt.Sprintf("%d bytes", len(c.Message.Body)), "created", timeText(c.CreatedAt), "updated", timeText(c.UpdatedAt),
				}
			}),
		setScheduleCommand(),
		named("pause SCHEDULE", "Pause a schedule", "Pause a schedule: nothing is published, and what is missed is not made up for.",
			"  recall schedules pause nightly", what, "paused", func(ctx context.Context, s *session, id string) error { return s.PauseSchedule(ctx, id) }),
		named("resume SCHEDULE", "Let a paused schedule go on", "Let a paused schedule go on with the next time.",
			"  recall schedules resume nightly", what, "resumed", func(ctx context.Context, s *session, id string) error { return s.ResumeSchedule(ctx, id) }),
		removing("delete SCHEDULE", "Delete a schedule", "Delete a schedule. What it has published stays: recall cancel --schedule takes it back.",
			"  recall schedules delete nightly", what, "deleted", func(ctx context.Context, s *session, id string) error { return s.DeleteSchedule(ctx, id) }),
	)
	return cmd
}

func wireSchedule(s recall.Schedule) any { return admin.WireSchedule(s) }

// toText is where a message goes.
func toText(m *recall.Message) string {
	switch {
	case m.URL != "":
		return m.URL
	case m.Topic != "":
		return "topic " + m.Topic
	}
	return "queue " + m.Queue
}

func setScheduleCommand() *cobra.Command {
	t, f := &target{}, &messageFlags{}
	var cron, catchUp string
	cmd := &cobra.Command{
		Use:   "set SCHEDULE [DESTINATION]",
		Short: "Make or replace a schedule",
		Long: `Make a schedule, or replace the one of that id: it publishes a message to a
destination or a --topic, whenever --cron says.`,
		Example: "  recall schedules set nightly --cron 'CRON_TZ=Europe/Berlin 0 3 * * *' https://example.com/clean --retries 2",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("%s takes an id and a destination; see %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			m, err := f.message(s.in, args[1:])
			if err != nil {
				return err
			}
			c := recall.Schedule{ID: args[0], Cron: cron, Message: m}
			if c.CatchUp, err = catchUpOf(catchUp); err != nil {
				return err
			}
			c, err = s.SetSchedule(ctx, c)
			switch {
			case err != nil:
				return err
			case s.json:
				return printJSON(s.out, wireSchedule(c))
			}
			s.say("%s set; next at %s.", printable(c.ID), timeText(c.Next))
			return nil
		}),
	}
	t.addFlags(cmd)
	f.addFlags(cmd)
	cmd.Flags().StringVar(&cron, "cron", "", "when, as a line of cron, with CRON_TZ=ZONE in front if it is not UTC (required)")
	cmd.Flags().StringVar(&catchUp, "catch-up", recall.CatchUpOne.String(), "what was missed is made up for: one, none or all")
	required(cmd, "cron")
	return cmd
}

func catchUpOf(text string) (recall.CatchUp, error) {
	for _, c := range []recall.CatchUp{recall.CatchUpOne, recall.CatchUpNone, recall.CatchUpAll} {
		if c.String() == text {
			return c, nil
		}
	}
	return 0, usagef("--catch-up: %q is none of one, none and all", text)
}
