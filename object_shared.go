package recall

import (
	"context"
	"errors"
)

// revision returns how to ask for the revision of topics or schedules.
func (b *Broker) revision(kind ObjectKind) func() uint64 {
	return func() uint64 {
		if b.shared == nil {
			return 0
		}
		return b.shared.Revision(kind)
	}
}

// untilUnchanged calls change again when it has met that somebody else has changed the
// object since it read it. That ends: each time somebody else is done.
func (b *Broker) untilUnchanged(ctx context.Context, change func() error) error {
	for {
		err := change()
		if !errors.Is(err, ErrObjectChanged) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// objectsHinted wakes the scheduler when others may have changed what it follows.
func (b *Broker) objectsHinted() {
	if b.shared == nil || b.scheduler == nil {
		return
	}
	if !b.topics.isFilled(b.revision(ObjectTopic)()) || !b.schedules.isFilled(b.revision(ObjectSchedule)()) {
		b.scheduler.hint()
	}
}

// readTopicsBefore reads what a transaction may need, which cannot read it while
// others wait for it. Where nobody else changes topics, they are read once anyhow.
func (b *Broker) readTopicsBefore(ctx context.Context) error {
	if b.shared == nil {
		return nil
	}
	return b.fillTopics(ctx, b.shared)
}
