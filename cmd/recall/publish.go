package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

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
where the body is base64. What "recall ls --json" writes is of that form. They are
published in batches, each of which is durable as a whole.`,
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

// publishFile publishes the lines of a file, batch by batch. On an error it says how
// many were published before.
func (p *publisher) publishFile(ctx context.Context, s *session, _ []string) error {
	in := s.in
	if p.file != "-" {
		file, err := os.Open(p.file)
		if err != nil {
			return fmt.Errorf("--from-file: %w", err)
		}
		defer file.Close()
		in = file
	}
	lines := json.NewDecoder(bufio.NewReaderSize(in, 1<<20))
	lines.DisallowUnknownFields()
	published := 0
	for last := false; !last; {
		var batch []recall.Message
		for len(batch) < p.batch {
			var m admin.Message
			err := lines.Decode(&m)
			if errors.Is(err, io.EOF) {
				last = true
				break
			}
			if err != nil {
				return usagef("message %d of the file cannot be read, and %d were published: %w", published+len(batch)+1, published, err)
			}
			if m.Delay == 0 && m.NotBefore.IsZero() {
				m.NotBefore = m.DueAt // as recall ls writes it
			}
			batch = append(batch, recall.Message(m))
		}
		if len(batch) == 0 {
			break
		}
		lists, err := s.Publish(ctx, batch...)
		if err != nil {
			return fmt.Errorf("of the file %d messages were published, and then: %w", published, err)
		}
		published += len(batch)
		for _, receipts := range lists {
			if err := showReceipts(s, receipts); err != nil {
				return err
			}
		}
	}
	s.note("%s published.", countText(published, "message", "messages"))
	return nil
}
