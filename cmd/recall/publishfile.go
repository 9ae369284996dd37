package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

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
			m, err := readMessage(lines)
			if errors.Is(err, io.EOF) {
				last = true
				break
			}
			if err != nil {
				return usagef("message %d of the file %w; %d were published", published+len(batch)+1, err, published)
			}
			batch = append(batch, m)
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

// Errors of messages of a file, which go behind their number.
var (
	errHeld     = errors.New("is held: published it would go out; release it before it is listed, or take \"state\" away")
	errRedacted = errors.New("is redacted: what it really has is not in its line")
)

// readMessage reads the next message of a file, as it is to be published: due when a
// list said that it was. What a list does not have of it is refused, not lost.
func readMessage(lines *json.Decoder) (m recall.Message, err error) {
	var w admin.Message
	switch err := lines.Decode(&w); {
	case errors.Is(err, io.EOF):
		return m, err
	case err != nil:
		return m, fmt.Errorf("cannot be read: %w", err)
	case w.State == recall.StateHeld:
		return m, errHeld
	case w.Redact != nil && (isRedacted(string(w.Body)) || anyRedacted(w.Header) || callbackRedacted(w.Callback) || callbackRedacted(w.FailureCallback)):
		return m, errRedacted
	}
	if w.Delay == 0 && w.NotBefore.IsZero() {
		w.NotBefore = w.DueAt
	}
	return recall.Message(w), nil
}

// isRedacted tells whether a value is one that is shown in the place of another: see
// recall.Redaction.
func isRedacted(value string) bool {
	sum, found := strings.CutPrefix(value, "REDACTED:")
	raw, err := hex.DecodeString(sum)
	return found && err == nil && len(raw) == 32
}

func anyRedacted(h http.Header) bool {
	for _, values := range h {
		if slices.ContainsFunc(values, isRedacted) {
			return true
		}
	}
	return false
}

func callbackRedacted(c *recall.Callback) bool {
	return c != nil && (anyRedacted(c.Header) || callbackRedacted(c.Callback) || callbackRedacted(c.FailureCallback))
}
