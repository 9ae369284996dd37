package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// open opens a file for the time of a test.
func open(t *testing.T, o recall.Options) *recall.Broker {
	t.Helper()
	o.Durability, o.Logger = recall.SyncNever, quiet
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Error(err)
		}
	})
	return b
}

// inBubble runs a test with a broker that delivers nothing, and its client.
func inBubble(t *testing.T, test func(t *testing.T, b *recall.Broker, c *admin.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, recall.Options{NoDispatch: true})
		test(t, b, admin.Local(b))
	})
}

// client is one over HTTP without a connection.
func client(t *testing.T, h http.Handler, token string) *admin.Client {
	t.Helper()
	c, err := admin.New("http://queue.test/", token, &http.Client{Transport: admin.InProcess(h)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publish publishes messages that wait for an hour.
func publish(t *testing.T, b *recall.Broker, messages ...recall.Message) []recall.MessageID {
	t.Helper()
	for i := range messages {
		messages[i].Delay = time.Hour
		if messages[i].URL == "" && messages[i].Queue == "" {
			messages[i].URL = "https://example.com/hook"
		}
	}
	receipts, err := b.PublishBatch(t.Context(), messages)
	if err != nil {
		t.Fatal(err)
	}
	var ids []recall.MessageID
	for _, r := range receipts {
		ids = append(ids, r.ID)
	}
	return ids
}

// must returns what a call returned, which may not have failed.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func ptr[T any](v T) *T { return &v }
