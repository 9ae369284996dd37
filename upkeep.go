package recall

import "context"

// upkeep is the goroutine that gives the engine time for background work:
// when the engine hints that there is some, and at the time the last step
// asked for.
type upkeep struct {
	cancel context.CancelFunc
	done   chan struct{}
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
		next, err := b.engine.Maintain(ctx, b.clock.Now())
		switch {
		case err == nil:
			faults = 0
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

func waitUpkeep(ctx context.Context, hint <-chan struct{}, a *alarm) {
	select {
	case <-ctx.Done():
	case <-hint:
	case <-a.C:
		a.off()
	}
}
