package recall

import (
	"context"
	"iter"
	"time"
)

// MaxTransaction is how much one [Broker.Update] may write, in bytes: messages,
// the sets of cancellations, and keys and values of buckets, of which each Put
// and Delete counts as 4 KiB at least.
const MaxTransaction = 16 << 20

// Update runs fn in a transaction: what it publishes, cancels, and keeps in
// buckets of its own becomes durable and visible together, in one commit, when
// fn returns nil. If fn returns an error, panics or ends its goroutine, nothing
// of it has happened; the error is returned as it is.
//
// With it a program replaces messages (cancel those of a customer, publish new
// ones), or keeps its own data in the same file, so that a change of it and the
// message about the change cannot come apart: the transactional outbox, without
// a second database.
//
// What others see of it while fn runs is that the messages which it has
// cancelled are out of lists and counts, as with any cancellation under way, and
// not delivered; they are back if it fails.
//
// fn runs in the place of the committer: everything else that writes waits for
// it, so it should do no more than what belongs together. It must not call the
// broker: with the context of the transaction such calls are refused
// ([ErrInvalid]), with another they wait for fn to return, for ever. The Tx must
// not be used by two goroutines at once, nor after fn has returned.
//
// Errors: [ErrInvalid] for more than [MaxTransaction], [ErrUnsupported],
// [ErrFull], [ErrFailed] (outcome unknown until the next Open), [ErrClosed], that
// of ctx if it was done before fn was called, or that of fn. Safe for concurrent
// use: transactions run one after the other.
func (b *Broker) Update(ctx context.Context, fn func(tx *Tx) error) error {
	u, err := asEngine[Transactor](b, ctx)
	if err != nil {
		return err
	}
	defer b.end()
	if err := b.readTopicsBefore(ctx); err != nil {
		return err
	}
	return u.Update(ctx, func(e EngineTx) error {
		tx := &Tx{b: b, engine: e, now: b.clock.Now(), ctx: context.WithValue(ctx, txKey{b}, true)}
		defer tx.close()
		return fn(tx)
	})
}

// Within calls fn with a Tx on a transaction of the engine that somebody else has begun
// and will end: an engine on a database takes part in a transaction of the program. What
// fn does is checked and filled in as in [Broker.Update], and is durable and visible
// when that transaction is, if it ever is; Within commits nothing. It is for engines:
// programs call what their engine offers, such as PublishTx of package postgres.
//
// Errors: [ErrClosed], that of ctx, or that of fn. Safe for concurrent use; the Tx is
// not.
func (b *Broker) Within(ctx context.Context, e EngineTx, fn func(tx *Tx) error) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	// Topics are read when they are needed: that takes a connection beside the one of the
	// transaction, and where all are in such transactions there is none.
	tx := &Tx{b: b, engine: e, now: b.clock.Now(), ctx: context.WithValue(ctx, txKey{b}, true), within: true}
	defer func() { tx.closed = true }()
	return fn(tx)
}

// txKey marks the context of a transaction, which may be within one of another
// broker.
type txKey struct{ b *Broker }

// checkTx refuses what would wait for the transaction that it is called in.
func (b *Broker) checkTx(ctx context.Context) error {
	if ctx.Value(txKey{b}) != nil {
		return invalid("ctx", "inside a transaction, use the Tx")
	}
	return nil
}

// Tx is a transaction of [Broker.Update].
type Tx struct {
	b      *Broker
	engine EngineTx
	now    time.Time
	ctx    context.Context
	closed bool
	within bool // of somebody else, and holds nobody up
}

// close ends the use of the Tx and notes how long everybody waited for it.
func (tx *Tx) close() {
	tx.closed = true
	tx.b.noteUpdate(tx.b.clock.Now().Sub(tx.now))
}

func (tx *Tx) check() error {
	if tx.closed {
		return ErrClosed
	}
	return nil
}

// Context returns the context of Update, marked as that of a transaction: calls
// of the broker with it are refused instead of waiting for ever.
func (tx *Tx) Context() context.Context { return tx.ctx }

// Publish is [Broker.Publish] within the transaction.
func (tx *Tx) Publish(m Message) (Receipt, error) {
	receipts, err := tx.PublishBatch([]Message{m})
	if err != nil {
		return Receipt{}, unbatched(err)
	}
	return receipts[0], nil
}

