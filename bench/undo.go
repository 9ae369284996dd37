package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/recallmq/recall"
)

// undoReps is how often a tenth of the messages is cancelled and restored.
const undoReps = 21

// benchUndo times what an undo takes to its durable answer: the messages of a
// cancellation are pending again, and in their places.
func benchUndo(b *bench) error {
	d, err := b.big()
	if err != nil {
		return err
	}
	path := b.path("copy.db")
	defer os.Remove(path)
	if err := d.copyTo(path); err != nil {
		return err
	}
	o := options(0)
	o.Slots, o.UndoWindow = 1, time.Hour // nothing expires in between
	br, err := recall.Open(path, o)
	if err != nil {
		return err
	}
	u := &undoRun{b: b, broker: br, limit: b.newLimits()}
	err = errors.Join(u.limit.put(), u.all())
	if err == nil {
		u.report()
	}
	return errors.Join(err, closeBroker(br))
}

type undoRun struct {
	b      *bench
	broker *recall.Broker
	limit  *limits
	small  []time.Duration // single publishes in between
	cancel []time.Duration
	undo   []time.Duration
}

func (u *undoRun) all() error {
	for k := range undoReps {
		if err := u.one(byLabel(k % scatteredLabels)); err != nil {
			return err
		}
		for i := range u.b.Small {
			took, err := timed(func() error {
				_, err := u.broker.Publish(bg, recall.Message{URL: "local:nobody", Body: bodyOf(i)})
				return err
			})
			if err != nil {
				return err
			}
			u.small = append(u.small, took)
		}
	}
	return nil
}

// one cancels, restores, and checks that as many are back as were taken.
func (u *undoRun) one(q query) error {
	var result recall.CancelResult
	var back recall.RestoreResult
	took, err := timed(func() (err error) {
		result, err = u.broker.CancelMatching(bg, q.filter)
		return err
	})
	if err != nil {
		return err
	}
	u.cancel = append(u.cancel, took)
	took, err = timed(func() (err error) {
		back, err = u.broker.Restore(bg, result.Operation)
		return err
	})
	if err != nil {
		return err
	}
	u.undo = append(u.undo, took)
	left, err := u.broker.Count(bg, q.filter)
	if err != nil {
		return err
	}
	if back.Restored != result.Cancelled || left.Pending != back.Restored {
		return fmt.Errorf("%d were cancelled, %d restored, %d are pending", result.Cancelled, back.Restored, left.Pending)
	}
	return nil
}

func (u *undoRun) report() {
	small, undo := exact(u.small), exact(u.undo)
	u.b.report.times("one publish alone", small)
	u.b.report.times("cancel "+byLabel(0).name+", undoable", exact(u.cancel)).
		ratio("small commit", float64(exact(u.cancel).P50)/float64(small.P50))
	u.b.report.times("restore it", undo).ratio("small commit", float64(undo.P50)/float64(small.P50))
	u.limit.share("restore it, p50", "ms", barePut, series{ms(undo.P50)})
	beyond := ms(undo.P50) - 3*ms(small.P50)
	u.b.report.rates("  beyond three small commits", "ms", series{max(0, beyond)}).atMost(13, 10)
	u.b.report.note("undone at once: the walk of the next cancellation meets no messages that wait for their window to end")
}
