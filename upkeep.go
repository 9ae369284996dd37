package recall

import (
	"context"
	"time"
)

// upkeep is the goroutine that gives the engine time for background work:
// when the engine hints that there is some, and at the time the last step
// asked for. In between it drops dead letters.
type upkeep struct {
	cancel context.CancelFunc
	done   chan struct{}
	drop   deadDrop
}

func startUpkeep(b *Broker) *upkeep {
	ctx, cancel := context.WithCancel(context.Background())
	u := &upkeep{cancel: cancel, done: make(chan struct{})}
	go u.loop(ctx, b)
	return u
}

// stop ends the step under way, waits for it, and returns when no further one
// will start.
func (u *upkeep) stop() {
	u.cancel()
	<-u.done
}

// loop starts with a step, since what an earlier process left undone has no
// hint.
func (u *upkeep) loop(ctx context.Context, b *Broker) {
	defer close(u.done)
	alarm := newAlarm(b.clock)
	defer alarm.off()
	for faults := 0; ctx.Err() == nil; {
		now := b.clock.Now()
		next, err := u.step(ctx, b, now)
		switch {
		case err == nil:
			faults = 0
			if rest := b.upkeepRest(); rest > 0 && !next.IsZero() && !next.After(now) {
				alarm.set(now.Add(rest))
				sleepUpkeep(ctx, alarm)
				continue
			}
			alarm.set(next)
			waitUpkeep(ctx, b.engine.Hints().Maintain, alarm)
		case ctx.Err() != nil:
		case lost(err):
			b.log.Error("recall: background work has stopped until the next open", "error", err)
			return
		default:
			b.log.Error("recall: background work failed, trying again later", "error", err)
			pause(ctx, alarm, faults)
			faults++
		}
	}
}

// step is one step of background work. Dead letters have their turn also while
// the engine is always busy, and it has its own after each commit of theirs.
func (u *upkeep) step(ctx context.Context, b *Broker, now time.Time) (next time.Time, err error) {
	did, next, err := u.drop.step(ctx, b, now)
	if err != nil || did {
		return now, err
	}
	at, err := b.engine.Maintain(ctx, now)
	return earlier(at, next), err
}

// SetUpkeepRate bounds the commits per second that background work makes from
// now on, see Options.UpkeepRate; 0 is no limit. [Broker.Stats] shows what waits
// for it, as Backlog. A negative rate is [ErrInvalid]. Safe for concurrent use.
func (b *Broker) SetUpkeepRate(perSecond int) error {
	if perSecond < 0 {
		return invalid("UpkeepRate", "%d is negative", perSecond)
	}
	b.upkeepRate.Store(int64(perSecond))
	return nil
}

// upkeepRest is the pause after a step that left more to do.
func (b *Broker) upkeepRest() time.Duration {
	if rate := b.upkeepRate.Load(); rate > 0 {
		return time.Second / time.Duration(rate)
	}
	return 0
}

// sleepUpkeep waits for the alarm; hints do not shorten the pause.
func sleepUpkeep(ctx context.Context, a *alarm) {
	select {
	case <-ctx.Done():
	case <-a.C:
		a.off()
	}
}

func waitUpkeep(ctx context.Context, hint <-chan struct{}, a *alarm) {
	for rang := false; !rang; {
		select {
		case <-ctx.Done():
			return
		case <-hint:
			return
		case <-a.C:
			rang = a.rang()
		}
	}
}
