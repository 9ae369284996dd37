package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// RiverClaims says how River is made to claim like the others.
const RiverClaims = "a client for each worker, on one queue, with as many workers of its own (MaxWorkers) as it may claim at a time, " +
	"PollOnly, FetchCooldown 1 ms; a message counts when the event says that it is completed, which River writes for many at a time"

// riverEvents is room for the events of one client that nobody has looked at.
const riverEvents = 1 << 16

// riverClaims are clients that each take from one queue.
type riverClaims struct {
	q       *riverPostgresQueue
	queues  []string
	clients []*river.Client[pgx.Tx]
	counts  sync.WaitGroup
	worked  atomic.Int64
	told    atomic.Int64
}

// Claim has clients that run: River has no call that claims. No call tells how
// long it took either.
func (q *riverPostgresQueue) Claim(workers, n int, done Claimed) (Claims, error) {
	c := &riverClaims{q: q}
	var handler Handler = func([]byte) { c.worked.Add(1) }
	q.worker.handler.Store(&handler)
	for w := range workers {
		// The first label is cancelled, and the last is for traffic.
		queue := Labels[1+w%(len(Labels)-2)]
		c.queues = append(c.queues, queue)
		if err := c.start(w, queue, n, done); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

func (c *riverClaims) start(w int, queue string, n int, done Claimed) error {
	workers := river.NewWorkers()
	river.AddWorker(workers, c.q.worker)
	client, err := river.NewClient(c.q.driver, &river.Config{
		ID: fmt.Sprintf("claims-%d", w), Queues: map[string]river.QueueConfig{queue: {MaxWorkers: n}},
		Workers: workers, Logger: riverLogger(), PollOnly: true,
		FetchCooldown: time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	completed, forget := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: riverEvents, Kinds: []river.EventKind{river.EventKindJobCompleted},
	})
	c.counts.Go(func() {
		for range completed { // until the client is stopped
			c.told.Add(1)
			done(1, 0)
		}
	})
	if err := client.Start(context.Background()); err != nil {
		forget() // ends the goroutine
		return err
	}
	c.clients = append(c.clients, client)
	return nil
}

// Dry looks whether a queue that is worked on is empty.
func (c *riverClaims) Dry(ctx context.Context) (dry bool, err error) {
	queues := slices.Compact(slices.Sorted(slices.Values(c.queues)))
	err = c.q.pool.QueryRow(ctx, `SELECT bool_or(NOT EXISTS (SELECT 1 FROM river_job WHERE state = 'available' AND queue = q))
		FROM unnest($1::text[]) AS q`, queues).Scan(&dry)
	return dry, err
}

// Stop fails if the events do not tell of all that was done.
func (c *riverClaims) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), servicePatience)
	defer cancel()
	errs := make([]error, len(c.clients))
	var group sync.WaitGroup
	for i, client := range c.clients {
		group.Go(func() { errs[i] = client.Stop(ctx) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err // the events may go on
	}
	c.counts.Wait()
	if worked, told := c.worked.Load(), c.told.Load(); worked != told {
		return fmt.Errorf("of %d messages that River worked on it told of %d", worked, told)
	}
	return nil
}
