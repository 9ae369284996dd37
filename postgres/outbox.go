package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// PublishTx publishes in a transaction of the program, on the database of the queue:
// the message exists if that transaction is committed, and otherwise it never did – the
// transactional outbox, without a table and a relay of the program's own. b is a broker
// on this engine, whose options and limits hold.
//
// Nobody waits for the transaction, but for those who publish with the same
// deduplication id. The id of the message is made from the clock of this process when
// PublishTx is called, in the order of its calls; the message is seen from the commit on. So
// its place in a FIFO queue is that of the call among what still waits, a bulk call that
// has begun before the commit does not touch it, and a standing cancellation that was
// asked for while the transaction was open may not take it. Queues and limits that come
// with it are there a moment after the commit, and before it is claimed. Consumers learn
// of the message within Options.PollInterval of the commit. [recall.Engine.Stats] does
// not count it.
//
// Errors: those of [recall.Broker.Publish], and those of the connection, after which the
// transaction can only be rolled back. A deadlock with another transaction that reserves
// the same deduplication ids (40P01) is one of these: make the transaction again.
func (e *Engine) PublishTx(ctx context.Context, b *recall.Broker, tx pgx.Tx, m recall.Message) (r recall.Receipt, err error) {
	err = e.within(ctx, b, tx, func(t *recall.Tx) error {
		r, err = t.Publish(m)
		return err
	})
	return r, err
}

// PublishBatchTx is PublishTx for several messages.
func (e *Engine) PublishBatchTx(ctx context.Context, b *recall.Broker, tx pgx.Tx, msgs []recall.Message) (r []recall.Receipt, err error) {
	err = e.within(ctx, b, tx, func(t *recall.Tx) error {
		r, err = t.PublishBatch(msgs)
		return err
	})
	return r, err
}

// CancelMatchingTx cancels in a transaction of the program, as [recall.Tx.CancelMatching]
// does: what it has taken is pending again if that is rolled back. Every match stays
// locked until then, and other calls that would take one wait. Those that publish, claim
// and end attempts do not, in the same queue and under the same key either.
func (e *Engine) CancelMatchingTx(
	ctx context.Context, b *recall.Broker, tx pgx.Tx, f recall.Filter, opts ...recall.CancelOption,
) (res recall.CancelResult, err error) {
	err = e.within(ctx, b, tx, func(t *recall.Tx) error {
		res, err = t.CancelMatching(f, opts...)
		return err
	})
	return res, err
}

func (e *Engine) within(ctx context.Context, b *recall.Broker, tx pgx.Tx, fn func(*recall.Tx) error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	t := &transaction{u: &unit{e: e, tx: tx, ctx: ctx, call: new([16]byte), apart: true}} // nobody asks what became of it
	defer func() { t.over = true }()
	return b.Within(ctx, t, fn)
}
