package recalltest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

// ErrInjected is why a call fails that [Server.FailCommits] has made fail.
var ErrInjected = errors.New("recalltest: this commit fails because the test wants it to")

// complete is all that an engine can do.
type complete interface {
	recall.Engine
	recall.Restorer
	recall.Auditor
	recall.Changer
	recall.Stander
	recall.Transactor
	recall.Keeper
	recall.FlowController
	recall.EventLog
	recall.Redriver
	recall.StateCounter
	recall.Backuper
	recall.Importer
}

// spy is an engine that tells a watch what happens, and fails when it wants.
type spy struct {
	complete
	w *watch
}

func watched(e recall.Engine, w *watch) recall.Engine { return &spy{e.(complete), w} }

func isHTTP(url string) bool {
	return strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")
}

// Insert implements recall.Engine, as do the others below.
func (s *spy) Insert(ctx context.Context, msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	if err := s.w.fault(); err != nil {
		return nil, err
	}
	receipts, err := s.complete.Insert(ctx, msgs, now)
	if err == nil {
		s.w.published(msgs, receipts)
	}
	return receipts, err
}

func (s *spy) Apply(ctx context.Context, c recall.Change) ([]recall.Receipt, error) {
	if err := s.w.fault(); err != nil {
		return nil, err
	}
	receipts, err := s.complete.Apply(ctx, c)
	if err == nil {
		s.w.published(c.Messages, receipts)
	}
	return receipts, err
}

func (s *spy) Claim(ctx context.Context, req recall.ClaimRequest) (recall.ClaimResult, error) {
	res, err := s.complete.Claim(ctx, req)
	if err != nil {
		return res, err
	}
	for i := range res.Leases {
		s.w.seen(&res.Leases[i].Message)
	}
	if !req.Only { // else they are a consumer's
		s.w.shuffle(res.Leases)
		s.w.began(res.Leases)
	}
	return res, nil
}

func (s *spy) Finish(ctx context.Context, l recall.Lease, f recall.Finish) error {
	err := s.complete.Finish(ctx, l, f)
	if err == nil {
		s.w.finished(&l.Message, f.Outcome, s.isDead(ctx, l.Message.ID, f.Outcome))
	}
	s.w.ended(l)
	return err
}

// isDead tells a message that has died from one that was cancelled while its last
// attempt was under way.
func (s *spy) isDead(ctx context.Context, id recall.MessageID, o recall.Outcome) bool {
	if o != recall.Dead {
		return false
	}
	ids, err := s.DeadIDs(ctx, recall.Filter{IDs: []recall.MessageID{id}}, "", 1)
	return err == nil && len(ids) > 0
}

func (s *spy) Cancel(ctx context.Context, req recall.CancelRequest) error {
	if err := s.w.fault(); err != nil {
		return err
	}
	return s.complete.Cancel(ctx, req)
}

func (s *spy) CancelMatching(ctx context.Context, req recall.CancelMatchingRequest) (recall.CancelResult, error) {
	if err := s.w.fault(); err != nil {
		return recall.CancelResult{}, err
	}
	return s.complete.CancelMatching(ctx, req)
}

func (s *spy) Change(ctx context.Context, req recall.ChangeRequest) (recall.ChangeResult, error) {
	if err := s.w.fault(); err != nil {
		return recall.ChangeResult{}, err
	}
	return s.complete.Change(ctx, req)
}

func (s *spy) Restore(ctx context.Context, op recall.OperationID, now time.Time) (recall.RestoreResult, error) {
	if err := s.w.fault(); err != nil {
		return recall.RestoreResult{}, err
	}
	return s.complete.Restore(ctx, op, now)
}

func (s *spy) RetryDead(ctx context.Context, ids []recall.DeadLetterID, now time.Time) ([]recall.Receipt, error) {
	if err := s.w.fault(); err != nil {
		return nil, err
	}
	return s.complete.RetryDead(ctx, ids, now)
}

func (s *spy) RetryDeadMatching(ctx context.Context, req recall.DeadMatchingRequest) (int, error) {
	if err := s.w.fault(); err != nil {
		return 0, err
	}
	return s.complete.RetryDeadMatching(ctx, req)
}

func (s *spy) RetryDeadWith(
	ctx context.Context, ids []recall.DeadLetterID, now time.Time, change func(*recall.Message) error,
) ([]recall.Receipt, error) {
	if err := s.w.fault(); err != nil {
		return nil, err
	}
	return s.complete.RetryDeadWith(ctx, ids, now, change)
}

func (s *spy) Update(ctx context.Context, fn func(recall.EngineTx) error) error {
	if err := s.w.fault(); err != nil {
		return err
	}
	var tx *spyTx
	err := s.complete.Update(ctx, func(inner recall.EngineTx) error {
		tx = &spyTx{EngineTx: inner}
		return fn(tx)
	})
	if err == nil && tx != nil {
		s.w.published(tx.msgs, tx.receipts)
	}
	return err
}

// spyTx remembers what a transaction publishes.
type spyTx struct {
	recall.EngineTx
	msgs     []recall.Message
	receipts []recall.Receipt
}

func (t *spyTx) Insert(msgs []recall.Message, now time.Time) ([]recall.Receipt, error) {
	receipts, err := t.EngineTx.Insert(msgs, now)
	if err == nil {
		t.msgs, t.receipts = append(t.msgs, msgs...), append(t.receipts, receipts...)
	}
	return receipts, err
}
