package recall

import (
	"context"
	"log/slog"
	"time"
)

// deadDrop drops dead letters that are too old or too many. It belongs to the
// upkeep goroutine.
type deadDrop struct {
	next time.Time // when the oldest will be old enough
	rest bool      // the last step was one of these
}

// step makes one commit if there is something to drop, and says when there may
// be again. What arrived last is behind everything that could be dropped by age.
func (d *deadDrop) step(ctx context.Context, b *Broker, now time.Time) (did bool, next time.Time, err error) {
	if d.rest {
		d.rest = false
		return false, now, nil
	}
	if b.engine.Stats().DeadLetters == 0 { // the next one comes with a hint
		d.next = time.Time{}
		return false, d.next, nil
	}
	old, err := d.old(ctx, b, now)
	if err != nil {
		return false, now, err
	}
	ids, level, why := old, slog.LevelInfo, "age"
	if over := b.overDead(); len(ids) == 0 && over > 0 {
		level, why = slog.LevelWarn, "number"
		if ids, err = b.engine.DeadIDs(ctx, Filter{}, "", min(over, deadStep)); err != nil {
			return false, now, err
		}
	}
	if len(ids) == 0 {
		return false, d.next, nil
	}
	n, err := b.engine.DeleteDead(ctx, ids)
	if noRoom(err) { // the engine may make some
		return false, now.Add(fullPause), nil
	}
	if n > 0 {
		b.droppedDead.Add(int64(n))
		b.log.Log(ctx, level, "recall: dead letters were dropped", "count", n, "reason", why)
		d.rest = true
	}
	return n > 0, now, err // if others were faster there may be more
}

// overDead is how many dead letters are too many.
func (b *Broker) overDead() int {
	if b.opts.MaxDeadLetters < 0 {
		return 0
	}
	return b.engine.Stats().DeadLetters - b.opts.MaxDeadLetters
}

// old returns dead letters that were kept long enough, the oldest first. Those
// that died while the clock was ahead must not keep the ones behind them.
func (d *deadDrop) old(ctx context.Context, b *Broker, now time.Time) (old []DeadLetterID, err error) {
	keep := b.opts.DeadLetterRetention
	if keep < 0 || now.Before(d.next) {
		return nil, nil
	}
	ids, err := b.engine.DeadIDs(ctx, Filter{}, "", deadStep)
	if err != nil {
		return nil, err
	}
	next := now.Add(keep)
	for _, id := range ids {
		died, _, err := id.parse()
		switch end := time.UnixMilli(died).Add(keep); {
		case err != nil: // not for us to judge
		case now.Before(end):
			next = earlier(next, end)
		default:
			old = append(old, id)
		}
	}
	if len(old) == 0 {
		d.next = next
	}
	return old, nil
}
