package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// TestBackup takes a copy through a client, which is whole.
func TestBackup(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	publish(t, b, recall.Message{Labels: []string{"x"}}, recall.Message{})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Tokens([]string{"full"}, []string{"read"}), Logger: quiet})
	file := filepath.Join(t.TempDir(), "copy.db")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := client(t, h, "full").Backup(t.Context(), out)
	if err := errors.Join(err, out.Close()); err != nil || n == 0 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	report := must(recall.Check(t.Context(), file, nil))(t)
	if !report.OK() || report.Live() != 2 {
		t.Errorf("got %s", report)
	}
	if _, err := client(t, h, "read").Backup(t.Context(), io.Discard); !errors.Is(err, admin.ErrForbidden) {
		t.Errorf("a token for reading: got %v", err)
	}
}

// TestBackupThatFails: no part is taken for the whole.
func TestBackupThatFails(t *testing.T) {
	b := open(t, recall.Options{NoDispatch: true})
	h := admin.NewHandler(b, &admin.Options{Access: admin.Trusted, Logger: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client(t, h, "").Backup(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	cut := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("some"))
		panic(http.ErrAbortHandler)
	})
	if _, err := client(t, cut, "").Backup(t.Context(), io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, h, "").Backup(t.Context(), io.Discard); !errors.Is(err, recall.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
