package recall_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestSalvageLostCancelled loses the only message that an operation has cancelled:
// that is no reason to give up the others.
func TestSalvageLostCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	b := openQuiet(t, path)
	for range 5 {
		publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
	}
	publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour, Body: []byte("cancelled"), Labels: []string{"taken"}})
	if _, err := b.CancelMatching(t.Context(), recall.Filter{Labels: []string{"taken"}}); err != nil {
		t.Fatal(err)
	}
	closeNow(t, b, t.Context())
	bad := bytes.ReplaceAll(readBytes(t, path), []byte("cancelled"), []byte("cancelked"))
	to, r, err := salvageOf(t, bad)
	if err != nil || r.Copied.Messages != 5 || r.Lost.Messages != 1 || !slices.Equal(r.LostMessages, []uint64{6}) {
		t.Fatalf("got %v, %v", r, err)
	}
	if found := checkSound(t, to); found.Live() != 5 || found.Undoable != 0 {
		t.Errorf("got %v", found)
	}
}
