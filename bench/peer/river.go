package peer

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

const (
	riverVersion  = "River 0.39.0"
	riverSettings = "a queue per label, 200 workers each, FetchCooldown 2 ms and FetchPollInterval 20 ms (by default 100 ms and 1 s); finished jobs stay for a day, as by default"
	riverCancel   = "JobDeleteMany by queue, 10,000 at a time, not in one commit"
	riverCount    = "JobList by queue, 10,000 at a time: no call counts"

	riverPage    = 10_000 // the most that one call lists or deletes
	riverWorkers = 200    // of each queue
)

// riverArgs are a job's.
type riverArgs struct {
	Body string `json:"body"`
}

func (riverArgs) Kind() string { return "message" }

// riverWorker hands jobs to whoever delivers at the time.
type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	handler atomic.Pointer[Handler]
}

func (w *riverWorker) Work(_ context.Context, job *river.Job[riverArgs]) error {
	h := w.handler.Load()
	if h == nil {
		return errors.New("nobody delivers")
	}
	(*h)([]byte(job.Args.Body))
	return nil
}

// riverQueue is what River has in common on all databases.
type riverQueue[TTx any] struct {
	client *river.Client[TTx]
	worker *riverWorker
}

func riverLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

func newRiver[TTx any](ctx context.Context, driver riverdriver.Driver[TTx]) (*riverQueue[TTx], error) {
	logger := riverLogger()
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	q := &riverQueue[TTx]{worker: &riverWorker{}}
	workers := river.NewWorkers()
	river.AddWorker(workers, q.worker)
	queues := map[string]river.QueueConfig{}
	for _, label := range Labels {
		queues[label] = river.QueueConfig{MaxWorkers: riverWorkers}
	}
	q.client, err = river.NewClient(driver, &river.Config{
		Queues: queues, Workers: workers, Logger: logger,
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	})
	return q, err
}

func riverOptions(m Message) *river.InsertOpts {
	return &river.InsertOpts{Queue: m.Label, ScheduledAt: m.Due}
}

func (q *riverQueue[TTx]) Publish(ctx context.Context, m Message) error {
	_, err := q.client.Insert(ctx, riverArgs{string(m.Body)}, riverOptions(m))
	return err
}

func riverParams(msgs []Message) []river.InsertManyParams {
	params := make([]river.InsertManyParams, len(msgs))
	for i, m := range msgs {
		params[i] = river.InsertManyParams{Args: riverArgs{string(m.Body)}, InsertOpts: riverOptions(m)}
	}
	return params
}

func (q *riverQueue[TTx]) Deliver(h Handler) (func() error, error) {
	q.worker.handler.Store(&h)
	if err := q.client.Start(context.Background()); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), servicePatience)
		defer cancel()
		return q.client.Stop(ctx)
	}, nil
}

// riverWaiting are the states of a job that nobody works on.
var riverWaiting = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateScheduled,
}

// Cancel deletes: only single jobs can be cancelled so that they are kept.
func (q *riverQueue[TTx]) Cancel(ctx context.Context, label string) (total int, err error) {
	params := river.NewJobDeleteManyParams().Queues(label).States(riverWaiting...).First(riverPage)
	for {
		result, err := q.client.JobDeleteMany(ctx, params)
		if err != nil {
			return total, err
		}
		total += len(result.Jobs)
		if len(result.Jobs) < riverPage {
			return total, nil
		}
	}
}

func (q *riverQueue[TTx]) Count(ctx context.Context, label string) (total int, err error) {
	all := river.NewJobListParams().Queues(label).States(riverWaiting...).
		OrderBy(river.JobListOrderByID, river.SortOrderAsc).First(riverPage)
	for params := all; ; {
		result, err := q.client.JobList(ctx, params)
		if err != nil {
			return total, err
		}
		total += len(result.Jobs)
		if len(result.Jobs) < riverPage {
			return total, nil
		}
		params = all.After(result.LastCursor) // of the last one, a third page would be refused
	}
}
