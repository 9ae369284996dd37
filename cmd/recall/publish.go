package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// publisher publishes one message of the command line, or many of a file.
type publisher struct {
	target
	messageFlags
	file  string
	batch int
}

func publishCommand() *cobra.Command {
	p := &publisher{}
	cmd := &cobra.Command{
		Use:   "publish [DESTINATION]",
		Short: "Publish a message, or many from a file",
		Long: `Publish a message to an http or https URL, to a topic with --topic, or without a
destination to the consumers of a --queue. It is durable when the command ends, and
its id is written.

With --from-file it publishes the messages of a file, or of standard input with -,
a JSON object a line: {"url":"https://example.com","body":"aGk=","labels":["x"]},
where the body is base64. What "recall ls --json" writes is of that form, but what is
held, or shown redacted, is refused. They are published in batches, each of which is
durable as a whole.`,
		Example: `  recall publish https://example.com/hook --body '{"user":7}' --delay 1h --label campaign-12
  recall publish --topic news --body-file letter.json
  recall publish --from-file messages.jsonl`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("%s takes one destination", cmd.CommandPath())
			}
			return nil
		},
	}
	p.target.addFlags(cmd)
	p.messageFlags.addFlags(cmd)
	p.addOnce(cmd)
	cmd.Flags().StringVar(&p.file, "from-file", "", "file with messages, a JSON object a line; - is standard input")
	cmd.Flags().IntVar(&p.batch, "batch", 500, "messages of --from-file in one commit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if p.file != "" {
			if len(args) > 0 {
				return usagef("the messages of --from-file have destinations of their own")
			}
			if p.batch < 1 {
				return usagef("--batch %d: it has to be 1 or more", p.batch)
			}
			return p.run(p.publishFile)(cmd, args)
		}
		m, err := p.message(cmd.InOrStdin(), args)
		if err != nil {
			return err
		}
		return p.run(func(ctx context.Context, s *session, _ []string) error { return p.publishOne(ctx, s, m) })(cmd, args)
	}
	return cmd
}

func (p *publisher) publishOne(ctx context.Context, s *session, m recall.Message) error {
	lists, err := s.Publish(ctx, m)
	var batch *recall.BatchError
	if errors.As(err, &batch) { // there is one, so its place says nothing
		err = batch.Err
	}
	if err != nil {
		return err
	}
	return showReceipts(s, lists[0])
}

func showReceipts(s *session, receipts []recall.TopicReceipt) error {
	for _, r := range receipts {
		if s.json {
			if err := printJSON(s.out, admin.WireReceipt(r)); err != nil {
				return err
			}
			continue
		}
		switch {
		case r.Deduplicated:
			s.say("%s (a duplicate: published before)", r.ID)
		case r.CancelledBy != "":
			s.say("%s (cancelled on arrival by %s)", r.ID, r.CancelledBy)
		default:
			s.say("%s", r.ID)
		}
	}
	return nil
}
