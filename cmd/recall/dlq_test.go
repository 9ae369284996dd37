package main

import (
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

// TestNoTextIsNamed: what a terminal cannot show is named with the flag that writes it.
func TestNoTextIsNamed(t *testing.T) {
	d := recall.DeadLetter{
		ID: "1-1", Message: recall.Message{Body: []byte("\x00\xff\x00\xff")}, Response: &recall.HTTPResponse{Status: 500, Body: []byte("\xff\x00\xff")},
	}
	var out strings.Builder
	s := &session{console: console{out: &out}}
	if err := showDead(s, &d); err != nil {
		t.Fatal(err)
	}
	flags := deadGetCommand().Flags()
	for flag, text := range map[string]string{
		"response-body": "(3 bytes that are no text; --response-body writes them)",
		"body":          "(4 bytes that are no text; --body writes them)",
	} {
		if !strings.Contains(out.String(), text) || flags.Lookup(flag) == nil {
			t.Errorf("no %q, or no such flag, in\n%s", text, &out)
		}
	}
}
