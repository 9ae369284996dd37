package enginetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/recallmq/recall"
)

// Worker is a client in one of several processes that work on one queue. It publishes,
// delivers and cancels at random, and writes down what it asks and is told, for a [Case].
type Worker struct {
	Engine recall.Engine
	Client int              // no other client, in any process, has the number
	Rand   *rand.Rand       // what it does next
	Tick   func() int64     // moves the counter of all processes on, and returns it
	Log    func(Deed) error // writes a line, at once
	Now    func() time.Time // the time that calls bring
	Failed func(error)      // is told what failed; before it returns nothing else is tried
	leases []recall.Lease   // that it may still try to end, though they have ended
	known  map[string]recall.MessageID
	names  []string
	number int
}

// Labels and queues of what a Worker publishes.
const (
	workerLabels = 4
	workerQueues = 3
)

// Run works until the context is done, and ends what it has begun. The error is that of
// Log.
func (w *Worker) Run(ctx context.Context) error {
	w.known = map[string]recall.MessageID{}
	for ctx.Err() == nil {
		var err error
		switch n := w.Rand.IntN(100); {
		case n < 35:
			err = w.publish()
		case n < 70:
			err = w.deliver()
		case n < 78:
			err = w.again()
		case n < 84:
			err = w.cancel()
		default:
			err = w.bulk()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// call writes down that a call begins, makes it, and writes down what it was told. What is
// read from the answer, do puts into the line.
func (w *Worker) call(d Deed, do func(ctx context.Context, d *Deed) error) error {
	d.Client, d.Began = w.Client, w.Tick()
	if err := w.Log(d); err != nil {
		return err
	}
	failure := do(context.Background(), &d)
	d.Ended = w.Tick()
	switch {
	case failure == nil:
		d.Answer = AnswerDone
	case errors.Is(failure, recall.ErrLeaseLost):
		d.Answer = AnswerLost
	case errors.Is(failure, recall.ErrNotFound):
		d.Answer = AnswerNotFound
	case errors.Is(failure, recall.ErrNotCancellable):
		d.Answer = AnswerInFlight
	case errors.Is(failure, recall.ErrFailed):
		d.Error = failure.Error()
	default:
		d.Answer, d.Error = AnswerFailed, failure.Error()
	}
	if err := w.Log(d); err != nil {
		return err
	}
	if d.Error != "" {
		w.Failed(failure)
	}
	return nil
}

func (w *Worker) label() string { return numbered("l", w.Rand.IntN(workerLabels)) }

func (w *Worker) publish() error {
	now := w.Now()
	var d Deed
	msgs := make([]recall.Message, 1+w.Rand.IntN(5))
	for i := range msgs {
		w.number++
		name, label, queue := fmt.Sprintf("%d-%d", w.Client, w.number), w.label(), ""
		if w.Rand.IntN(3) == 0 {
			queue = numbered("q", w.Rand.IntN(workerQueues))
		}
		msgs[i] = recall.Message{
			URL: "https://api.test/hook", Method: "POST", Retries: recall.Retries(recall.MaxRetries), Timeout: time.Minute,
			CreatedAt: now, DueAt: now, Labels: []string{label}, Queue: queue, Body: []byte(name),
		}
		d.Names, d.Labels, d.Queues = append(d.Names, name), append(d.Labels, label), append(d.Queues, queue)
	}
	d.Verb = DeedPublish
	return w.call(d, func(ctx context.Context, d *Deed) error {
		receipts, err := w.Engine.Insert(ctx, msgs, now)
		for i, r := range receipts {
			d.IDs = append(d.IDs, r.ID)
			w.knows(d.Names[i], r.ID)
		}
		return err
	})
}

func (w *Worker) knows(name string, id recall.MessageID) {
	if _, ok := w.known[name]; !ok {
		w.names = append(w.names, name)
	}
	w.known[name] = id
}

// deliver claims some messages and ends their attempts, one after the other: meanwhile
// they are in the way of cancellations.
func (w *Worker) deliver() error {
	var leases []recall.Lease
	err := w.call(Deed{Verb: DeedClaim}, func(ctx context.Context, d *Deed) error {
		res, err := w.Engine.Claim(ctx, recall.ClaimRequest{Now: w.Now(), Max: 1 + w.Rand.IntN(4)})
		for _, l := range res.Leases {
			d.Names, d.IDs = append(d.Names, string(l.Message.Body)), append(d.IDs, l.Message.ID)
			d.Attempts, d.Leases = append(d.Attempts, l.Message.Attempts), append(d.Leases, l.Token)
			w.knows(string(l.Message.Body), l.Message.ID)
		}
		leases = res.Leases
		return err
	})
	for i := 0; err == nil && i < len(leases); i++ {
		err = w.finish(leases[i])
	}
	return err
}

// again tries to end an attempt that is over.
func (w *Worker) again() error {
	if len(w.leases) == 0 {
		return nil
	}
	return w.finish(w.leases[len(w.leases)-1-w.Rand.IntN(min(len(w.leases), 8))])
}

// workerOutcomes are how attempts end, as often as they are here.
var workerOutcomes = []recall.Outcome{
	recall.Delivered, recall.Delivered, recall.Delivered, recall.Delivered, recall.Delivered, recall.Delivered,
	recall.Retry, recall.Retry, recall.Retry, recall.Release, recall.Dead,
}

// finish ends an attempt, and tries again when that has failed.
func (w *Worker) finish(l recall.Lease) error {
	d := Deed{
		Verb: DeedFinish, Names: []string{string(l.Message.Body)}, IDs: []recall.MessageID{l.Message.ID}, Leases: []recall.LeaseToken{l.Token},
		Outcome: workerOutcomes[w.Rand.IntN(len(workerOutcomes))],
	}
	w.leases = append(w.leases, l)
	for again := true; again; {
		err := w.call(d, func(ctx context.Context, d *Deed) error {
			now := w.Now()
			err := w.Engine.Finish(ctx, l, recall.Finish{
				Outcome: d.Outcome, Now: now, Due: now, Reason: "status 500", Failure: recall.FailureStatus, Durable: true,
			})
			again = err != nil && !errors.Is(err, recall.ErrLeaseLost) && !errors.Is(err, recall.ErrFailed)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) cancel() error {
	if len(w.names) == 0 {
		return nil
	}
	name := w.names[len(w.names)-1-w.Rand.IntN(min(len(w.names), 20))]
	d := Deed{Verb: DeedCancel, Names: []string{name}, IDs: []recall.MessageID{w.known[name]}}
	return w.call(d, func(ctx context.Context, d *Deed) error {
		return w.Engine.Cancel(ctx, recall.CancelRequest{ID: d.IDs[0], Now: w.Now()})
	})
}

func (w *Worker) bulk() error {
	d := Deed{Verb: DeedBulk, Labels: []string{w.label()}}
	req := recall.CancelMatchingRequest{Filter: recall.Filter{Labels: d.Labels}, Now: w.Now()}
	if w.Rand.IntN(4) == 0 {
		req.Policy = recall.Skip
	}
	if w.Rand.IntN(4) == 0 {
		req.Limit = 1 + w.Rand.IntN(10)
		d.Limit = req.Limit
	}
	return w.call(d, func(ctx context.Context, d *Deed) error {
		var unwritten error
		req.Started = func(op recall.OperationID) { // who is killed has said so before anything is taken
			d.Operation = op
			unwritten = w.Log(*d)
		}
		res, err := w.Engine.CancelMatching(ctx, req)
		d.Count, d.IDs = res.Cancelled, res.Skipped
		var stop *recall.NotCancellableError
		if errors.As(err, &stop) {
			d.Blocker = stop.ID
		}
		return errors.Join(err, unwritten)
	})
}
