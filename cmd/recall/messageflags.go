package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// messageFlags are a flag for what a publisher can say of a message.
type messageFlags struct {
	m                 recall.Message
	body, bodyFile    string
	headers           []string
	retries           int
	callback, failure string
	changed           func(flag string) bool
}

func (f *messageFlags) addFlags(cmd *cobra.Command) {
	fs, m := cmd.Flags(), &f.m
	f.changed = fs.Changed
	fs.StringVar(&f.body, "body", "", "body of the message")
	fs.StringVar(&f.bodyFile, "body-file", "", "file with the body; - is standard input")
	exclusive(cmd, "body", "body-file")
	fs.StringVar(&m.Method, "method", "", "method of the request (default POST)")
	fs.StringArrayVarP(&f.headers, "header", "H", nil, "header to send, \"Name: value\" (repeatable)")
	fs.StringVar(&m.Queue, "queue", "", "queue whose order it keeps; without a destination it is for the queue's consumers")
	fs.StringVar(&m.Topic, "topic", "", "topic (URL group) to publish to, instead of a destination")
	fs.StringArrayVar(&m.Labels, "label", nil, "label to find it by (repeatable)")
	fs.StringVar(&m.FlowKey, "flow-key", "", "flow-control key")
	fs.DurationVar(&m.Delay, "delay", 0, "how long to wait before the first attempt")
	fs.IntVar(&f.retries, "retries", 0, "attempts after the first (default: those of the server)")
	fs.StringVar(&m.RetryDelay, "retry-delay", "", "wait before each retry in milliseconds, such as \"1000 * (1 + retried)\"")
	fs.DurationVar(&m.Timeout, "timeout", 0, "of each attempt (default: that of the server)")
	fs.IntVar(&m.Priority, "priority", 0, fmt.Sprintf("between %d and %d; higher ones first", recall.MinPriority, recall.MaxPriority))
	fs.StringVar(&f.callback, "callback", "", "URL that is told how each attempt ended")
	fs.StringVar(&f.failure, "failure-callback", "", "URL that is told that the message is dead")
}

// message is what the flags and the destination say.
func (f *messageFlags) message(in io.Reader, args []string) (m recall.Message, err error) {
	m = f.m
	if len(args) > 0 {
		m.URL = args[0]
	}
	if f.changed("retries") {
		m.Retries = recall.Retries(f.retries)
	}
	if f.callback != "" {
		m.Callback = &recall.Callback{URL: f.callback}
	}
	if f.failure != "" {
		m.FailureCallback = &recall.Callback{URL: f.failure}
	}
	for _, h := range f.headers {
		name, value, found := strings.Cut(h, ":")
		if !found {
			return m, usagef("--header: %q has no colon", h)
		}
		if m.Header == nil {
			m.Header = http.Header{}
		}
		m.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	m.Body, err = f.content(in)
	return m, err
}

func (f *messageFlags) content(in io.Reader) ([]byte, error) {
	switch f.bodyFile {
	case "":
		return []byte(f.body), nil
	case "-":
		return io.ReadAll(in)
	}
	body, err := os.ReadFile(f.bodyFile)
	if err != nil {
		return nil, fmt.Errorf("--body-file: %w", err)
	}
	return body, nil
}

// addOnce adds the flags that mean nothing for what is published again and again.
func (f *messageFlags) addOnce(cmd *cobra.Command) {
	cmd.Flags().Var(timeFlag{&f.m.NotBefore}, "not-before", "when the first attempt is due: "+timeHelp)
	cmd.Flags().StringVar(&f.m.DeduplicationID, "deduplication-id", "", "id that makes a second message with it a duplicate")
	exclusive(cmd, "delay", "not-before")
}