// PublishBatch is [Broker.PublishBatch] within the transaction.
func (tx *Tx) PublishBatch(msgs []Message) ([]Receipt, error) {
	if err := tx.check(); err != nil {
		return nil, err
	}
	resolved, err := tx.b.resolveBatch(msgs, tx.now)
	if err != nil || len(resolved) == 0 {
		return nil, err
	}
	return tx.storeMessages(resolved)
}

func (tx *Tx) storeMessages(msgs []Message) ([]Receipt, error) {
	done := tx.b.observePublish(tx.ctx, msgs)
	receipts, err := tx.engine.Insert(msgs, tx.now)
	tx.b.observePublished(done, receipts, err)
	return receipts, err
}

// Cancel is [Broker.Cancel] within the transaction; it also takes messages that
// the transaction has published.
func (tx *Tx) Cancel(id MessageID, opts ...CancelOption) error {
	if err := tx.check(); err != nil {
		return err
	}
	o, err := collectCancel(opts)
	if err != nil {
		return err
	}
	if err := o.single(); err != nil {
		return err
	}
	if o.policy == Abort {
		return invalid("Policy", "a transaction cannot abort an attempt; use Sticky")
	}
	if _, err := id.ulid(); err != nil {
		return err
	}
	return tx.engine.Cancel(CancelRequest{ID: id, Sticky: o.policy.asks(), Reason: o.reason, Now: tx.now})
}

// CancelMatching is [Broker.CancelMatching] within the transaction; it also
// takes messages that the transaction has published. Wait and Abort are refused.
// If it fails, a fn that returns nil all the same commits what was cancelled
// before a blocker.
func (tx *Tx) CancelMatching(f Filter, opts ...CancelOption) (CancelResult, error) {
	if f.IsZero() {
		return CancelResult{}, ErrEmptyFilter
	}
	if err := f.Validate(); err != nil {
		return CancelResult{}, err
	}
	if err := tx.check(); err != nil {
		return CancelResult{}, err
	}
	o, err := collectCancel(opts)
	if err != nil {
		return CancelResult{}, err
	}
	if o.wait > 0 || o.policy == Abort {
		return CancelResult{}, invalid("Policy", "a transaction can neither wait for an attempt nor abort it")
	}
	req := CancelMatchingRequest{Filter: f.normalise()}
	tx.b.fill(tx.ctx, &req, &o)
	req.Now = tx.now
	done := tx.b.observeCancel(tx.ctx, &req)
	result, err := tx.engine.CancelMatching(req)
	tx.b.observeCancelled(done, result, err)
	return result, err
}

// Bucket returns the program's own bucket of a name, making it if there is none.
// It lives in the file beside the messages, and is the program's alone. Names
// are 1 to 256 bytes, else [ErrInvalid].
func (tx *Tx) Bucket(name string) (Bucket, error) {
	if err := tx.check(); err != nil {
		return nil, err
	}
	if err := checkBucket(name); err != nil {
		return nil, err
	}
	return tx.engine.Bucket(name)
}

func checkBucket(name string) error {
	if name == "" {
		return invalid("Bucket", "it has no name")
	}
	return checkName("Bucket", name)
}

// Bucket holds keys and values of the program, in the order of the keys. It is
// valid within its transaction only – afterwards it is empty and refuses writes
// with [ErrClosed] – and so are the slices that it returns, which must not be
// written to.
type Bucket interface {
	// Get returns the value of a key, nil if there is none. Where the file is
	// damaged Get and All find nothing, and then Update fails.
	Get(key []byte) []byte
	// Put sets the value of a key. Keys are 1 to 32,768 bytes ([ErrInvalid]).
	// Neither may be changed before the transaction ends.
	Put(key, value []byte) error
	// Delete removes a key. That there is none is no error.
	Delete(key []byte) error
	// All iterates over keys of at least from, nil for all, in order. The bucket
	// must not be changed meanwhile.
	All(from []byte) iter.Seq2[[]byte, []byte]
	// NextSequence returns a number that counts up from 1, once each.
	NextSequence() (uint64, error)
}

// Lookup returns a copy of the value that a program keeps under a key in one of
// its buckets, see [Tx.Bucket]; nil if there is none. It sees the last commit.
//
// Errors: [ErrInvalid], [ErrUnsupported], [ErrClosed], [ErrCorrupt], that of ctx.
func (b *Broker) Lookup(ctx context.Context, bucket string, key []byte) ([]byte, error) {
	if err := checkBucket(bucket); err != nil {
		return nil, err
	}
	u, err := asEngine[Transactor](b, ctx)
	if err != nil {
		return nil, err
	}
	defer b.end()
	return u.Lookup(ctx, bucket, key)
}
