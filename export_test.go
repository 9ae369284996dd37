package recall

import (
	"context"

	"github.com/recallmq/recall/store"
)

// OpenFaulty is OpenEngine with the store's test seams.
func OpenFaulty(path string, opts *Options, before, after func() error) (Engine, error) {
	o := opts.withDefaults()
	s, err := store.Open(path, &store.Options{
		NoSync: o.Durability == SyncNever, MaxSize: o.MaxFileSize, BeforeCommit: before, AfterCommit: after,
	})
	if err != nil {
		return nil, err
	}
	e, err := newEmbedded(s, o)
	if err != nil {
		_ = s.Abandon()
		return nil, err
	}
	return e, nil
}

// Settle waits until everything that was queued is in the file. Unlike a
// commit it leaves claims unnoted.
func Settle(engine Engine) error {
	e := engine.(*embedded)
	e.mu.Lock()
	notes, noted := e.notes, e.noted
	e.notes = nil
	e.mu.Unlock()
	err := e.submit(context.Background(), flushWork{})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.notes, e.noted = append(notes, e.notes...), noted
	return err
}

// Normalised returns f in the spelling that engines are given.
func Normalised(f Filter) Filter { return f.normalise() }

// Occupy takes the committer's place, also in a file that is full, until release
// is called: what is queued meanwhile waits.
func Occupy(engine Engine) (release func(), err error) {
	e := engine.(*embedded)
	l := &loan{lent: make(chan *committer), back: make(chan struct{})}
	r, err := e.send(context.Background(), l, true)
	if err != nil {
		return nil, err
	}
	<-l.lent
	return func() {
		close(l.back)
		<-r.ack
	}, nil
}

// FoldAll folds finished messages and states, though it may not pay yet.
func FoldAll(engine Engine) error {
	e := engine.(*embedded)
	for more := true; more; {
		err := e.submit(context.Background(), &maintWork{need: upkeepBound(stateBatch), step: func(tx *store.Tx) error {
			finished, err := foldMore(tx.FoldFinished(foldBatch))
			if err != nil {
				return err
			}
			states, err := tx.FoldState(stateBatch)
			more = finished || states
			return err
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func foldMore(_ int, more bool, err error) (bool, error) { return more, err }

// CompactStepwise is Compact with a seam before each of its steps.
func CompactStepwise(path string, progress Progress, step func(string) error) (CompactReport, error) {
	return compact(context.Background(), path, progress, store.CompactOptions{Step: step})
}
