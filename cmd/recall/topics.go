package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func topicsCommand() *cobra.Command {
	cmd := listing(&cobra.Command{
		Use:     "topics",
		Short:   "List topics (URL groups); add and remove endpoints, delete one",
		Long:    "List the topics, which are QStash's URL groups: what is published to one goes to each of its endpoints.",
		Example: "  recall topics\n  recall topics add news https://a.example.com archive=https://b.example.com",
	}, func(ctx context.Context, s *session) ([]recall.Topic, error) { return s.Topics(ctx) },
		wireTopic, []string{"TOPIC", "ENDPOINTS", "", "UPDATED"}, func(t recall.Topic) []string {
			return []string{t.Name, fmt.Sprint(len(t.Endpoints)), endpointsText(t.Endpoints), timeText(t.UpdatedAt)}
		})
	const what = "the name of a topic"
	cmd.AddCommand(
		showing("get TOPIC", "Show a topic", "  recall topics get news", what,
			func(ctx context.Context, s *session, name string) (recall.Topic, error) { return s.Topic(ctx, name) },
			wireTopic, func(t recall.Topic) []string {
				pairs := []string{"topic", t.Name}
				for _, e := range t.Endpoints {
					pairs = append(pairs, "endpoint", endpointsText([]recall.Endpoint{e}))
				}
				return append(pairs, "created", timeText(t.CreatedAt), "updated", timeText(t.UpdatedAt))
			}),
		endpointsCommand("add TOPIC ENDPOINT...", "Add endpoints, and make the topic if there is none",
			"  recall topics add news https://a.example.com archive=https://b.example.com", "added",
			func(ctx context.Context, s *session, name string, list []recall.Endpoint) error {
				_, err := s.AddEndpoints(ctx, name, list...)
				return err
			}),
		endpointsCommand("remove TOPIC ENDPOINT...", "Remove endpoints; a topic goes with its last",
			"  recall topics remove news https://a.example.com", "removed",
			func(ctx context.Context, s *session, name string, list []recall.Endpoint) error {
				_, err := s.RemoveEndpoints(ctx, name, list...)
				return err
			}),
		removing("delete TOPIC", "Delete a topic", "Delete a topic with its endpoints. What was published to it before is delivered all the same.",
			"  recall topics delete news", what, "deleted", func(ctx context.Context, s *session, name string) error { return s.DeleteTopic(ctx, name) }),
	)
	return cmd
}

func wireTopic(t recall.Topic) any { return admin.Topic(t) }

func endpointsText(list []recall.Endpoint) string {
	var texts []string
	for _, e := range list {
		if e.Name != "" {
			e.URL = e.Name + "=" + e.URL
		}
		texts = append(texts, e.URL)
	}
	return strings.Join(texts, " ")
}

// endpointOf reads URL or NAME=URL. A name has no colon.
func endpointOf(text string) recall.Endpoint {
	name, url, found := strings.Cut(text, "=")
	if !found || strings.Contains(name, ":") {
		return recall.Endpoint{URL: text}
	}
	return recall.Endpoint{Name: name, URL: url}
}

func endpointsCommand(use, short, example, done string, do func(ctx context.Context, s *session, name string, list []recall.Endpoint) error) *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ". An endpoint is a URL, or NAME=URL.", Example: example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("%s takes the name of a topic, and endpoints; see %s --help", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			var list []recall.Endpoint
			for _, text := range args[1:] {
				list = append(list, endpointOf(text))
			}
			if err := do(ctx, s, args[0], list); err != nil {
				return err
			}
			return s.done(countText(len(list), "endpoint", "endpoints"), done)
		}),
	}
	t.addFlags(cmd)
	return cmd
}
