package peer

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/recallmq/recall"
)

// RecallName is the one that the others are compared with.
const RecallName = "Recall"

// Recall is the reference. Its options are the defaults, but for the slots.
var Recall = &Peer{
	Name:     RecallName,
	Settings: "Durability SyncAlways, 256 slots, the rest as by default: cancellations can be undone, events are logged",
	CancelBy: "CancelMatching by label",
	CountBy:  "Count by label",
	Open:     openRecall,
}

type recallQueue struct {
	broker *recall.Broker
	dir    string
}

func openRecall(_ context.Context, dir string, _ int) (Queue, error) {
	return openRecallWith(dir, recall.SyncAlways)
}

func openRecallWith(dir string, durability recall.Durability) (Queue, error) {
	br, err := recall.Open(filepath.Join(dir, "queue.db"), &recall.Options{
		Durability: durability,
		Slots:      256,
		Logger:     warnings(),
	})
	if err != nil {
		return nil, err
	}
	q := &recallQueue{br, dir}
	if br.Options().Durability != recall.SyncAlways {
		err := &NotDurableError{RecallName, "Durability", "another", "SyncAlways"}
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func toRecall(m Message) recall.Message {
	return recall.Message{
		URL: m.URL, Topic: m.Topic, ScheduleID: m.Schedule, CallerIP: m.IP,
		Labels: []string{m.Label}, NotBefore: m.Due, Body: m.Body,
	}
}

func (q *recallQueue) Publish(ctx context.Context, m Message) error {
	_, err := q.broker.Publish(ctx, toRecall(m))
	return err
}

func (q *recallQueue) PublishBatch(ctx context.Context, msgs []Message) error {
	batch := make([]recall.Message, len(msgs))
	for i, m := range msgs {
		batch[i] = toRecall(m)
	}
	_, err := q.broker.PublishBatch(ctx, batch)
	return err
}

func (q *recallQueue) Deliver(h Handler) (func() error, error) {
	set := func(h recall.Handler) (err error) {
		for _, url := range URLs {
			err = errors.Join(err, q.broker.Handle(url, h))
		}
		return err
	}
	stop := func() error { return set(nil) }
	return stop, set(func(_ context.Context, d *recall.Delivery) error {
		h(d.Body)
		return nil
	})
}

func (q *recallQueue) Cancel(ctx context.Context, label string) (int, error) {
	result, err := q.broker.CancelMatching(ctx, recall.Filter{Labels: []string{label}})
	return result.Cancelled, err
}

func (q *recallQueue) Count(ctx context.Context, label string) (int, error) {
	n, err := q.broker.Count(ctx, recall.Filter{Labels: []string{label}})
	return n.Pending, err
}

// Unfinished counts what is not durably forgotten.
func (q *recallQueue) Unfinished(context.Context) (int, error) {
	s := q.broker.Stats()
	return s.InFlight + s.Waiting, nil
}

func (q *recallQueue) Size() (int64, error) { return FolderSize(q.dir) }

func (q *recallQueue) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return q.broker.Close(ctx)
}
