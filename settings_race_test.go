package recall_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestSettingsInOneCommit: what is set by hand holds, whatever a message of the same
// commit brings, and what the message brings holds too.
func TestSettingsInOneCommit(t *testing.T) {
	paused := true
	for name, set := range map[string]func(context.Context, *recall.Broker) error{
		"flow": func(ctx context.Context, b *recall.Broker) error { return b.PauseFlow(ctx, "k") },
		"queue": func(ctx context.Context, b *recall.Broker) error {
			return b.UpdateQueue(ctx, "q", recall.QueueUpdate{Parallelism: 7, Paused: &paused})
		},
	} {
		publish := func(ctx context.Context, b *recall.Broker) error {
			_, err := b.Publish(ctx, recall.Message{
				URL: "local:x", FlowKey: "k", Flow: &recall.FlowLimit{Parallelism: 3}, Queue: "q", Delay: time.Hour,
			})
			return err
		}
		for order, calls := range map[string][]func(context.Context, *recall.Broker) error{
			"set first": {set, publish}, "published first": {publish, set},
		} {
			t.Run(name+", "+order, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := inOneCommit(t, calls...)
					k, err := b.FlowKey(t.Context(), "k")
					if err != nil || k.Limit.Parallelism != 3 || k.Paused != (name == "flow") {
						t.Errorf("the key: %+v, %v", k.FlowSettings, err)
					}
					q, err := b.Queue(t.Context(), "q")
					if err != nil || q.Paused != (name == "queue") || name == "queue" && q.Parallelism != 7 {
						t.Errorf("the queue: %+v, %v", q.QueueSettings, err)
					}
				})
			})
		}
	}
}

// inOneCommit makes calls whose changes are in one commit, in their order.
func inOneCommit(t *testing.T, calls ...func(context.Context, *recall.Broker) error) *recall.Broker {
	t.Helper()
	e, err := recall.OpenEngine(filepath.Join(t.TempDir(), "q.db"), &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(e, &recall.Options{Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Error(err)
		}
	})
	release, err := recall.Occupy(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		go func() {
			if err := call(context.Background(), b); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
	}
	release()
	synctest.Wait()
	return b
}

// TestNewestLimitOfOneCommit: the last message of a batch sets the limit, also if it
// is what the key had before.
func TestNewestLimitOfOneCommit(t *testing.T) {
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			message := func(n int) recall.Message {
				return recall.Message{URL: "local:x", FlowKey: "k", Flow: &recall.FlowLimit{Parallelism: n}}
			}
			publish(t, b, message(1))
			if _, err := b.PublishBatch(t.Context(), []recall.Message{message(2), message(1)}); err != nil {
				t.Fatal(err)
			}
			if k, err := b.FlowKey(t.Context(), "k"); err != nil || k.Limit.Parallelism != 1 {
				t.Errorf("the limit is %+v, %v, want 1", k.Limit, err)
			}
		})
	}
}
