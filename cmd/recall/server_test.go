package main

import (
	"strings"
	"testing"

	"github.com/recallmq/recall/qstash"
)

// TestManyIDs cancels what a query of some megabytes names.
func TestManyIDs(t *testing.T) {
	_, url := startDev(t, t.TempDir())
	ids := strings.Repeat("&messageIds=msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", 90_000)
	status, text, err := send("DELETE", url+"/v2/messages?"+ids[1:], qstash.DevToken, "")
	if err != nil || status != 202 {
		t.Errorf("got %d %s, %v, want 202", status, text, err)
	}
	status, text, err = send("DELETE", url+"/v2/messages?"+ids+ids, qstash.DevToken, "")
	if err == nil && (status != 431 || !strings.HasPrefix(text, `{"error":"`)) { // an error: it was cut off while it was sent
		t.Errorf("twice as many: got %d %s, want 431 in JSON", status, text)
	}
}
